//! Calls that are answered, and calls that are given up.

use std::time::Duration;

use rpc_core::Code;
use tokio::io::AsyncReadExt as _;
use tokio::task::JoinSet;

use crate::raw_server::{CALL, CANCEL, Frame, PING, PONG, Preface, REPLY, RawServer, frame, frames_in};
use crate::{Client, Odd, connected, started, within};

/// P-10, P-40: the bytes of a call are those of the specification.
#[tokio::test]
async fn a_call_makes_a_round_trip() {
    let (client, mut server, _listener) = connected(16).await;
    let serve = async {
        let call = server.frame().await;
        assert_eq!((call.kind, call.flags, call.call, call.aux), (CALL, 0, 0, 0));
        assert_eq!(call.method(), method_id("next"));
        assert_eq!(call.time_left_micros(), 0);
        assert_eq!(call.body[12..16], [0; 4], "no metadata");
        assert_eq!(call.number(), 41);
        server.reply(call.call, 42).await;
    };
    let (reply, ()) = within(async { tokio::join!(client.next(41), serve) }).await;
    assert_eq!(*reply.unwrap(), 42);
}

#[tokio::test]
async fn answers_find_their_calls_in_any_order() {
    let (client, mut server, _listener) = connected(1024).await;
    let mut calls = JoinSet::new();
    for number in 0..200 {
        let client = client.clone();
        calls.spawn(async move { (number, *client.next(number).await.unwrap()) });
    }
    within(async {
        let mut frames = server.calls(200).await;
        frames.sort_by_key(|frame| frame.number() % 7);
        for frame in frames {
            server.reply(frame.call, frame.number() + 1).await;
        }
        while let Some(result) = calls.join_next().await {
            let (number, reply) = result.unwrap();
            assert_eq!(reply, number + 1);
        }
    })
    .await;
}

/// Writes decide how many small calls a second there are.
#[tokio::test]
async fn calls_that_are_started_together_leave_in_one_write() {
    let (client, mut server, _listener) = connected(1024).await;
    let mut calls = JoinSet::new();
    for number in 0..200 {
        let client = client.clone();
        calls.spawn(async move { *client.next(number).await.unwrap() });
    }
    within(async {
        let (mut bytes, mut reads) = (Vec::with_capacity(1 << 20), 0);
        while bytes.len() < 200 * 48 {
            assert_ne!(server.0.read_buf(&mut bytes).await.unwrap(), 0);
            reads += 1;
        }
        // The first call was alone and left at once.
        assert!(reads <= 2, "{reads} reads");
    })
    .await;
}

/// Answers that arrive together make as many callers call again. A worker of a runtime runs what was woken last before everything else:
/// the driver, as soon as the first of them has called.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn calls_that_follow_answers_of_one_read_leave_in_one_write() {
    const CALLERS: usize = 16;
    const ROUNDS: u64 = 50;
    let (client, mut server, _listener) = connected(1024).await;
    for _ in 0..CALLERS {
        let client = client.clone();
        tokio::spawn(async move {
            for number in 0..ROUNDS {
                client.next(number).await.unwrap();
            }
        });
    }
    within(async {
        let mut seen = vec![0; 1 << 16];
        for number in 0..ROUNDS {
            let len = server.0.peek(&mut seen).await.unwrap();
            // Only the first call of all is alone, and leaves at once.
            if number > 0 {
                assert_eq!(frames_in(&seen[..len]), CALLERS, "in round {number}");
            }
            let calls = server.calls(CALLERS).await;
            let answer = |call: &Frame| frame(REPLY, 0, call.call, 0, &number.to_le_bytes());
            server
                .write(&calls.iter().flat_map(answer).collect::<Vec<_>>())
                .await;
        }
    })
    .await;
}

#[tokio::test]
async fn an_error_of_the_method_comes_back_as_such() {
    let (client, mut server, _listener) = connected(16).await;
    let serve = async {
        let call = server.frame().await;
        // Flag `error`.
        server.send(REPLY, 4, call.call, 0, &7_u64.to_le_bytes()).await;
    };
    let (reply, ()) = within(async { tokio::join!(client.even(7), serve) }).await;
    assert_eq!(reply.unwrap_err(), rpc_core::CallError::Method(Odd { number: 7 }));
}

/// P-30, P-32
#[tokio::test]
async fn dropping_a_call_cancels_it_once_and_keeps_its_slot_until_the_server_has_ended_it() {
    let (client, mut server, _listener) = connected(16).await;
    within(async {
        drop(started(client.next(1)).await);
        assert_eq!(server.frame().await.call, 0);
        let cancel = server.frame().await;
        assert_eq!((cancel.kind, cancel.call, cancel.body.len()), (CANCEL, 0, 0));

        let second = started(client.next(2)).await;
        // No second cancel comes in between, and the slot is not used again.
        assert_eq!(server.calls(1).await[0].call, 1);
        server.fail(0, Code::CANCELLED.number(), "").await;
        server.reply(1, 3).await;
        assert_eq!(*second.await.unwrap(), 3);

        let third = [started(client.next(3)).await, started(client.next(4)).await];
        let mut used: Vec<_> = server.calls(2).await.iter().map(|frame| frame.call).collect();
        used.sort_unstable();
        assert_eq!(used, [0, 1]);
        drop(third);
    })
    .await;
}

#[tokio::test]
async fn dropping_a_call_whose_answer_has_arrived_sends_nothing() {
    let (client, mut server, _listener) = connected(16).await;
    within(async {
        let first = started(client.next(1)).await;
        let second = started(client.next(2)).await;
        server.calls(2).await;
        server.reply(0, 2).await;
        server.reply(1, 3).await;
        // The answer to the second has arrived, so that to the first has, too.
        assert_eq!(*second.await.unwrap(), 3);
        drop(first);
        let third = started(client.next(3)).await;
        assert_eq!(server.frame().await.kind, CALL);
        drop(third);
    })
    .await;
}

/// P-43
#[tokio::test]
async fn a_reply_that_crosses_the_cancel_is_ignored() {
    let (client, mut server, _listener) = connected(16).await;
    within(async {
        drop(started(client.next(1)).await);
        server.calls(1).await;
        server.reply(0, 2).await;
        let serve = async {
            assert_eq!(server.frame().await.kind, CANCEL);
            let call = server.frame().await;
            server.reply(call.call, 9).await;
        };
        assert_eq!(*tokio::join!(client.next(8), serve).0.unwrap(), 9);
    })
    .await;
}

#[tokio::test]
async fn a_call_that_was_never_polled_sends_nothing() {
    let (client, mut server, _listener) = connected(16).await;
    drop(client.next(1));
    drop(client);
    within(server.expect_end()).await;
}

#[tokio::test]
async fn a_call_can_move_to_another_task_after_it_was_started() {
    let (client, mut server, _listener) = connected(16).await;
    within(async {
        let call = started(client.next(1)).await;
        let elsewhere = tokio::spawn(async move { *call.await.unwrap() });
        tokio::task::yield_now().await;
        server.calls(1).await;
        server.reply(0, 2).await;
        assert_eq!(elsewhere.await.unwrap(), 2);
    })
    .await;
}

/// P-50
#[tokio::test]
async fn a_ping_is_answered_while_nothing_is_called() {
    let (_client, mut server, _listener) = connected(16).await;
    within(async {
        server.send(PING, 0, 0, 4711, &[]).await;
        let pong = server.frame().await;
        assert_eq!((pong.kind, pong.aux), (PONG, 4711));
    })
    .await;
}

#[tokio::test]
async fn a_large_call_leaves_whole_through_a_slow_server() {
    let (client, mut server, _listener) = connected(16).await;
    let bytes: Vec<u8> = (0..20 << 20).map(|index: u32| index.to_le_bytes()[1]).collect();
    within(async {
        let call = started(client.swallow(&bytes)).await;
        let frame = server.frame().await;
        assert!(frame.body[16..].starts_with(&bytes));
        server.reply(frame.call, 1).await;
        assert_eq!(*call.await.unwrap(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_large_reply_arrives_in_many_turns() {
    let (client, mut server, _listener) = connected(16).await;
    let call = tokio::spawn(async move { client.fill(0).await.unwrap() });
    within(async {
        server.calls(1).await;
        // P-70: the bytes, then the pointer back to them and their number.
        let mut archive = vec![7; 24 << 20];
        archive.extend_from_slice(&(-(24_i32 << 20)).to_le_bytes());
        archive.extend_from_slice(&(24_u32 << 20).to_le_bytes());
        server.send(REPLY, 0, 0, 0, &archive).await;
        let reply = call.await.unwrap();
        assert_eq!(reply.len(), 24 << 20);
        assert!(reply.iter().all(|byte| *byte == 7));
    })
    .await;
}

/// C2: what was half written goes on, and nothing comes between.
#[tokio::test]
async fn dropping_a_call_whose_frame_is_half_written_completes_the_frame() {
    let (client, mut server, _listener) = connected(16).await;
    within(async {
        drop(started(client.swallow(&vec![3; 20 << 20])).await);
        assert!(server.frame().await.body.len() > 20 << 20);
        assert_eq!(server.frame().await.kind, CANCEL);
    })
    .await;
}

#[tokio::test]
async fn an_answer_is_read_however_its_bytes_are_cut() {
    let (client, mut server, _listener) = connected(16).await;
    within(async {
        let call = tokio::spawn(async move { *client.next(1).await.unwrap() });
        server.calls(1).await;
        let mut frame = vec![0, 0, 0, 8, REPLY, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        frame.extend_from_slice(&2_u64.to_le_bytes());
        frame.resize(32, 0);
        for byte in frame {
            server.write(&[byte]).await;
            tokio::task::yield_now().await;
        }
        assert_eq!(call.await.unwrap(), 2);
    })
    .await;
}

#[test]
fn a_call_can_be_awaited_outside_of_any_runtime() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let client = runtime.block_on(async {
        let (client, server, _listener) = connected(16).await;
        tokio::spawn(server.serve());
        client
    });
    let other = tokio::runtime::Builder::new_current_thread().build().unwrap();
    // A runtime without timer and I/O is as good as none.
    let reply = other.block_on(client.next(1).timeout(Duration::from_secs(20)));
    assert_eq!(*reply.unwrap(), 2);
}

/// C1, C6: whatever is dropped whenever, the connection stays in step.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_and_drops_from_many_tasks_leave_the_connection_in_step() {
    let server = RawServer::bind().await;
    let address = server.address();
    let serve = tokio::spawn(async move {
        let mut connection = server.accept().await;
        connection
            .greet(&Preface {
                max_calls: 16,
                ..Preface::default()
            })
            .await;
        connection.serve().await;
    });
    let client = Client::new(rpc_client::Channel::connect(address).await.unwrap());
    let mut tasks = JoinSet::new();
    for task in 0..40 {
        let client = client.clone();
        tasks.spawn(async move {
            for round in 0..100 {
                let number = task * 1000 + round;
                if number % 3 == 0 {
                    // Dropped after some polls: waiting for a slot, in flight, or answered.
                    let call = client.next(number);
                    tokio::select! {
                        biased;
                        _ = call => {}
                        () = polls(number % 5) => {}
                    }
                } else {
                    assert_eq!(*client.next(number).await.unwrap(), number + 1);
                }
            }
        });
    }
    within(async {
        while let Some(result) = tasks.join_next().await {
            result.unwrap();
        }
        // All slots are free again.
        for number in 0..100 {
            assert_eq!(*client.next(number).await.unwrap(), number + 1);
        }
        drop(client);
        serve.await.unwrap();
    })
    .await;
}

async fn polls(count: u64) {
    for _ in 0..count {
        tokio::task::yield_now().await;
    }
}

fn method_id(name: &str) -> u64 {
    let methods = &crate::ProbeClient::descriptor().methods;
    methods.iter().find(|method| method.name == name).unwrap().id.0
}
