//! The end of a server, and the start of one that cannot be.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use rpc_core::{CallError, FailureKind};
use rpc_server::{Server, StartError};

use crate::support::lab::{Event, Lab};
use crate::support::raw::{PREFACE, REPLY, RawPeer, call, code, number, pong};
use crate::support::{
    Client, builder, client, client_at, failure, patient_limits, serve, socket_path, until, until_blocking,
    within,
};

/// L5: what was acknowledged has run, what was refused has not, and nobody is left in doubt.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_under_load_loses_no_call_that_was_taken() {
    let lab = Lab::default();
    let unix = format!("unix://{}", socket_path().display());
    let server = builder(&lab)
        .reactors(2)
        .listen("tcp://127.0.0.1:0")
        .listen(unix)
        .start()
        .unwrap();
    let acknowledged = Arc::new(AtomicU64::new(0));
    let mut callers = Vec::new();
    for number in 0..8 {
        let client = client_at(&server.addresses()[number % 2]).await;
        for caller in 0..8 {
            let (client, acknowledged) = (client.clone(), Arc::clone(&acknowledged));
            callers.push(tokio::spawn(call_until_refused(
                client,
                caller % 2 == 0,
                acknowledged,
            )));
        }
    }
    until("load", || acknowledged.load(Ordering::Relaxed) > 2_000).await;
    let drained = within(server.shutdown()).await;
    assert_eq!(drained.cut_off, 0);
    for caller in callers {
        within(caller).await.unwrap();
    }
    assert_eq!(lab.additions(), acknowledged.load(Ordering::Relaxed));
}

async fn call_until_refused(client: Client, at_work: bool, acknowledged: Arc<AtomicU64>) {
    loop {
        let result = match at_work {
            true => client.add_at_work(1).owned().await,
            false => client.add(1).owned().await,
        };
        match result {
            Ok(_) => acknowledged.fetch_add(1, Ordering::Relaxed),
            Err(CallError::Failed(refused)) => {
                assert!(!refused.may_have_run(), "{refused}");
                assert!(
                    matches!(refused.kind(), FailureKind::Refused | FailureKind::NotSent),
                    "{refused}"
                );
                return;
            }
            Err(other) => panic!("{other:?}"),
        };
    }
}

/// Starts a shutdown, and waits until it has begun.
fn begin_shutdown(server: Server) -> std::thread::JoinHandle<rpc_server::Drained> {
    std::thread::spawn(|| server.shutdown_blocking())
}

/// P-51: the first goaway only announces the end, so that calls which are on their way are taken; the second one, behind the peer's pong, says which calls
/// were taken. Those are answered, later ones are not taken.
#[test]
fn a_drain_finishes_what_was_taken_and_says_what_that_is() {
    let lab = Lab::default();
    let server = serve(&lab);
    let address = server.addresses()[0].clone();
    let mut peer = RawPeer::greeted(&address);
    peer.send(&[call(0, "hold", &number(1)), call(1, "block", &number(2))].concat());
    until_blocking("both run", || {
        lab.saw(Event::Started(1)) && lab.saw(Event::Started(2))
    });
    let shutdown = begin_shutdown(server);
    let ping = peer.expect_announcement();
    // It crossed the announcement, as far as the server knows.
    peer.send(&call(2, "add", &number(5)));
    assert_eq!(peer.answer().number(), 5);
    // An answer to something else is none to this.
    peer.send(&[pong(ping ^ 1), pong(ping)].concat());
    peer.expect_taken(3);
    peer.send(&call(2, "add", &number(1)));
    assert_eq!(
        peer.failure(),
        (code::DRAINING, "server is shutting down".to_owned())
    );
    lab.release(2);
    assert_eq!(peer.answer().call, 1);
    lab.release(1);
    assert_eq!(peer.answer().number(), 1);
    assert_eq!(peer.read_to_end(), []);
    drop(peer);
    assert_eq!(shutdown.join().unwrap().cut_off, 0);
    assert_eq!((lab.additions(), lab.sum()), (1, 5));
    // The port is free as soon as the shutdown is over.
    TcpListener::bind(address.to_string().strip_prefix("tcp://").unwrap()).unwrap();
}

/// P-51: a peer that does not answer the ping is waited for for a second, and no longer.
#[test]
fn a_drain_does_not_depend_on_the_answer_to_its_ping() {
    let lab = Lab::default();
    let server = serve(&lab);
    let mut peer = RawPeer::greeted(&server.addresses()[0]);
    peer.send(&call(0, "hold", &number(1)));
    until_blocking("handler started", || lab.saw(Event::Started(1)));
    let start = Instant::now();
    let shutdown = begin_shutdown(server);
    peer.expect_announcement();
    peer.send(&call(1, "add", &number(1)));
    let reply = peer.answer();
    assert_eq!((reply.kind, reply.call), (REPLY, 1));
    peer.expect_taken(2);
    assert!(
        start.elapsed() >= Duration::from_millis(900),
        "{:?}",
        start.elapsed()
    );
    peer.send(&call(1, "add", &number(1)));
    assert_eq!(peer.failure().0, code::DRAINING);
    lab.release(1);
    assert_eq!(peer.answer().number(), 1);
    assert_eq!(peer.read_to_end(), []);
    drop(peer);
    assert_eq!(shutdown.join().unwrap().cut_off, 0);
    assert_eq!(lab.additions(), 1);
}

/// L6: connections that are owed nothing cannot hold up the end, whatever they do.
#[test]
fn a_drain_does_not_wait_for_connections_without_calls() {
    let lab = Lab::default();
    let server = builder(&lab)
        .limits(patient_limits())
        .listen("tcp://127.0.0.1:0")
        .start()
        .unwrap();
    let address = &server.addresses()[0];
    let mut silent = RawPeer::connect(address);
    let mut half = RawPeer::connect(address);
    half.send(&PREFACE[..20]);
    half.read_preface();
    let mut idle = RawPeer::greeted(address);
    // A peer that never reads, not even the server's preface, and whose call was answered.
    let mut deaf = RawPeer::connect(address);
    deaf.send(&[&PREFACE[..], &call(0, "add", &number(1))].concat());
    until_blocking("all are there", || {
        server.stats().connections == 4 && lab.additions() == 1
    });
    assert_eq!(server.shutdown_blocking().cut_off, 0);
    assert_eq!(silent.read_to_end(), []);
    for peer in [&mut half, &mut idle] {
        let goaway = peer.expect_goaway();
        assert_eq!((goaway.aux, &goaway.body[..8]), (code::DRAINING, &[0; 8][..]));
    }
    deaf.read_preface();
    assert_eq!(deaf.frame().kind, REPLY);
    assert_eq!(deaf.expect_goaway().body[..8], 1_u64.to_be_bytes());
}

/// L5, L6: the grace period is the end, whatever handlers and peers do.
#[test]
fn a_call_that_does_not_end_is_cut_off_after_the_grace_period() {
    let lab = Lab::default();
    let server = builder(&lab)
        .grace(Duration::from_millis(300))
        .listen("tcp://127.0.0.1:0")
        .start()
        .unwrap();
    let address = &server.addresses()[0];
    let mut held = RawPeer::greeted(address);
    held.send(&[call(0, "hold", &number(1)), call(1, "block", &number(2))].concat());
    let mut idle = RawPeer::greeted(address);
    until_blocking("both run", || {
        lab.saw(Event::Started(1)) && lab.saw(Event::Started(2))
    });
    assert_eq!(server.shutdown_blocking().cut_off, 1);
    assert_eq!(held.expect_goaway().aux, code::DRAINING);
    assert_eq!(idle.expect_goaway().aux, code::DRAINING);
    until_blocking("handler stopped", || lab.saw(Event::Dropped(1)));
    until_blocking("job was told", || lab.saw(Event::Cancelled(2)));
}

/// L6: answers that nobody reads are owed until the grace period is over.
#[test]
fn a_peer_that_does_not_read_its_answers_is_cut_off_after_the_grace_period() {
    let lab = Lab::default();
    let server = builder(&lab)
        .grace(Duration::from_millis(300))
        .listen(format!("unix://{}", socket_path().display()))
        .start()
        .unwrap();
    let mut deaf = RawPeer::greeted(&server.addresses()[0]);
    deaf.send(&call(0, "fill", &(3_u32 << 20).to_le_bytes()));
    until_blocking("the call was taken", || server.stats().calls == 1);
    assert_eq!(server.shutdown_blocking().cut_off, 1);
}

/// L7: the second signal.
#[test]
fn a_closer_ends_a_shutdown_that_is_under_way() {
    let lab = Lab::default();
    let server = builder(&lab)
        .grace(Duration::from_secs(3_600))
        .listen("tcp://127.0.0.1:0")
        .start()
        .unwrap();
    let closer = server.closer();
    let mut peer = RawPeer::greeted(&server.addresses()[0]);
    peer.send(&call(0, "hold", &number(1)));
    until_blocking("handler started", || lab.saw(Event::Started(1)));
    let shutdown = begin_shutdown(server);
    peer.follow_drain(1);
    assert!(!shutdown.is_finished());
    closer.close();
    assert_eq!(shutdown.join().unwrap().cut_off, 1);
    assert!(
        lab.saw(Event::Dropped(1)),
        "a shutdown that is over leaves no handler"
    );
    assert_eq!(peer.read_to_end(), []);
}

#[tokio::test]
async fn dropping_a_server_closes_it_at_once() {
    let lab = Lab::default();
    let server = serve(&lab);
    let address = server.addresses()[0].clone();
    let client = client(&server).await;
    let held = tokio::spawn(client.hold(1).owned());
    let blocked = tokio::spawn(client.block(2).owned());
    until("both run", || {
        lab.saw(Event::Started(1)) && lab.saw(Event::Started(2))
    })
    .await;
    drop(server);
    for call in [
        failure(within(held).await.unwrap()),
        failure(within(blocked).await.unwrap()),
    ] {
        assert_eq!(call.kind(), FailureKind::ConnectionLost);
        assert!(call.may_have_run());
    }
    until("handler stopped", || lab.saw(Event::Dropped(1))).await;
    until("job was told", || lab.saw(Event::Cancelled(2))).await;
    let port = address.to_string();
    until("port is free", || {
        TcpListener::bind(port.strip_prefix("tcp://").unwrap()).is_ok()
    })
    .await;
}

/// The future of a shutdown owns the server: dropped, it closes it.
#[test]
fn giving_up_a_shutdown_closes_the_server() {
    let lab = Lab::default();
    let server = serve(&lab);
    let mut peer = RawPeer::greeted(&server.addresses()[0]);
    peer.send(&call(0, "hold", &number(1)));
    until_blocking("handler started", || lab.saw(Event::Started(1)));
    let mut shutdown = Box::pin(server.shutdown());
    let polled = shutdown.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(polled.is_pending());
    peer.follow_drain(1);
    drop(shutdown);
    assert_eq!(peer.read_to_end(), []);
    until_blocking("handler stopped", || lab.saw(Event::Dropped(1)));
}

#[tokio::test]
async fn a_shutdown_gives_back_every_address() {
    let path = socket_path();
    for _ in 0..20 {
        let lab = Lab::default();
        let server = builder(&lab)
            .reactors(2)
            .listen("tcp://127.0.0.1:0")
            .listen(format!("unix://{}", path.display()))
            .start()
            .unwrap();
        let port = server.addresses()[0].to_string();
        let client = client_at(&server.addresses()[1]).await;
        assert_eq!(within(client.add(1).owned()).await, Ok(1));
        assert!(path.exists());
        assert_eq!(within(server.shutdown()).await.cut_off, 0);
        assert!(!path.exists(), "the socket file is removed");
        TcpListener::bind(port.strip_prefix("tcp://").unwrap()).unwrap();
        let refused = failure(within(client.add(1)).await);
        assert!(!refused.may_have_run());
    }
}

/// The texts are for whoever starts the server: each names what is to be changed.
#[tokio::test]
async fn a_server_that_cannot_start_says_why() {
    let lab = Lab::default();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("tcp://{}", taken.local_addr().unwrap());
    // In a task: nothing that is given up may panic there.
    for reactors in [1, 2] {
        let error = builder(&lab)
            .reactors(reactors)
            .listen(address.as_str())
            .start()
            .unwrap_err();
        assert!(matches!(error, StartError::Bind(_)), "{error:?}");
        assert!(error.to_string().contains(&address), "{error}");
    }
    // A server that shares its port among its reactors does not share it with another server.
    let server = builder(&lab)
        .reactors(2)
        .listen("tcp://127.0.0.1:0")
        .start()
        .unwrap();
    let again = builder(&lab)
        .reactors(2)
        .listen(server.addresses()[0].clone())
        .start();
    assert!(matches!(again, Err(StartError::Bind(_))));
    // What was bound before the one that fails is given back.
    let path = socket_path();
    let both = builder(&lab)
        .listen(format!("unix://{}", path.display()))
        .listen(address.as_str());
    assert!(matches!(both.start_here(), Err(StartError::Bind(_))));
    assert!(!path.exists());

    let long = format!("unix:///{}", "x".repeat(200));
    let error = builder(&lab).listen(long.as_str()).start().unwrap_err();
    assert!(error.to_string().contains("xxx"), "{error}");
    let error = builder(&lab).listen("http://127.0.0.1").start().unwrap_err();
    assert!(matches!(error, StartError::Address(_)));
    assert!(error.to_string().contains("http://127.0.0.1"), "{error}");
    let error = builder(&lab).start().unwrap_err();
    assert_eq!(error.to_string(), "server has no address to listen on");
    let limits = rpc_core::Limits {
        max_calls: 1,
        ..rpc_core::Limits::default()
    };
    let error = builder(&lab)
        .limits(limits)
        .listen("tcp://127.0.0.1:0")
        .start()
        .unwrap_err();
    assert_eq!(error.to_string(), "limit max_calls is 1, outside of 16 to 65536");
}

#[test]
fn a_server_in_no_runtime_does_not_start() {
    let server = builder(&Lab::default()).listen("tcp://127.0.0.1:0");
    assert!(matches!(server.start_here(), Err(StartError::NoRuntime)));
}

/// C7: the runtime goes before the server does.
#[test]
fn a_runtime_that_is_shut_down_takes_its_server_along() {
    let lab = Lab::default();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let server = runtime
        .block_on(async { builder(&lab).listen("tcp://127.0.0.1:0").start_here() })
        .unwrap();
    let mut peer = RawPeer::greeted(&server.addresses()[0]);
    peer.send(&call(0, "hold", &number(1)));
    until_blocking("handler started", || lab.saw(Event::Started(1)));
    drop(runtime);
    assert!(lab.saw(Event::Dropped(1)));
    assert_eq!(peer.read_to_end(), []);
    assert_eq!(server.shutdown_blocking().cut_off, 0, "nobody was there any more");
}
