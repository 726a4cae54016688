//! The life of a connection: its age, its silence, peers that are killed, stopped or cut off, and time.

use std::time::{Duration, Instant};

use rpc_client::Channel;
use rpc_core::{CallError, Context, FailureKind, StreamError, service};
use rpc_server::Server;

use crate::support::child::{self, ChildClient, ChildServer};
use crate::support::flow::{FlowClient, Flows, flows};
use crate::support::lab::{Event, ExperimentsClient, Lab};
use crate::support::proxy::Proxy;
use crate::support::raw::{REPLY, RawPeer, call, number};
use crate::support::{builder, client_at, failure, serve, until, until_blocking, within};

/// A service that calls another one.
#[service]
trait Relay {
    /// What is left of this call, and of the ones that it makes: without a deadline of their own, with a later and with an earlier one, in microseconds.
    async fn relay(&self, cx: &Context) -> (u64, Vec<u64>);
    /// The same for a method on a worker.
    fn relay_at_work(&self, cx: &Context) -> (u64, u64);
}

struct Relayed(Flows);

async fn time_left(flows: &Flows, timeout: Option<Duration>) -> u64 {
    let call = flows.time_left();
    let call = match timeout {
        Some(timeout) => call.timeout(timeout),
        None => call,
    };
    call.owned().await.unwrap().unwrap_or(u64::MAX)
}

impl Relay for Relayed {
    async fn relay(&self, cx: &Context) -> (u64, Vec<u64>) {
        let own = cx.time_left(Instant::now()).unwrap();
        let nested = vec![
            time_left(&self.0, None).await,
            time_left(&self.0, Some(Duration::from_secs(3_600))).await,
            time_left(&self.0, Some(Duration::from_secs(5))).await,
        ];
        (own.as_micros().try_into().unwrap(), nested)
    }

    fn relay_at_work(&self, cx: &Context) -> (u64, u64) {
        let own = cx.time_left(Instant::now()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let nested = runtime.block_on(time_left(&self.0, None));
        (own.as_micros().try_into().unwrap(), nested)
    }
}

/// T5: a call that a handler makes has what is left of the handler's own time, or less.
#[tokio::test]
async fn nested_calls_inherit_what_is_left_of_the_time() {
    let inner = serve(&Lab::default());
    let outer = Server::builder()
        .service(RelayServer::new(Relayed(flows(&inner).await)))
        .reactors(1)
        .workers(1)
        .listen("tcp://127.0.0.1:0")
        .start()
        .unwrap();
    let channel = within(Channel::connect(outer.addresses()[0].clone()))
        .await
        .unwrap();
    let client = RelayClient::new(channel);
    let minute = Duration::from_secs(60);
    let (own, nested) = within(client.relay().timeout(minute).owned()).await.unwrap();
    assert!(own <= 60_000_000, "{own}");
    // Time travels in whole microseconds, rounded up.
    assert!(nested[0] <= own + 1 && nested[1] <= own + 1, "{own}, {nested:?}");
    assert!(nested[0] > 5_000_000, "{nested:?}");
    assert!(
        nested[2] <= 5_000_000,
        "an earlier one of its own counts: {nested:?}"
    );
    let (own, nested) = within(client.relay_at_work().timeout(minute).owned())
        .await
        .unwrap();
    assert!(nested <= own + 1 && nested > 5_000_000, "{own}, {nested}");
    assert_eq!(
        within(flows(&inner).await.time_left().owned()).await.unwrap(),
        None
    );
}

async fn impatient(server: &rpc_server::Address) -> Channel {
    let interval = Duration::from_millis(300);
    let connecting = Channel::builder().keep_alive(Some(interval), interval);
    within(connecting.connect(server.clone())).await.unwrap()
}

/// T6, L4: a server that is stopped is found by the keep-alive, and used again when it goes on; what it was asked in between does not hurt it.
#[tokio::test]
async fn a_server_that_is_stopped_is_noticed_and_found_again() {
    if child::is_server() {
        child::serve(&serve(&Lab::default()).addresses()[0]);
    }
    let server = ChildServer::spawn(
        "lifecycle::a_server_that_is_stopped_is_noticed_and_found_again",
        1_000,
    );
    let channel = impatient(&server.address).await;
    let (client, streams) = (ExperimentsClient::new(channel.clone()), FlowClient::new(channel));
    within(client.echo("text")).await.unwrap();
    let (mut numbers, sum) = within(streams.sum(1).open()).await.unwrap();
    within(numbers.send(&1)).await.unwrap();
    within(client.echo("behind it")).await.unwrap();
    server.signal("STOP");
    let start = Instant::now();
    let lost = failure(within(client.hold(1)).await);
    assert_eq!(lost.kind(), FailureKind::ConnectionLost, "{lost}");
    assert!(lost.may_have_run());
    assert!(
        start.elapsed() >= Duration::from_millis(500),
        "not before it was asked and did not answer"
    );
    let lost = failure_of_sum(within(sum).await);
    assert_eq!(
        (lost.kind(), lost.may_have_run()),
        (FailureKind::ConnectionLost, true)
    );
    assert!(numbers.send(&2).await.is_err());
    server.signal("CONT");
    // One that was refused for want of a server in the meantime is not what this is about.
    let mut answered = within(client.echo("again")).await.is_ok();
    let end = Instant::now() + Duration::from_secs(15);
    while !answered && Instant::now() < end {
        answered = within(client.echo("again")).await.is_ok();
    }
    assert!(answered);
}

fn failure_of_sum(result: Result<rpc_core::Reply<u64>, CallError<String>>) -> rpc_core::CallFailure {
    failure(result)
}

/// T6, on the other side: deadlines that passed while the server was stopped end their calls at once when it goes on.
#[tokio::test]
async fn deadlines_pass_while_a_server_is_stopped() {
    if child::is_server() {
        child::serve(&serve(&Lab::default()).addresses()[0]);
    }
    let server = ChildServer::spawn("lifecycle::deadlines_pass_while_a_server_is_stopped", 1_000);
    let client = client_at(&server.address).await;
    within(client.echo("text")).await.unwrap();
    server.signal("STOP");
    let late = failure(within(client.hold(1).timeout(Duration::from_millis(400))).await);
    assert_eq!(late.kind(), FailureKind::DeadlineExceeded);
    server.signal("CONT");
    assert_eq!(within(client.echo("text").owned()).await.unwrap(), "text");
}

/// L1: what was in flight on a server that is killed may have run, streams included; what was not sent has not.
#[tokio::test]
async fn a_server_that_is_killed_fails_streams_as_well() {
    if child::is_server() {
        child::serve(&serve(&Lab::default()).addresses()[0]);
    }
    let mut server = ChildServer::spawn("lifecycle::a_server_that_is_killed_fails_streams_as_well", 1_000);
    let channel = within(Channel::connect(server.address.clone())).await.unwrap();
    let (client, streams) = (ExperimentsClient::new(channel.clone()), FlowClient::new(channel));
    let (mut blocks, down) = within(streams.blocks(1, 1_000).open()).await.unwrap();
    let (mut numbers, up) = within(streams.sum(2).open()).await.unwrap();
    within(numbers.send(&1)).await.unwrap();
    within(blocks.recv()).await.unwrap();
    let held = tokio::spawn(client.hold(3).owned());
    within(client.echo("behind them")).await.unwrap();
    server.kill();
    let start = Instant::now();
    // What has arrived is still delivered; the end is none.
    let lost = loop {
        match within(blocks.recv()).await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("a clean end"),
            Err(StreamError::Call(lost)) => break lost,
            Err(other) => panic!("{other:?}"),
        }
    };
    let others = [
        failure(within(down).await),
        failure(within(held).await.unwrap()),
        failure_of_sum(within(up).await),
    ];
    for lost in std::iter::once(lost).chain(others) {
        assert_eq!(
            (lost.kind(), lost.may_have_run()),
            (FailureKind::ConnectionLost, true),
            "{lost}"
        );
    }
    assert!(numbers.send(&2).await.is_err());
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    for unsent in [
        failure(within(client.echo("text")).await),
        failure(within(streams.count(1).open()).await),
    ] {
        assert_eq!(
            (unsent.kind(), unsent.may_have_run()),
            (FailureKind::NotSent, false),
            "{unsent}"
        );
    }
}

/// L2: a client that is killed in the middle of streams leaves neither a handler nor a busy worker behind.
#[test]
fn a_client_that_is_killed_leaves_no_stream_behind() {
    if let Some(address) = child::peer() {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .worker_threads(1)
            .build()
            .unwrap();
        runtime.block_on(async {
            let streams = FlowClient::new(Channel::connect(address).await.unwrap());
            let _down = streams.blocks(1, 1_000).open().await.unwrap();
            let _work = streams.blocks_at_work(2, 1_000).open().await.unwrap();
            let (mut numbers, _up) = streams.sum(3).open().await.unwrap();
            let (mut more, _up_work) = streams.sum_at_work(4).open().await.unwrap();
            loop {
                numbers.send(&1).await.unwrap();
                more.send(&1).await.unwrap();
            }
        });
    }
    let lab = Lab::default();
    let server = serve(&lab);
    let mut client = ChildClient::spawn(
        "lifecycle::a_client_that_is_killed_leaves_no_stream_behind",
        &server.addresses()[0],
    );
    until_blocking("all run", || (1..=4).all(|key| lab.saw(Event::Started(key))));
    client.kill();
    let is_over = |key| lab.saw(Event::Dropped(key)) || lab.saw(Event::Finished(key));
    until_blocking("handlers and jobs are over", || (1..=4).all(is_over));
    for key in [3, 4] {
        assert!(
            lab.end(key).is_none_or(|end| end.starts_with("Err(")),
            "{:?}",
            lab.end(key)
        );
    }
    until_blocking("connection is forgotten", || server.stats().connections == 0);
    let mut peer = RawPeer::greeted(&server.addresses()[0]);
    peer.send(
        &[
            call(0, "add_at_work", &number(1)),
            call(1, "add_at_work", &number(1)),
        ]
        .concat(),
    );
    assert_eq!(
        (peer.answer().kind, peer.answer().kind),
        (REPLY, REPLY),
        "workers are free"
    );
}

/// L4: when nothing comes through any more, both sides find out by asking.
#[tokio::test]
async fn a_black_hole_is_found_from_both_sides() {
    let lab = Lab::default();
    let interval = Duration::from_millis(300);
    let server = builder(&lab)
        .keep_alive(Some(interval), interval)
        .listen("tcp://127.0.0.1:0")
        .start()
        .unwrap();
    let proxy = Proxy::new(&server.addresses()[0]);
    let channel = impatient(&proxy.address).await;
    let (client, streams) = (ExperimentsClient::new(channel.clone()), FlowClient::new(channel));
    let (mut numbers, sum) = within(streams.sum(1).open()).await.unwrap();
    within(numbers.send(&1)).await.unwrap();
    let held = tokio::spawn(client.hold(2).owned());
    until("both run", || {
        lab.saw(Event::Started(1)) && lab.saw(Event::Started(2))
    })
    .await;
    // Silence that is answered is none: longer than both patiences together.
    let quiet = Instant::now();
    until("time has passed", || quiet.elapsed() > 3 * interval).await;
    assert!(!held.is_finished() && !lab.saw(Event::Dropped(1)));
    proxy.swallow();
    let lost = [
        failure(within(held).await.unwrap()),
        failure_of_sum(within(sum).await),
    ];
    for lost in lost {
        assert_eq!(
            (lost.kind(), lost.may_have_run()),
            (FailureKind::ConnectionLost, true),
            "{lost}"
        );
    }
    until("handlers are dropped", || {
        lab.saw(Event::Dropped(1)) && lab.saw(Event::Dropped(2))
    })
    .await;
    until("connection is forgotten", || server.stats().connections == 0).await;
}

/// L3: a reset between both, at any time of a stream's life.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_ends_streams_on_both_sides() {
    let lab = Lab::default();
    let server = serve(&lab);
    let proxy = Proxy::new(&server.addresses()[0]);
    let streams = FlowClient::new(within(Channel::connect(proxy.address.clone())).await.unwrap());
    for key in 0..20 {
        let (mut to, mut from, call) = within(streams.mirror(key).open()).await.unwrap();
        for _ in 0..key {
            within(to.send(&vec![7; 1_000])).await.unwrap();
        }
        for _ in 0..key / 2 {
            assert!(within(from.recv()).await.unwrap().is_some());
        }
        proxy.reset();
        while let Ok(item) = within(from.recv()).await {
            assert!(item.is_some(), "a clean end");
        }
        let lost = failure(within(call).await);
        assert_eq!(
            (lost.kind(), lost.may_have_run()),
            (FailureKind::ConnectionLost, true),
            "{lost}"
        );
        assert!(to.send(&vec![7; 1_000]).await.is_err());
        until("connection is forgotten", || server.stats().connections == 0).await;
    }
    let over = lab.count(|event| matches!(event, Event::Dropped(_) | Event::Finished(_)));
    assert_eq!(
        (lab.count(|event| matches!(event, Event::Started(_))), over),
        (20, 20)
    );
}
