//! Connections that are old, idle, silent for a reason, or closed on one side.

use std::time::{Duration, Instant};

use rpc_client::{Channel, ChannelBuilder};
use rpc_core::Limits;

use crate::support::flow::FlowClient;
use crate::support::lab::{Event, ExperimentsClient, Lab};
use crate::support::raw::{FAILURE, PING, REPLY, RawPeer, call, code, end, item, number, pong, sending_call};
use crate::support::{builder, serve, until_blocking, within};

/// L8: connections that reach their age are followed by others, and no call notices.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_grow_old_without_a_failed_call() {
    grow_old(Channel::builder(), 8).await;
}

/// L8: nor does one that finds all connections of its channel full, or about to end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_connections_of_a_channel_grow_old_without_a_failed_call() {
    let limits = Limits {
        max_calls: 16,
        ..Limits::default()
    };
    grow_old(Channel::builder().limits(limits).connections(3), 100).await;
}

/// Has callers work for a while, over connections that live for 200 ms.
async fn grow_old(channel: ChannelBuilder, callers: u64) {
    let lab = Lab::default();
    let server = builder(&lab)
        .max_connection_age(Some(Duration::from_millis(200)))
        .listen("tcp://127.0.0.1:0")
        .start()
        .unwrap();
    let channel = within(channel.connect(server.addresses()[0].clone()))
        .await
        .unwrap();
    let (client, streams) = (ExperimentsClient::new(channel.clone()), FlowClient::new(channel));
    let mut load = tokio::task::JoinSet::new();
    let start = Instant::now();
    for caller in 0..callers {
        let (client, streams) = (client.clone(), streams.clone());
        load.spawn(async move {
            let mut calls = 0_u64;
            while start.elapsed() < Duration::from_millis(1_500) {
                match caller % 4 {
                    0 => drop(client.add(1).await.unwrap()),
                    1 => drop(client.add_at_work(1).await.unwrap()),
                    2 => {
                        let (mut numbers, call) = streams.count(50).open().await.unwrap();
                        while numbers.recv().await.unwrap().is_some() {}
                        call.await.unwrap();
                    }
                    _ => {
                        let (mut numbers, call) = streams.sum(0).open().await.unwrap();
                        for number in 0..50 {
                            numbers.send(&number).await.unwrap();
                        }
                        numbers.finish().unwrap();
                        assert_eq!(*call.await.unwrap(), 1_225);
                    }
                }
                calls += u64::from(caller % 4 < 2);
            }
            calls
        });
    }
    let calls: u64 = within(load.join_all()).await.into_iter().sum();
    assert_eq!(lab.additions(), calls);
    assert!(server.stats().accepted >= 4, "{:?}", server.stats());
    assert_eq!(server.stats().connections_failed, 0);
}

/// L8: an old connection's calls have the grace period, and no more.
#[test]
fn a_call_of_an_old_connection_is_cut_off_after_the_grace_period() {
    let lab = Lab::default();
    let server = builder(&lab)
        .max_connection_age(Some(Duration::from_millis(100)))
        .grace(Duration::from_millis(400))
        .listen("tcp://127.0.0.1:0")
        .start()
        .unwrap();
    let mut peer = RawPeer::greeted(&server.addresses()[0]);
    peer.send(&[call(0, "hold", &number(1)), call(1, "hold", &number(2))].concat());
    peer.follow_drain(2);
    lab.release(1);
    assert_eq!(peer.answer().number(), 1, "what ends in time is answered");
    assert_eq!(peer.read_to_end(), []);
    until_blocking("handler stopped", || lab.saw(Event::Dropped(2)));
}

/// L8: a connection without calls is closed in good order, and one with a stream is not without calls.
#[test]
fn an_idle_connection_is_closed_in_good_order() {
    let lab = Lab::default();
    let server = builder(&lab)
        .max_connection_idle(Some(Duration::from_millis(200)))
        .listen("tcp://127.0.0.1:0")
        .start()
        .unwrap();
    let mut busy = RawPeer::greeted(&server.addresses()[0]);
    busy.send(&sending_call(0, "sum", &number(1)));
    let mut idle = RawPeer::greeted(&server.addresses()[0]);
    idle.follow_drain(0);
    assert_eq!(idle.read_to_end(), []);
    busy.send(&[item(0, 5), end(0)].concat());
    assert_eq!(busy.answer().number(), 5);
    let ping = busy.expect_announcement();
    // A call that crosses the announcement is answered.
    busy.send(&[call(1, "add", &number(1)), pong(ping)].concat());
    assert_eq!(busy.answer().number(), 1);
    busy.expect_taken(2);
    assert_eq!(busy.read_to_end(), []);
    assert_eq!(server.stats().connections_failed, 0);
}

/// P-52, T7: a peer that has finished sending cannot answer, so its silence means nothing.
#[test]
fn a_half_closed_connection_is_not_taken_for_dead() {
    let lab = Lab::default();
    let interval = Duration::from_millis(50);
    let server = builder(&lab)
        .keep_alive(Some(interval), interval)
        .listen("tcp://127.0.0.1:0")
        .start()
        .unwrap();
    let mut peer = RawPeer::greeted(&server.addresses()[0]);
    peer.send(&call(0, "hold", &number(1)));
    peer.finish();
    let start = Instant::now();
    until_blocking("handler started", || lab.saw(Event::Started(1)));
    until_blocking("it would be dead", || start.elapsed() > 10 * interval);
    lab.release(1);
    assert_eq!(peer.answer().number(), 1);
}

/// T7: a connection that holds too much is not read from, so its silence means nothing either.
#[test]
fn a_full_connection_is_not_taken_for_dead() {
    let lab = Lab::default();
    let interval = Duration::from_millis(50);
    let limits = Limits {
        max_body: 1 << 16,
        max_held: 1 << 16,
        ..Limits::default()
    };
    let server = builder(&lab)
        .limits(limits)
        .keep_alive(Some(interval), interval)
        .listen("tcp://127.0.0.1:0")
        .start()
        .unwrap();
    let mut peer = RawPeer::greeted(&server.addresses()[0]);
    let (len, at) = (40_000_u32, -40_000_i32);
    let arguments = |key: u64| {
        [
            &vec![7; len as usize][..],
            &number(key),
            &(at - 8).to_le_bytes(),
            &len.to_le_bytes(),
        ]
        .concat()
    };
    peer.send(&[call(0, "keep", &arguments(1)), call(1, "keep", &arguments(1))].concat());
    until_blocking("both run", || lab.count(|event| *event == Event::Started(1)) == 2);
    let start = Instant::now();
    until_blocking("it would be dead", || start.elapsed() > 10 * interval);
    lab.release(1);
    let mut replies = 0;
    while replies < 2 {
        let frame = peer.frame();
        replies += u32::from(frame.kind == REPLY);
        assert!([REPLY, PING].contains(&frame.kind), "{frame:?}");
        if frame.kind == PING {
            peer.send(&pong(frame.aux));
        }
    }
}

/// P23, P-52: a peer that has finished sending in the middle of a channel will not send the rest: that call is given up, and never for a clean end. Others are
/// still answered.
#[test]
fn a_channel_without_an_end_fails_when_its_peer_has_finished() {
    for (method, key) in [("sum", 1), ("sum_at_work", 2)] {
        let lab = Lab::default();
        let server = serve(&lab);
        let mut peer = RawPeer::greeted(&server.addresses()[0]);
        peer.send(&[sending_call(0, method, &number(key)), item(0, 5)].concat());
        peer.send(&[sending_call(1, method, &number(10)), item(1, 5), end(1)].concat());
        peer.send(&call(2, "hold", &number(20)));
        until_blocking("all run", || {
            [key, 10, 20].iter().all(|key| lab.saw(Event::Started(*key)))
        });
        peer.finish();
        let mut answers = [peer.answer(), peer.answer()];
        answers.sort_by_key(|answer| answer.call);
        assert_eq!((answers[0].kind, answers[0].aux), (FAILURE, code::CANCELLED));
        assert_eq!((answers[1].call, answers[1].number()), (1, 5));
        lab.release(20);
        assert_eq!(peer.answer().number(), 20);
        assert_eq!(peer.read_to_end(), []);
        assert!(lab.saw(Event::Dropped(key)) || lab.end(key).unwrap().starts_with("Err("));
    }
}
