//! The client of threads without a runtime, against the scripted server and against one that answers on a thread of its own.

#[cfg(not(feature = "tracing"))]
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use rpc_client::blocking::BlockingChannel;
use rpc_client::{Channel, ChannelBuilder, ConnectError};
use rpc_core::{CallError, FailureKind, Limits};
use tokio::task::{JoinHandle, spawn_blocking};

use crate::raw_server::{CANCEL, Connection, PING, PONG, Preface, REPLY, RawServer, archive_of_bytes};
use crate::{LIMITS, ProbeClient, builder, within};

type Client = ProbeClient<BlockingChannel>;

/// Does on a thread of its own what blocks.
fn thread<R: Send + 'static>(run: impl FnOnce() -> R + Send + 'static) -> JoinHandle<R> {
    spawn_blocking(run)
}

async fn connected(max_calls: u32) -> (Client, Connection, RawServer) {
    connected_with(builder(), max_calls).await
}

async fn connected_with(builder: ChannelBuilder, max_calls: u32) -> (Client, Connection, RawServer) {
    let server = RawServer::bind().await;
    let address = server.address();
    let channel = thread(move || builder.connect_blocking(&address).unwrap());
    let connection = server.accept_greeted(max_calls).await;
    (Client::new(channel.await.unwrap()), connection, server)
}

/// A call of a thread of its own.
fn next(client: &Client, number: u64) -> JoinHandle<Result<u64, CallError>> {
    let client = client.clone();
    thread(move || client.next(number).owned().wait())
}

fn kind<E>(error: &CallError<E>) -> (FailureKind, bool) {
    (error.failure().unwrap().kind(), error.may_have_run())
}

/// A server on a thread of its own that answers every call with the next number.
fn answering_server() -> String {
    let (sender, address) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.unwrap().block_on(async {
            let server = RawServer::bind().await;
            sender.send(server.address()).unwrap();
            loop {
                tokio::spawn(server.accept_greeted(1024).await.serve());
            }
        });
    });
    address.recv().unwrap()
}

#[tokio::test]
async fn a_call_is_answered() {
    let (client, mut server, _listener) = connected(16).await;
    within(async {
        for number in 0..3 {
            let call = next(&client, number);
            assert_eq!(server.frame().await.number(), number);
            server.reply(0, number + 1).await;
            assert_eq!(call.await.unwrap().unwrap(), number + 1);
        }
    })
    .await;
}

#[tokio::test]
async fn errors_and_failures_are_those_of_other_callers() {
    let (client, mut server, _listener) = connected(16).await;
    within(async {
        let even = client.clone();
        let call = thread(move || even.even(1).wait().map(|reply| reply.to_native()));
        server.calls(1).await;
        server.send(REPLY, 4, 0, 0, &1_u64.to_le_bytes()).await;
        assert!(matches!(call.await.unwrap(), Err(CallError::Method(error)) if error.number == 1));

        let call = next(&client, 1);
        server.calls(1).await;
        server.fail(0, 32, "full").await;
        assert_eq!(
            kind(&call.await.unwrap().unwrap_err()),
            (FailureKind::Refused, false)
        );
    })
    .await;
}

#[test]
fn calls_work_without_a_runtime_and_wait_for_any_caller() {
    let address = answering_server();
    let client = Client::new(BlockingChannel::connect(&address).unwrap());
    assert_eq!(*client.next(1).wait().unwrap(), 2);
    let (answer, metadata) = client.next(2).detailed().wait();
    assert_eq!((answer.unwrap().to_native(), metadata.is_empty()), (3, true));

    // A channel whose runtime is elsewhere.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let client = ProbeClient::new(runtime.block_on(Channel::connect(&address)).unwrap());
    for number in 0..100 {
        assert_eq!(client.next(number).owned().wait().unwrap(), number + 1);
    }
}

#[test]
fn calls_of_many_threads_share_a_connection() {
    let client = Client::new(BlockingChannel::connect(answering_server()).unwrap());
    let threads: Vec<_> = (0..16_u64)
        .map(|thread| {
            let client = client.clone();
            thread::spawn(move || {
                for number in (thread << 32..).take(500) {
                    assert_eq!(*client.next(number).wait().unwrap(), number + 1);
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
}

#[tokio::test]
async fn answers_in_any_order_reach_the_threads_that_wait_for_them() {
    let (client, mut server, _listener) = connected(16).await;
    within(async {
        let calls: Vec<_> = (0..8).map(|number| next(&client, number)).collect();
        let mut frames = server.calls(8).await;
        frames.sort_by_key(|frame| std::cmp::Reverse(frame.number()));
        for frame in frames {
            server.reply(frame.call, frame.number() + 1).await;
        }
        for (call, number) in calls.into_iter().zip(1..) {
            assert_eq!(call.await.unwrap().unwrap(), number);
        }
    })
    .await;
}

#[tokio::test]
async fn more_calls_than_the_server_takes_wait_their_turn() {
    let (client, mut server, _listener) = connected(16).await;
    within(async {
        let calls: Vec<_> = (0..40).map(|number| next(&client, number)).collect();
        for _ in 0..40 {
            let frame = server.frame().await;
            assert!(frame.call < 16);
            server.reply(frame.call, frame.number() + 1).await;
        }
        for (call, number) in calls.into_iter().zip(1..) {
            assert_eq!(call.await.unwrap().unwrap(), number);
        }
    })
    .await;
}

/// P-32
#[tokio::test]
async fn a_deadline_ends_the_call_and_cancels_it() {
    let (client, mut server, _listener) = connected(16).await;
    within(async {
        let begun = Instant::now();
        let timed = client.clone();
        let call = thread(move || {
            timed
                .next(1)
                .timeout(Duration::from_millis(60))
                .wait()
                .unwrap_err()
        });
        let frame = server.frame().await;
        assert!(frame.time_left_micros() <= 60_000);
        assert_eq!(server.frame().await.kind, CANCEL);
        assert_eq!(kind(&call.await.unwrap()), (FailureKind::DeadlineExceeded, true));
        assert!(begun.elapsed() >= Duration::from_millis(60));
        // The connection goes on, and the slot is busy until the server has confirmed (P-30).
        let call = next(&client, 2);
        let frame = server.frame().await;
        assert_eq!((frame.call, frame.number()), (1, 2));
        server.fail(0, 1, "").await;
        server.reply(1, 3).await;
        assert_eq!(call.await.unwrap().unwrap(), 3);
    })
    .await;
}

#[tokio::test]
async fn a_deadline_ends_a_call_that_looks_for_its_answer() {
    let looks = builder().busy_poll(Duration::from_secs(600));
    let (client, mut server, _listener) = connected_with(looks, 16).await;
    within(async {
        let timed = client.clone();
        let call = thread(move || {
            let call = timed.next(1).timeout(Duration::from_millis(20));
            call.wait().unwrap_err()
        });
        server.calls(1).await;
        assert_eq!(kind(&call.await.unwrap()), (FailureKind::DeadlineExceeded, true));
        assert_eq!(server.frame().await.kind, CANCEL);
    })
    .await;
}

#[tokio::test]
async fn a_deadline_ends_a_call_that_waits_for_another_to_lead() {
    let (client, mut server, _listener) = connected(16).await;
    within(async {
        let leader = next(&client, 1);
        server.calls(1).await;
        let timed = client.clone();
        let follower = thread(move || {
            timed
                .next(2)
                .timeout(Duration::from_millis(30))
                .wait()
                .unwrap_err()
        });
        assert_eq!(
            kind(&follower.await.unwrap()),
            (FailureKind::DeadlineExceeded, true)
        );
        server.calls(1).await;
        assert_eq!(server.frame().await.kind, CANCEL);
        server.reply(0, 2).await;
        assert_eq!(leader.await.unwrap().unwrap(), 2);
    })
    .await;
}

/// L1
#[tokio::test]
async fn a_lost_connection_fails_every_call_and_the_next_one_dials_again() {
    let (client, mut server, listener) = connected(16).await;
    within(async {
        let calls = [next(&client, 1), next(&client, 2), next(&client, 3)];
        server.calls(3).await;
        drop(server);
        for call in calls {
            let error = call.await.unwrap().unwrap_err();
            assert_eq!(kind(&error), (FailureKind::ConnectionLost, true));
            let expected = format!("Probe.next: connection lost: {}: ", listener.address());
            assert!(error.to_string().starts_with(&expected), "{error}");
        }
        let call = next(&client, 4);
        let mut server = listener.accept_greeted(16).await;
        assert_eq!(server.frame().await.number(), 4);
        server.reply(0, 5).await;
        assert_eq!(call.await.unwrap().unwrap(), 5);
    })
    .await;
}

#[tokio::test]
async fn without_a_server_calls_fail_at_once_until_the_pause_is_over() {
    let (client, server, listener) = connected(16).await;
    within(async {
        let address = listener.address();
        drop((server, listener));
        let lost = next(&client, 1).await.unwrap().unwrap_err();
        assert!(matches!(
            kind(&lost).0,
            FailureKind::ConnectionLost | FailureKind::NotSent
        ));
        for _ in 0..3 {
            let error = next(&client, 1).await.unwrap().unwrap_err();
            assert_eq!(kind(&error), (FailureKind::NotSent, false), "{error}");
        }
        let listener = RawServer::bind_to(&address).await;
        let again = thread(move || {
            loop {
                match client.next(1).wait() {
                    Ok(answer) => break answer.to_native(),
                    Err(error) => assert!(!error.may_have_run(), "{error}"),
                }
                thread::yield_now();
            }
        });
        let mut server = listener.accept_greeted(16).await;
        server.calls(1).await;
        server.reply(0, 2).await;
        assert_eq!(again.await.unwrap(), 2);
    })
    .await;
}

/// P-51
#[tokio::test]
async fn a_server_that_says_goodbye_finishes_what_it_took() {
    let (client, mut server, listener) = connected(16).await;
    within(async {
        let taken = next(&client, 1);
        server.calls(1).await;
        let refused = next(&client, 2);
        server.calls(1).await;
        server.goaway(33, 1, "").await;
        // It goes to another connection by itself.
        let mut other = listener.accept_greeted(16).await;
        assert_eq!(other.frame().await.number(), 2);
        other.reply(0, 3).await;
        assert_eq!(refused.await.unwrap().unwrap(), 3);
        server.reply(0, 2).await;
        assert_eq!(taken.await.unwrap().unwrap(), 2);
        server.fail(1, 33, "").await;
        drop(server);
    })
    .await;
}

/// P-50
#[tokio::test]
async fn a_ping_is_answered_while_a_call_waits() {
    let (client, mut server, _listener) = connected(16).await;
    within(async {
        let call = next(&client, 1);
        server.calls(1).await;
        server.send(PING, 0, 0, 77, &[]).await;
        let pong = server.frame().await;
        assert_eq!((pong.kind, pong.aux), (PONG, 77));
        server.reply(0, 2).await;
        assert_eq!(call.await.unwrap().unwrap(), 2);
    })
    .await;
}

/// T7
#[tokio::test]
async fn a_server_that_is_silent_is_asked_and_given_up() {
    let builder = builder().keep_alive(Some(Duration::from_millis(30)), Duration::from_millis(30));
    let (client, mut server, _listener) = connected_with(builder, 16).await;
    within(async {
        let call = next(&client, 1);
        server.calls(1).await;
        assert_eq!(server.frame().await.kind, PING);
        let error = call.await.unwrap().unwrap_err();
        assert_eq!(kind(&error), (FailureKind::ConnectionLost, true));
        assert!(error.to_string().contains("does not answer"), "{error}");
    })
    .await;
}

#[tokio::test]
async fn large_bodies_pass_in_both_directions() {
    let (client, mut server, _listener) = connected(16).await;
    within(async {
        let large = client.clone();
        let call = thread(move || large.swallow(&vec![7; 24 << 20]).owned().wait());
        let frame = server.frame().await;
        assert!(frame.body.len() > 24 << 20);
        server.reply(0, 1).await;
        assert_eq!(call.await.unwrap().unwrap(), 1);

        let call = thread(move || client.fill(0).owned().wait());
        server.calls(1).await;
        let archive = archive_of_bytes(vec![9; 24 << 20]);
        server.send(REPLY, 0, 0, 0, &archive).await;
        assert_eq!(call.await.unwrap().unwrap(), vec![9; 24 << 20]);
    })
    .await;
}

/// Two sides that both send a lot do not wait for each other.
#[tokio::test]
async fn a_call_that_finds_no_room_does_not_keep_answers_from_others() {
    let (client, mut server, _listener) = connected(16).await;
    within(async {
        let large = client.clone();
        let large = thread(move || large.swallow(&vec![7; 24 << 20]).owned().wait());
        // The large call has begun, and is not read.
        let header = server.read(16).await;
        let len = u32::from_be_bytes(header[..4].try_into().unwrap()) as usize;
        let small = next(&client, 1);
        server.send(PING, 0, 0, 1, &[]).await;
        server.read(len.next_multiple_of(16)).await;
        let mut seen = Vec::new();
        while seen.len() < 2 {
            seen.push(server.frame().await.kind);
        }
        seen.sort_unstable();
        assert_eq!(seen, [1, PONG]);
        server.reply(1, 2).await;
        server.reply(0, 1).await;
        assert_eq!(small.await.unwrap().unwrap(), 2);
        assert_eq!(large.await.unwrap().unwrap(), 1);
    })
    .await;
}

/// P-17
#[tokio::test]
async fn a_call_that_did_not_leave_whole_has_not_run() {
    let (client, mut server, _listener) = connected(16).await;
    within(async {
        let call = thread(move || client.swallow(&vec![0; 30 << 20]).wait().unwrap_err());
        server.read(16).await;
        drop(server);
        assert_eq!(kind(&call.await.unwrap()), (FailureKind::NotSent, false));
    })
    .await;
}

#[tokio::test]
async fn a_call_that_was_not_waited_for_leaves_no_trace() {
    let (client, mut server, _listener) = connected(16).await;
    within(async {
        drop(client.next(1));
        let call = next(&client, 2);
        assert_eq!(server.frame().await.number(), 2);
        server.reply(0, 3).await;
        assert_eq!(call.await.unwrap().unwrap(), 3);
        drop(client);
        server.expect_end().await;
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_was_closed_while_it_was_idle_is_not_used() {
    let (client, mut server, listener) = connected(16).await;
    within(async {
        let call = next(&client, 1);
        server.calls(1).await;
        server.reply(0, 2).await;
        assert_eq!(call.await.unwrap().unwrap(), 2);
        // Nothing comes for longer than a client takes a connection to be in use.
        let idle = tokio::time::timeout(Duration::from_millis(1100), server.frame());
        assert!(idle.await.is_err());
        drop(server);
        let call = next(&client, 2);
        let mut server = listener.accept_greeted(16).await;
        server.calls(1).await;
        server.reply(0, 3).await;
        assert_eq!(call.await.unwrap().unwrap(), 3);
    })
    .await;
}

#[tokio::test]
async fn dialling_ends_with_the_calls_deadline() {
    let (client, server, listener) = connected(16).await;
    within(async {
        drop(server);
        let _ = next(&client, 1).await.unwrap().unwrap_err();
        // The connection is taken by the kernel, and nobody greets.
        let call = thread(move || {
            client
                .next(2)
                .timeout(Duration::from_millis(50))
                .wait()
                .unwrap_err()
        });
        assert_eq!(kind(&call.await.unwrap()), (FailureKind::DeadlineExceeded, false));
        drop(listener);
    })
    .await;
}

#[tokio::test]
async fn a_stranger_and_another_version_are_told_apart() {
    let server = RawServer::bind().await;
    let address = server.address();
    within(async {
        let channel = thread({
            let address = address.clone();
            move || BlockingChannel::connect(&address).unwrap_err()
        });
        let mut connection = server.accept().await;
        connection
            .greet(&Preface {
                versions: [9, 9],
                ..Preface::default()
            })
            .await;
        assert!(channel.await.unwrap().is_incompatible());

        let limits = Limits {
            handshake_timeout: Duration::from_millis(20),
            ..LIMITS
        };
        let channel = thread(move || {
            let builder = BlockingChannel::builder().limits(limits);
            builder.connect_blocking(&address).unwrap_err()
        });
        assert!(matches!(channel.await.unwrap(), ConnectError::Handshake { .. }));
    })
    .await;
}

/// With the feature `tracing`, each call has a span and a trace context.
#[cfg(not(feature = "tracing"))]
#[test]
fn a_call_allocates_nothing_in_the_long_run() {
    let client = Client::new(BlockingChannel::connect(answering_server()).unwrap());
    let run = |calls: u64| {
        for number in 0..calls {
            let call = client.next(number).timeout(Duration::from_secs(60));
            assert_eq!(*call.wait().unwrap(), number + 1);
        }
    };
    run(1_000);
    let counted = allocation_counter::measure(|| run(1_000));
    assert_eq!(counted.count_total, 0, "{counted:?}");
}

/// With the feature `tracing`, each call has a span and a trace context.
#[cfg(not(feature = "tracing"))]
#[test]
fn threads_that_wait_allocate_nothing_in_the_long_run() {
    let client = Client::new(BlockingChannel::connect(answering_server()).unwrap());
    let warm = Arc::new(Barrier::new(4));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let (client, warm) = (client.clone(), Arc::clone(&warm));
            thread::spawn(move || {
                let run = |calls| {
                    for number in 0..calls {
                        assert_eq!(*client.next(number).wait().unwrap(), number + 1);
                    }
                };
                run(1_000);
                warm.wait();
                allocation_counter::measure(|| run(1_000)).count_total
            })
        })
        .collect();
    let allocations: u64 = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
    // A segment of receive memory now and then, when threads hold on to answers in it.
    assert!(allocations < 40, "{allocations} for 4000 calls");
}
