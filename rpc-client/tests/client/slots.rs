//! More calls than the server takes at a time, and calls with deadlines.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rpc_core::{Code, FailureKind};
use tokio::task::JoinSet;

use crate::raw_server::{CANCEL, Frame};
use crate::{builder, connected, connected_with, started, within};

const SOON: Duration = Duration::from_millis(20);

/// P-31: the client never uses an id that the server does not have.
#[tokio::test]
async fn calls_beyond_the_servers_limit_wait_and_complete_in_order() {
    let (client, mut server, _listener) = connected(16).await;
    let answered = Arc::new(Mutex::new(Vec::new()));
    let mut calls = JoinSet::new();
    for number in 0..100 {
        let (client, answered) = (client.clone(), Arc::clone(&answered));
        calls.spawn(async move {
            assert_eq!(*client.next(number).await.unwrap(), number + 1);
            answered.lock().unwrap().push(number);
        });
    }
    within(async {
        let mut in_flight: Vec<Frame> = server.calls(16).await;
        for number in 0..100_u64 {
            let call = in_flight.remove(0);
            assert_eq!(call.number(), number, "first come, first served");
            assert!(call.call < 16);
            server.reply(call.call, number + 1).await;
            if number + 16 < 100 {
                in_flight.extend(server.calls(1).await);
            }
        }
        while let Some(result) = calls.join_next().await {
            result.unwrap();
        }
    })
    .await;
    assert!(answered.lock().unwrap().is_sorted());
}

#[tokio::test]
async fn a_call_that_is_dropped_with_its_slot_granted_leaves_it_to_the_next() {
    let (client, mut server, _listener) = connected(16).await;
    within(async {
        let mut in_flight = Vec::new();
        for number in 0..16 {
            in_flight.push(started(client.next(number)).await);
        }
        let first_in_line = started(client.next(100)).await;
        let second_in_line = started(client.next(200)).await;
        server.calls(16).await;
        server.reply(0, 1).await;
        // The slot was granted when this answer arrived.
        assert_eq!(*in_flight.remove(0).await.unwrap(), 1);
        drop(first_in_line);
        let second = tokio::spawn(async move { *second_in_line.await.unwrap() });
        let frame = server.frame().await;
        assert_eq!((frame.number(), frame.call), (200, 0));
        server.reply(0, 201).await;
        assert_eq!(second.await.unwrap(), 201);
    })
    .await;
}

#[tokio::test]
async fn a_newcomer_does_not_take_a_slot_that_is_granted() {
    let (client, mut server, _listener) = connected(16).await;
    within(async {
        let mut in_flight = Vec::new();
        for number in 0..16 {
            in_flight.push(started(client.next(number)).await);
        }
        let waiting = started(client.next(100)).await;
        server.calls(16).await;
        server.reply(0, 1).await;
        assert_eq!(*in_flight.remove(0).await.unwrap(), 1);
        let newcomer = started(client.next(200)).await;
        let waiting = started(waiting).await;
        assert_eq!(server.calls(1).await[0].number(), 100);
        server.reply(0, 101).await;
        let newcomer = tokio::spawn(async move { *newcomer.await.unwrap() });
        assert_eq!(*waiting.await.unwrap(), 101);
        assert_eq!(server.calls(1).await[0].number(), 200);
        server.reply(0, 201).await;
        assert_eq!(newcomer.await.unwrap(), 201);
    })
    .await;
}

/// P-30: a call that was given up occupies the server until it says otherwise.
#[tokio::test]
async fn the_slot_of_a_cancelled_call_is_given_on_when_the_server_confirms() {
    let (client, mut server, _listener) = connected(16).await;
    within(async {
        let mut in_flight = Vec::new();
        for number in 0..16 {
            in_flight.push(started(client.next(number)).await);
        }
        let waiting = tokio::spawn({
            let client = client.clone();
            async move { *client.next(100).await.unwrap() }
        });
        tokio::task::yield_now().await;
        server.calls(16).await;
        drop(in_flight.remove(5));
        assert_eq!(server.frame().await.kind, CANCEL);
        server.fail(5, Code::CANCELLED.number(), "").await;
        let frame = server.frame().await;
        assert_eq!((frame.number(), frame.call), (100, 5));
        server.reply(5, 101).await;
        assert_eq!(waiting.await.unwrap(), 101);
    })
    .await;
}

/// P-35
#[tokio::test]
async fn a_deadline_ends_a_call_that_the_server_does_not_answer() {
    let (client, mut server, _listener) = connected(16).await;
    within(async {
        // The driver is at rest: nothing but the deadline itself makes it set its timer.
        let serve = async {
            server.calls(1).await;
            server.reply(0, 1).await;
        };
        tokio::join!(client.next(0), serve).0.unwrap();

        let start = Instant::now();
        let error = client.next(1).timeout(SOON).await.unwrap_err();
        assert!(start.elapsed() >= SOON);
        let failure = error.failure().unwrap();
        assert_eq!(
            (failure.kind(), failure.may_have_run()),
            (FailureKind::DeadlineExceeded, true)
        );
        assert_eq!(
            error.to_string(),
            "Probe.next: deadline exceeded: no answer in time (the method may have run)"
        );
        let call = server.frame().await;
        assert!((1..=20_000).contains(&call.time_left_micros()));
        assert_eq!(server.frame().await.kind, CANCEL);
    })
    .await;
}

#[tokio::test]
async fn a_later_deadline_of_the_same_connection_is_kept_as_well() {
    let (client, _server, _listener) = connected(16).await;
    within(async {
        let start = Instant::now();
        let (late, soon) = tokio::join!(client.next(1).timeout(3 * SOON), client.next(2).timeout(SOON));
        assert!(start.elapsed() >= 3 * SOON);
        for reply in [late, soon] {
            assert_eq!(
                reply.unwrap_err().failure().unwrap().kind(),
                FailureKind::DeadlineExceeded
            );
        }
    })
    .await;
}

#[tokio::test]
async fn a_deadline_ends_the_wait_for_a_slot() {
    let (client, mut server, _listener) = connected(16).await;
    within(async {
        let mut in_flight = Vec::new();
        for number in 0..16 {
            in_flight.push(started(client.next(number)).await);
        }
        let error = client.next(100).timeout(SOON).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "Probe.next: deadline exceeded: time ran out while the call waited for others to end (the method did not run)"
        );
        // It has left the queue: the next slot goes to the next call.
        server.calls(16).await;
        server.reply(3, 4).await;
        let next = started(client.next(200)).await;
        tokio::select! {
            frame = server.frame() => assert_eq!(frame.number(), 200),
            _ = next => panic!("nobody answered"),
        }
    })
    .await;
}

/// T1
#[tokio::test]
async fn a_call_whose_deadline_has_passed_is_not_sent() {
    let (client, mut server, _listener) = connected(16).await;
    within(async {
        let error = client.next(1).deadline(Instant::now()).await.unwrap_err();
        assert!(!error.may_have_run());
        assert_eq!(
            error.to_string(),
            "Probe.next: deadline exceeded: time had run out before the call was sent (the method did not run)"
        );
        let _next = started(client.next(2)).await;
        assert_eq!(server.frame().await.number(), 2);
    })
    .await;
}

/// T2
#[tokio::test]
async fn the_longest_timeout_is_none() {
    let (client, mut server, _listener) = connected(16).await;
    within(async {
        let call = started(client.next(1).timeout(Duration::MAX)).await;
        assert_eq!(server.frame().await.time_left_micros(), 0);
        server.reply(0, 2).await;
        assert_eq!(*call.await.unwrap(), 2);
    })
    .await;
}

#[tokio::test]
async fn the_channels_timeout_is_for_calls_that_say_nothing() {
    let builder = builder().call_timeout(Some(SOON));
    let (client, mut server, _listener) = connected_with(builder, 16).await;
    within(async {
        let patient = started(client.next(1).timeout(Duration::from_secs(60))).await;
        assert!(client.next(2).await.is_err());
        let times: Vec<_> = server
            .calls(2)
            .await
            .iter()
            .map(Frame::time_left_micros)
            .collect();
        assert!(times[0] > 20_000 && times[1] <= 20_000, "{times:?}");
        server.reply(0, 2).await;
        assert_eq!(*patient.await.unwrap(), 2);
    })
    .await;
}
