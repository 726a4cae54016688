//! Calls that nobody waits for any more: given up, out of time, or of a client that is gone.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use rpc_core::{Dispatch, FailureKind};
use rpc_server::Server;
use rpc_server::layers::ConcurrencyLimit;
use tokio::task::JoinSet;

use crate::support::child::{self, ChildServer};
use crate::support::lab::{Event, ExperimentsServer, Lab, pattern};
use crate::support::raw::{
    FAILURE, Frame, PING, PREFACE, RawPeer, call, cancel, code, frame, number, short_text, timed_call,
};
use crate::support::{
    builder, client, client_at, failure, patient_limits, serve, socket_path, until, until_blocking, within,
};

/// P17: the handler's future is dropped.
#[tokio::test]
async fn dropping_a_call_stops_its_handler() {
    let lab = Lab::default();
    let server = serve(&lab);
    let client = client(&server).await;
    let call = tokio::spawn(client.hold(1).owned());
    until("handler started", || lab.saw(Event::Started(1))).await;
    call.abort();
    until("handler stopped", || lab.saw(Event::Dropped(1))).await;
    assert_eq!(within(client.echo("text").owned()).await.unwrap(), "text");
}

/// P17: a job cannot be dropped, so it is told; its worker is free again when it has listened.
#[tokio::test]
async fn dropping_a_call_tells_the_job_on_its_worker() {
    let lab = Lab::default();
    let server = builder(&lab)
        .workers(1)
        .listen("tcp://127.0.0.1:0")
        .start()
        .unwrap();
    let client = client(&server).await;
    let call = tokio::spawn(client.block(1).owned());
    until("job started", || lab.saw(Event::Started(1))).await;
    call.abort();
    until("job was told", || lab.saw(Event::Cancelled(1))).await;
    assert_eq!(within(client.add_at_work(1).owned()).await, Ok(1));
}

/// P-32, P14: the slot stays busy until the job has stopped, and then the server says so.
#[test]
fn a_cancelled_call_is_answered_once_it_has_stopped() {
    let lab = Lab::default();
    let server = serve(&lab);
    let mut peer = RawPeer::greeted(&server.addresses()[0]);
    peer.send(&[call(0, "hold", &number(1)), call(1, "block", &number(2))].concat());
    until_blocking("both run", || {
        lab.saw(Event::Started(1)) && lab.saw(Event::Started(2))
    });
    peer.send(&cancel(0));
    assert_eq!(peer.answer(), cancelled(0));
    assert!(lab.saw(Event::Dropped(1)));
    peer.send(&cancel(1));
    assert_eq!(peer.answer(), cancelled(1));
    assert!(lab.saw(Event::Cancelled(2)));
    // A cancel that crosses the final frame is ignored, and the slots are free.
    peer.send(&[cancel(0), call(0, "add", &number(1)), call(1, "add", &number(1))].concat());
    assert_eq!((peer.answer().call, peer.answer().call), (0, 1));
}

fn cancelled(call: u32) -> Frame {
    Frame {
        kind: FAILURE,
        flags: 0,
        channel: 0,
        call,
        aux: code::CANCELLED,
        body: b"cancelled by the caller".to_vec(),
    }
}

/// P17: cancelled at every point at which a call can be.
#[test]
fn a_flood_of_calls_that_are_cancelled_at_once_leaves_nothing_behind() {
    let lab = Lab::default();
    let server = builder(&lab)
        .limits(patient_limits())
        .listen("tcp://127.0.0.1:0")
        .start()
        .unwrap();
    let mut peer = RawPeer::greeted(&server.addresses()[0]);
    for _ in 0..20 {
        let mut flood = Vec::new();
        for id in 0..50 {
            flood.extend(call(id, ["hold", "block", "add"][id as usize % 3], &number(7)));
            flood.extend(cancel(id));
        }
        peer.send(&flood);
        // One final frame per call, whichever; only then the slot may be used again.
        let mut ended: Vec<_> = (0..50).map(|_| peer.answer().call).collect();
        ended.sort_unstable();
        assert!(ended.into_iter().eq(0..50));
    }
    let started = lab.count(|event| *event == Event::Started(7));
    let stopped = lab.count(|event| matches!(event, Event::Dropped(7) | Event::Cancelled(7)));
    assert_eq!(started, stopped);
}

/// P-35
#[tokio::test]
async fn a_deadline_stops_a_handler_and_tells_a_job() {
    let lab = Lab::default();
    let server = serve(&lab);
    let client = client(&server).await;
    for time in times() {
        let (held, blocked) = tokio::join!(
            within(client.hold(1).timeout(time)),
            within(client.block(2).timeout(time))
        );
        for failure in [failure(held), failure(blocked)] {
            assert_eq!(failure.kind(), FailureKind::DeadlineExceeded);
        }
        if lab.saw(Event::Started(1)) && lab.saw(Event::Started(2)) {
            break;
        }
    }
    until("handler stopped", || lab.saw(Event::Dropped(1))).await;
    until("job was told", || lab.saw(Event::Cancelled(2))).await;
}

/// Times for a call that is to be started and to run out of time then: the first of them that suffices for the former, however busy the machine is.
fn times() -> impl Iterator<Item = Duration> {
    (0..10).map(|doublings| Duration::from_millis(20 << doublings))
}

/// Calls a method that does not end by itself, and reads how it was stopped by its deadline.
fn run_out_of_time(peer: &mut RawPeer, id: u32, method: &str, key: u64) -> (u32, String) {
    let mut outcomes = times().map(|time| {
        let micros = time.as_micros().try_into().unwrap();
        peer.send(&timed_call(id, method, micros, &number(key)));
        let answer = peer.answer();
        assert_eq!((answer.kind, answer.call), (FAILURE, id), "{answer:?}");
        (answer.aux, answer.text())
    });
    outcomes
        .find(|(code, _)| *code != code::EXPIRED)
        .expect("it is never started")
}

/// P-35: also when the client never says that it has given up.
#[test]
fn the_server_keeps_deadlines_by_its_own_clock() {
    let lab = Lab::default();
    let server = serve(&lab);
    let mut peer = RawPeer::greeted(&server.addresses()[0]);
    for (id, method) in [(0, "hold"), (1, "block")] {
        let text = "deadline passed while the method ran".to_owned();
        let outcome = run_out_of_time(&mut peer, id, method, id.into());
        assert_eq!(outcome, (code::DEADLINE, text));
    }
    assert!(lab.saw(Event::Dropped(0)) && lab.saw(Event::Cancelled(1)));
}

/// P-35
#[test]
fn a_call_whose_time_runs_out_in_a_layer_did_not_run() {
    let lab = Lab::default();
    let service = ExperimentsServer::new(lab.clone()).layer(ConcurrencyLimit::new(1));
    let builder = Server::builder().service(service).reactors(1);
    let server = builder.listen("tcp://127.0.0.1:0").start().unwrap();
    let mut peer = RawPeer::greeted(&server.addresses()[0]);
    peer.send(&call(0, "hold", &number(0)));
    peer.send(&timed_call(1, "hold", 20_000, &number(1)));
    let text = "time ran out before the method was started".to_owned();
    assert_eq!(peer.failure(), (code::EXPIRED, text));
    assert!(lab.saw(Event::Started(0)) && !lab.saw(Event::Started(1)));
}

/// P-35: with its direction closed, a client's deadlines hold as before; more of them at once than a turn handles calls.
#[test]
fn many_deadlines_of_a_half_closed_connection_pass_at_once() {
    let lab = Lab::default();
    let server = serve(&lab);
    let mut peer = RawPeer::greeted(&server.addresses()[0]);
    let calls: Vec<_> = (0..800)
        .map(|id| timed_call(id, "hold", 100_000, &number(1)))
        .collect();
    peer.send(&calls.concat());
    peer.finish();
    for _ in 0..800 {
        let (code, text) = peer.failure();
        assert!([code::DEADLINE, code::EXPIRED].contains(&code), "{text}");
    }
    assert_eq!(peer.read_to_end(), []);
    let started = lab.count(|event| *event == Event::Started(1));
    assert_eq!(lab.count(|event| *event == Event::Dropped(1)), started);
}

/// Handlers share tokio's budget with the driver of their connection. One that always has something to do must neither keep the connection from
/// reading, writing and keeping time, nor the other handlers from going on.
#[test]
fn a_handler_that_is_never_done_does_not_keep_its_connection_busy() {
    let lab = Lab::default();
    let server = serve(&lab);
    let mut peer = RawPeer::greeted(&server.addresses()[0]);
    peer.send(
        &[
            call(0, "hog", &number(0)),
            call(1, "hold", &number(1)),
            call(2, "hog", &number(2)),
        ]
        .concat(),
    );
    until_blocking("all run", || (0..3).all(|key| lab.saw(Event::Started(key))));
    peer.send(&call(3, "echo", &short_text("text")));
    assert_eq!(peer.answer().call, 3);
    lab.release(1);
    assert_eq!(peer.answer().call, 1);
    assert_eq!(run_out_of_time(&mut peer, 4, "hold", 4).0, code::DEADLINE);
    peer.send(&cancel(0));
    assert_eq!(peer.answer(), cancelled(0));
    lab.release(2);
    assert_eq!(peer.answer().call, 2);
}

/// The ends of a connection that no protocol announces. `leave` is how the client goes.
fn handlers_stop_when_their_client_is_gone(server: &Server, lab: &Lab, leave: impl FnOnce(RawPeer)) {
    let mut peer = RawPeer::greeted(&server.addresses()[0]);
    peer.send(&[call(0, "hold", &number(1)), call(1, "block", &number(2))].concat());
    until_blocking("both run", || {
        lab.saw(Event::Started(1)) && lab.saw(Event::Started(2))
    });
    leave(peer);
    until_blocking("handler stopped", || lab.saw(Event::Dropped(1)));
    until_blocking("job was told", || lab.saw(Event::Cancelled(2)));
    until_blocking("connection is forgotten", || server.stats().connections == 0);
}

/// L2: the machine closes the sockets of a dead process in good order. That this is no half-close shows when it is asked.
#[test]
fn a_tcp_client_that_has_died_is_noticed() {
    let lab = Lab::default();
    let server = serve(&lab);
    handlers_stop_when_their_client_is_gone(&server, &lab, drop);
}

/// L3
#[test]
fn a_connection_that_is_reset_stops_its_handlers() {
    let lab = Lab::default();
    let server = serve(&lab);
    handlers_stop_when_their_client_is_gone(&server, &lab, RawPeer::reset);
}

/// L2
#[test]
fn a_unix_client_that_has_died_is_noticed() {
    let lab = Lab::default();
    let address = format!("unix://{}", socket_path().display());
    let server = builder(&lab).listen(address).start().unwrap();
    handlers_stop_when_their_client_is_gone(&server, &lab, drop);
}

/// L2
#[tokio::test]
async fn a_client_that_is_dropped_stops_its_handlers() {
    let lab = Lab::default();
    let server = serve(&lab);
    let client = client(&server).await;
    let mut calls = JoinSet::new();
    calls.spawn(client.hold(1).owned());
    calls.spawn(client.hold(2).owned());
    drop(client);
    until("both run", || {
        lab.saw(Event::Started(1)) && lab.saw(Event::Started(2))
    })
    .await;
    calls.abort_all();
    until("both stopped", || {
        lab.saw(Event::Dropped(1)) && lab.saw(Event::Dropped(2))
    })
    .await;
    until("connection is forgotten", || server.stats().connections == 0).await;
}

/// P-52, P23: whoever has finished sending is still owed every answer, however late.
#[test]
fn a_half_closed_connection_gets_all_its_answers() {
    for address in [
        "tcp://127.0.0.1:0".to_owned(),
        format!("unix://{}", socket_path().display()),
    ] {
        let lab = Lab::default();
        let server = builder(&lab).listen(address).start().unwrap();
        let mut peer = RawPeer::greeted(&server.addresses()[0]);
        peer.send(
            &[
                call(0, "hold", &number(7)),
                call(1, "block", &number(8)),
                call(2, "add", &number(5)),
            ]
            .concat(),
        );
        peer.finish();
        let quick = peer.answer();
        assert_eq!((quick.call, quick.number()), (2, 5));
        // The server has asked more than once whether the client is there, and a client that is there gives no sign.
        let mut pings = 0;
        while pings < 3 {
            assert_eq!(peer.frame().kind, PING);
            pings += 1;
        }
        lab.release(8);
        assert_eq!(peer.answer().call, 1);
        lab.release(7);
        let late = peer.answer();
        assert_eq!((late.call, late.number()), (0, 7));
        assert_eq!(peer.read_to_end(), []);
        assert_eq!(server.stats().connections_failed, 0);
    }
}

/// P-52: a half-closed connection may take longer to read its answers than a peer that broke the rules has for the goaway.
#[test]
fn a_half_closed_connection_may_read_slowly() {
    let lab = Lab::default();
    let server = builder(&lab)
        .listen(format!("unix://{}", socket_path().display()))
        .start()
        .unwrap();
    let address = &server.addresses()[0];
    let mut slow = RawPeer::greeted(address);
    let len = 3 << 20;
    slow.send(&call(0, "fill", &u32::to_le_bytes(len)));
    slow.finish();
    until_blocking("the call was taken", || server.stats().calls == 1);
    // Measures that time: this one is not waited for any longer.
    let mut offender = RawPeer::greeted(address);
    offender.send(&frame(0, 0, 0, 0, 0, &[]));
    assert_eq!(offender.expect_goaway().aux, code::PROTOCOL);
    until_blocking("the offender is left", || offender.try_send(&[0]).is_err());
    until_blocking("only the slow one is there", || server.stats().connections == 1);
    let reply = slow.answer();
    // 8 bytes in front of the end are the root, a vector.
    assert!(reply.body[..len as usize] == pattern(len));
    assert_eq!(slow.read_to_end(), []);
}

/// L1
#[tokio::test]
async fn a_server_that_is_killed_fails_the_calls_of_its_clients() {
    if child::is_server() {
        child::serve(&serve(&Lab::default()).addresses()[0]);
    }
    let mut server = ChildServer::spawn(
        "cancel::a_server_that_is_killed_fails_the_calls_of_its_clients",
        1_000,
    );
    let client = client_at(&server.address).await;
    let mut calls: Vec<_> = (0..10).map(|key| client.hold(key).owned()).collect();
    poll_fn(|cx| {
        let pending = calls.iter_mut().all(|call| Pin::new(call).poll(cx).is_pending());
        assert!(pending);
        Poll::Ready(())
    })
    .await;
    // Sent behind them, so they have arrived.
    assert_eq!(within(client.echo("text").owned()).await.unwrap(), "text");
    server.kill();
    for call in calls {
        let lost = failure(within(call).await);
        assert_eq!((lost.kind(), lost.code()), (FailureKind::ConnectionLost, None));
        assert!(lost.may_have_run());
    }
    let refused = failure(within(client.echo("text")).await);
    assert_eq!(refused.kind(), FailureKind::NotSent);
    assert!(!refused.may_have_run());
}

/// F15-like: a client may send its calls right behind its preface.
#[test]
fn calls_right_behind_the_preface_are_answered() {
    let lab = Lab::default();
    let server = serve(&lab);
    let mut peer = RawPeer::connect(&server.addresses()[0]);
    peer.send(
        &[
            &PREFACE[..],
            &call(15, "add", &number(2)),
            &call(0, "add", &number(3)),
        ]
        .concat(),
    );
    peer.finish();
    peer.read_preface();
    assert_eq!((peer.answer().number(), peer.answer().number()), (2, 5));
    assert_eq!(peer.read_to_end(), []);
}
