//! Several connections of one channel: which one a call takes, and what the others do when one is lost.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use rpc_core::{CallError, Caller as _, FailureKind};
use tokio::io::ReadBuf;
use tokio::task::JoinSet;

use crate::raw_server::{CANCEL, Connection, Frame, Preface, REPLY, RawServer};
use crate::{Client, builder, connected_with, started, within};

/// The flag of the first frame of a body that goes on in chunks.
const CHUNKED: u8 = 1;

/// A client with as many idle connections, and the servers' ends of them.
async fn connected(count: usize, max_calls: u32) -> (Client, Vec<Connection>, RawServer) {
    let (client, first, listener) = connected_with(builder().connections(count), max_calls).await;
    let mut servers = vec![first];
    let mut calls = Vec::new();
    while servers.len() < count {
        // The first keeps the newest connection busy; the second finds all of them busy.
        calls.push(started(client.next(0)).await);
        calls.push(started(client.next(0)).await);
        servers.push(opened(&client, &listener, max_calls).await);
    }
    for _ in &calls {
        let (server, frame) = next_of(&mut servers).await;
        servers[server].reply(frame.call, 1).await;
    }
    for call in calls {
        call.await.unwrap();
    }
    (client, servers, listener)
}

/// Accepts a further connection, and waits until the client has been greeted on it.
async fn opened(client: &Client, listener: &RawServer, max_calls: u32) -> Connection {
    let before = client.caller().max_body();
    let mut server = listener.accept().await;
    let max_body = u32::try_from(before).unwrap() - 16_384;
    server
        .greet(&Preface {
            max_body,
            max_calls,
            ..Preface::default()
        })
        .await;
    while client.caller().max_body() == before {
        tokio::task::yield_now().await;
    }
    server
}

/// A hundred calls that are made now go to this server, all of them and in order.
async fn small_calls_go_to(client: &Client, server: &mut Connection) {
    let mut calls = Vec::new();
    for number in 0..100 {
        calls.push(started(client.next(number)).await);
    }
    for (frame, number) in server.calls(100).await.iter().zip(0..) {
        assert_eq!(frame.number(), number);
    }
}

/// The first server that has something to read.
async fn readable(servers: &[Connection]) -> usize {
    poll_fn(|cx| {
        let is_readable = |server: &Connection| {
            let mut byte = [0];
            server.0.poll_peek(cx, &mut ReadBuf::new(&mut byte)).is_ready()
        };
        match servers.iter().position(is_readable) {
            Some(server) => Poll::Ready(server),
            None => Poll::Pending,
        }
    })
    .await
}

/// The next frame that one of the servers gets, and which one that is.
async fn next_of(servers: &mut [Connection]) -> (usize, Frame) {
    let server = readable(servers).await;
    (server, servers[server].frame().await)
}

/// A call that one of the servers has received.
struct Placed {
    call: Next,
    server: usize,
    id: u32,
}

async fn placed(client: &Client, servers: &mut [Connection], number: u64) -> Placed {
    let call = started(next(client, number)).await;
    let (server, frame) = next_of(servers).await;
    assert_eq!(frame.number(), number);
    let id = frame.call;
    Placed { call, server, id }
}

type Next = Pin<Box<dyn Future<Output = Result<u64, (FailureKind, bool)>> + Send>>;

/// A call of `next`, without its types.
fn next(client: &Client, number: u64) -> Next {
    let call = client.next(number);
    Box::pin(async move {
        call.await
            .map(|reply| reply.to_native())
            .map_err(|error| kind(&error))
    })
}

fn kind<E>(error: &CallError<E>) -> (FailureKind, bool) {
    let failure = error.failure().unwrap();
    (failure.kind(), failure.may_have_run())
}

#[tokio::test]
async fn calls_one_after_the_other_need_one_connection_and_overlapping_ones_open_more() {
    let (client, server, listener) = connected_with(builder().connections(3), 16).await;
    within(async {
        let mut servers = [server];
        for number in 0..10 {
            let call = started(client.next(number)).await;
            let frame = servers[0].frame().await;
            servers[0].reply(frame.call, number + 1).await;
            assert_eq!(*call.await.unwrap(), number + 1);
        }
        assert!(listener.is_left_alone().await);
        let _first = started(client.next(1)).await;
        let _second = started(client.next(2)).await;
        let second = opened(&client, &listener, 16).await;
        // Nothing was lost or had to wait for it, and two calls need two connections.
        assert_eq!(servers[0].calls(2).await[1].number(), 2);
        let mut servers = [second];
        let third = started(client.next(3)).await;
        let (_, frame) = next_of(&mut servers).await;
        servers[0].reply(frame.call, 4).await;
        assert_eq!(*third.await.unwrap(), 4);
        assert!(listener.is_left_alone().await);
    })
    .await;
}

#[tokio::test]
async fn zero_connections_are_one() {
    let (client, mut server, listener) = connected_with(builder().connections(0), 16).await;
    within(async {
        let calls = [started(client.next(1)).await, started(client.next(2)).await];
        assert_eq!(server.calls(2).await.len(), calls.len());
        assert!(listener.is_left_alone().await);
    })
    .await;
}

#[tokio::test]
async fn idle_connections_take_turns() {
    let (client, mut servers, listener) = within(connected(3, 16)).await;
    within(async {
        let mut taken = [0; 3];
        for number in 0..30 {
            let call = started(client.next(number)).await;
            let (server, frame) = next_of(&mut servers).await;
            taken[server] += 1;
            servers[server].reply(frame.call, number + 1).await;
            assert_eq!(*call.await.unwrap(), number + 1);
        }
        assert_eq!(taken, [10; 3]);
        assert!(listener.is_left_alone().await);
    })
    .await;
}

#[tokio::test]
async fn calls_in_flight_spread_evenly() {
    let (client, mut servers, listener) = within(connected(3, 1024)).await;
    within(async {
        let mut calls = Vec::new();
        for number in 0..60 {
            calls.push(started(client.next(number)).await);
        }
        for server in &mut servers {
            assert_eq!(server.calls(20).await.len(), 20);
        }
        assert!(listener.is_left_alone().await);
    })
    .await;
}

#[tokio::test]
async fn a_long_body_on_its_way_there_leaves_small_calls_to_the_others() {
    let (client, mut servers, _listener) = within(connected(2, 1024)).await;
    within(async {
        // The socket is full after a part of it.
        let _large = started(client.swallow(&vec![0; 32 << 20])).await;
        let busy = readable(&servers).await;
        small_calls_go_to(&client, &mut servers[1 - busy]).await;
    })
    .await;
}

#[tokio::test]
async fn a_long_body_on_its_way_here_leaves_small_calls_to_the_others() {
    let (client, mut servers, _listener) = within(connected(2, 1024)).await;
    within(async {
        let _large = started(client.fill(1 << 20)).await;
        let (busy, large) = next_of(&mut servers).await;
        let (mut behind, mut others) = (None, Vec::new());
        while behind.is_none() {
            let call = started(client.next(1)).await;
            match next_of(&mut servers).await {
                (server, frame) if server == busy => behind = Some((call, frame)),
                _ => others.push(call),
            }
        }
        servers[busy]
            .send(REPLY, CHUNKED, large.call, 1 << 20, &[0; 1024])
            .await;
        // Its answer says that the client has seen what came before.
        let (call, frame) = behind.unwrap();
        servers[busy].reply(frame.call, 2).await;
        assert_eq!(*call.await.unwrap(), 2);
        small_calls_go_to(&client, &mut servers[1 - busy]).await;
    })
    .await;
}

#[tokio::test]
async fn when_one_is_lost_the_others_carry_on_and_it_is_made_again_when_they_are_busy() {
    let (client, mut servers, listener) = within(connected(2, 16)).await;
    within(async {
        let [one, other] = [
            placed(&client, &mut servers, 1).await,
            placed(&client, &mut servers, 2).await,
        ];
        assert_ne!(one.server, other.server);
        drop(servers.remove(one.server));
        assert_eq!(one.call.await, Err((FailureKind::ConnectionLost, true)));
        servers[0].reply(other.id, 3).await;
        assert_eq!(other.call.await, Ok(3));
        for number in 0..10 {
            let call = placed(&client, &mut servers, number).await;
            servers[0].reply(call.id, number + 1).await;
            assert_eq!(call.call.await, Ok(number + 1));
        }
        assert!(listener.is_left_alone().await);
        let _busy = placed(&client, &mut servers, 1).await;
        let _finds_it_busy = placed(&client, &mut servers, 2).await;
        servers.push(opened(&client, &listener, 16).await);
        assert_eq!(placed(&client, &mut servers, 3).await.server, 1);
    })
    .await;
}

#[tokio::test]
async fn a_call_that_had_not_left_when_its_connection_was_lost_goes_to_another() {
    let (client, mut servers, _listener) = within(connected(2, 16)).await;
    within(async {
        // Both sockets are full; what one has to send yet is less.
        let less = started(client.swallow(&vec![0; 16 << 20])).await;
        let lost = readable(&servers).await;
        let _more = started(client.swallow(&vec![0; 48 << 20])).await;
        let small = tokio::spawn(started(next(&client, 7)).await);
        drop(servers.remove(lost));
        // Long arguments were handed over and are not there to be sent again.
        assert_eq!(kind(&less.await.unwrap_err()), (FailureKind::NotSent, false));
        servers[0].frame().await;
        let frame = servers[0].frame().await;
        assert_eq!(frame.number(), 7);
        servers[0].reply(frame.call, 8).await;
        assert_eq!(small.await.unwrap(), Ok(8));
    })
    .await;
}

#[tokio::test]
async fn a_draining_connection_finishes_what_it_took_and_leaves_the_rest_to_the_others() {
    let (client, mut servers, listener) = within(connected(2, 16)).await;
    within(async {
        let [one, other] = [
            placed(&client, &mut servers, 1).await,
            placed(&client, &mut servers, 2).await,
        ];
        let mut old = servers.remove(one.server);
        // The first step of a goodbye: it takes whatever is on its way.
        old.goaway(33, u64::MAX, "shutting down").await;
        old.reply(one.id, 2).await;
        assert_eq!(one.call.await, Ok(2));
        old.expect_end().await;
        servers[0].reply(other.id, 3).await;
        assert_eq!(other.call.await, Ok(3));
        for number in 0..10 {
            let call = placed(&client, &mut servers, number).await;
            servers[0].reply(call.id, number + 1).await;
            assert_eq!(call.call.await, Ok(number + 1));
        }
        assert!(listener.is_left_alone().await);
    })
    .await;
}

/// P-51, P27: once for each connection, since all may be about to end.
#[tokio::test]
async fn a_call_that_every_connection_refuses_ends_at_a_new_one() {
    let (client, mut servers, listener) = within(connected(2, 16)).await;
    within(async {
        let Placed { call, server, .. } = placed(&client, &mut servers, 1).await;
        let call = tokio::spawn(call);
        let mut first = servers.remove(server);
        first.goaway(33, 0, "shutting down").await;
        let mut second = servers.remove(0);
        assert_eq!(second.frame().await.number(), 1);
        second.goaway(33, 0, "shutting down").await;
        let mut third = listener.accept_greeted(16).await;
        let frame = third.frame().await;
        assert_eq!(frame.number(), 1);
        third.reply(frame.call, 2).await;
        assert_eq!(call.await.unwrap(), Ok(2));
    })
    .await;
}

/// Fills all slots of two connections with 16 each.
async fn filled(client: &Client, servers: &mut [Connection]) -> Vec<Placed> {
    let mut calls = Vec::new();
    for number in 0..32 {
        calls.push(placed(client, servers, number).await);
    }
    let at_first = calls.iter().filter(|call| call.server == 0).count();
    assert_eq!(at_first, 16);
    calls
}

/// Answers one of the calls at a server, which leaves its slot free.
async fn answer(servers: &mut [Connection], calls: &mut Vec<Placed>, server: usize) {
    let position = calls.iter().position(|call| call.server == server).unwrap();
    let Placed { call, id, .. } = calls.remove(position);
    servers[server].reply(id, 0).await;
    assert_eq!(call.await, Ok(0));
}

/// P-31
#[tokio::test]
async fn a_call_waits_only_while_no_connection_has_a_slot() {
    let (client, mut servers, _listener) = within(connected(2, 16)).await;
    within(async {
        let mut calls = filled(&client, &mut servers).await;
        let mut waiting = Vec::new();
        for number in [100, 200, 300, 400] {
            waiting.push(tokio::spawn(started(next(&client, number)).await));
        }
        // In order, at whichever connection a slot becomes free.
        let mut started = Vec::new();
        for (server, number) in [(1, 100), (1, 200), (0, 300), (1, 400)] {
            answer(&mut servers, &mut calls, server).await;
            let (at, frame) = next_of(&mut servers).await;
            assert_eq!((at, frame.number()), (server, number));
            started.push((server, frame.call));
        }
        for ((server, call), waiting) in started.into_iter().zip(waiting) {
            servers[server].reply(call, 7).await;
            assert_eq!(waiting.await.unwrap(), Ok(7));
        }
    })
    .await;
}

#[tokio::test]
async fn a_slot_that_is_granted_to_a_call_twice_or_to_one_that_is_dropped_goes_to_the_next() {
    let (client, mut servers, _listener) = within(connected(2, 16)).await;
    within(async {
        let mut calls = filled(&client, &mut servers).await;
        let dropped = started(next(&client, 100)).await;
        let first = started(next(&client, 200)).await;
        let second = tokio::spawn(started(next(&client, 300)).await);
        answer(&mut servers, &mut calls, 0).await;
        drop(dropped);
        // Now it has a slot of either.
        answer(&mut servers, &mut calls, 1).await;
        let first = started(first).await;
        let mut frames = [next_of(&mut servers).await, next_of(&mut servers).await];
        frames.sort_by_key(|(_, frame)| frame.number());
        let [(at_first, first_frame), (at_second, second_frame)] = frames;
        assert_eq!((first_frame.number(), second_frame.number()), (200, 300));
        assert_ne!(at_first, at_second);
        servers[at_first].reply(first_frame.call, 201).await;
        servers[at_second].reply(second_frame.call, 301).await;
        assert_eq!(first.await, Ok(201));
        assert_eq!(second.await.unwrap(), Ok(301));
    })
    .await;
}

#[tokio::test]
async fn a_call_that_waits_for_a_slot_survives_one_connection_and_takes_a_slot_of_another() {
    let (client, mut servers, _listener) = within(connected(2, 16)).await;
    within(async {
        let mut calls = filled(&client, &mut servers).await;
        let waiting = tokio::spawn(started(next(&client, 100)).await);
        servers[0].goaway(33, u64::MAX, "shutting down").await;
        answer(&mut servers, &mut calls, 0).await;
        answer(&mut servers, &mut calls, 1).await;
        let (server, frame) = next_of(&mut servers).await;
        assert_eq!((server, frame.number()), (1, 100));
        servers[1].reply(frame.call, 101).await;
        assert_eq!(waiting.await.unwrap(), Ok(101));
    })
    .await;
}

#[tokio::test]
async fn calls_that_wait_for_a_slot_go_to_a_connection_that_is_opened_meanwhile() {
    let (client, first, listener) = connected_with(builder().connections(2), 16).await;
    within(async {
        let mut servers = vec![first];
        let mut calls = Vec::new();
        for number in 0..16 {
            calls.push(placed(&client, &mut servers, number).await);
        }
        let waiting = tokio::spawn(started(next(&client, 100)).await);
        servers.push(opened(&client, &listener, 16).await);
        let (server, frame) = next_of(&mut servers).await;
        assert_eq!((server, frame.number()), (1, 100));
        servers[1].reply(frame.call, 101).await;
        assert_eq!(waiting.await.unwrap(), Ok(101));
    })
    .await;
}

#[tokio::test]
async fn calls_that_wait_for_a_slot_have_as_many_connections_opened_as_there_may_be() {
    let (client, first, listener) = connected_with(builder().connections(3), 16).await;
    within(async {
        let mut calls = Vec::new();
        for number in 0..40 {
            calls.push(tokio::spawn(started(next(&client, number)).await));
        }
        let second = opened(&client, &listener, 16).await;
        let third = opened(&client, &listener, 16).await;
        for (mut server, count) in [(first, 16), (second, 16), (third, 8)] {
            for frame in server.calls(count).await {
                server.reply(frame.call, frame.number() + 1).await;
            }
            tokio::spawn(server.serve());
        }
        for (call, number) in calls.into_iter().zip(0..) {
            assert_eq!(call.await.unwrap(), Ok(number + 1));
        }
    })
    .await;
}

#[tokio::test]
async fn a_deadline_ends_the_wait_for_a_slot_of_any() {
    let (client, mut servers, _listener) = within(connected(2, 16)).await;
    within(async {
        let mut calls = filled(&client, &mut servers).await;
        let error = client.next(100).timeout(Duration::from_millis(20)).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "Probe.next: deadline exceeded: time ran out while the call waited for others to end (the method did not run)"
        );
        for server in [0, 1] {
            answer(&mut servers, &mut calls, server).await;
            let call = placed(&client, &mut servers, 200).await;
            assert_eq!(call.server, server, "it has left all lines");
            calls.push(call);
        }
    })
    .await;
}

/// P-30
#[tokio::test]
async fn dropping_a_call_cancels_it_on_its_connection() {
    let (client, mut servers, _listener) = within(connected(2, 16)).await;
    within(async {
        let call = placed(&client, &mut servers, 1).await;
        let server = call.server;
        drop(call.call);
        let (at, frame) = next_of(&mut servers).await;
        assert_eq!((at, frame.kind), (server, CANCEL));
    })
    .await;
}

#[tokio::test]
async fn after_all_are_lost_the_next_calls_share_one_attempt() {
    let (client, mut servers, listener) = within(connected(2, 16)).await;
    within(async {
        let lost = [
            placed(&client, &mut servers, 1).await,
            placed(&client, &mut servers, 2).await,
        ];
        drop(servers);
        for call in lost {
            assert_eq!(call.call.await, Err((FailureKind::ConnectionLost, true)));
        }
        let mut calls = JoinSet::new();
        for number in 0..10 {
            let call = next(&client, number);
            calls.spawn(async move { assert_eq!(call.await, Ok(number + 1)) });
        }
        let mut server = listener.accept_greeted(16).await;
        for call in server.calls(10).await {
            server.reply(call.call, call.number() + 1).await;
        }
        while let Some(result) = calls.join_next().await {
            result.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn while_nobody_listens_calls_fail_as_not_sent_and_later_ones_succeed() {
    let (client, mut servers, listener) = within(connected(2, 16)).await;
    let address = listener.address();
    within(async {
        let lost = [
            placed(&client, &mut servers, 1).await,
            placed(&client, &mut servers, 2).await,
        ];
        drop((servers, listener));
        for call in lost {
            assert_eq!(call.call.await, Err((FailureKind::ConnectionLost, true)));
        }
        for number in 0..10 {
            assert_eq!(next(&client, number).await, Err((FailureKind::NotSent, false)));
        }
        let listener = RawServer::bind_to(&address).await;
        let serve = tokio::spawn(async move { listener.accept_greeted(16).await.serve().await });
        // Calls fail fast until a pause is over.
        while next(&client, 1).await != Ok(2) {
            tokio::task::yield_now().await;
        }
        drop(client);
        serve.await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_further_connection_that_cannot_be_made_costs_nobody_anything() {
    let (client, first, listener) = connected_with(builder().connections(2), 16).await;
    within(async {
        let mut servers = [first];
        let _busy = placed(&client, &mut servers, 1).await;
        let _finds_it_busy = placed(&client, &mut servers, 2).await;
        let mut second = listener.accept().await;
        second
            .greet(&Preface {
                versions: [2, 2],
                ..Preface::default()
            })
            .await;
        second.expect_end().await;
        for number in 0..10 {
            let call = placed(&client, &mut servers, number).await;
            servers[0].reply(call.id, number + 1).await;
            assert_eq!(call.call.await, Ok(number + 1));
        }
        assert!(listener.is_left_alone().await);
    })
    .await;
}

#[tokio::test]
async fn the_smallest_limit_of_all_connections_is_in_force() {
    let (client, first, listener) = connected_with(builder().connections(2), 16).await;
    within(async {
        let mut servers = [first];
        let _busy = placed(&client, &mut servers, 1).await;
        let _finds_it_busy = placed(&client, &mut servers, 2).await;
        let _second = opened(&client, &listener, 16).await;
        let smaller = usize::try_from(Preface::default().max_body).unwrap() - 16_384;
        assert_eq!(client.caller().max_body(), smaller);
    })
    .await;
}

#[tokio::test]
async fn all_connections_end_with_the_last_channel() {
    let (client, servers, _listener) = within(connected(3, 16)).await;
    within(async {
        drop(client);
        for mut server in servers {
            server.expect_end().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_is_being_made_ends_with_the_last_channel() {
    let (client, first, listener) = connected_with(builder().connections(2), 16).await;
    within(async {
        let mut servers = [first];
        let busy = placed(&client, &mut servers, 1).await;
        let finds_it_busy = placed(&client, &mut servers, 2).await;
        let mut second = listener.accept().await;
        for call in [busy, finds_it_busy] {
            servers[0].reply(call.id, 0).await;
            assert_eq!(call.call.await, Ok(0));
        }
        drop(client);
        second.greet(&Preface::default()).await;
        second.expect_end().await;
        servers[0].expect_end().await;
    })
    .await;
}
