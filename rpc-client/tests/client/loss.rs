//! Connections that end: what becomes of their calls, and of the calls after.

use std::time::Duration;

use rpc_core::{CallError, FailureKind, Limits, Metadata};
use tokio::io::AsyncWriteExt as _;
use tokio::task::JoinSet;

use crate::raw_server::{GOAWAY, Preface, RawServer};
use crate::{Client, LIMITS, builder, connected, connected_with, started, within};

fn kind(error: &CallError) -> (FailureKind, bool) {
    (error.failure().unwrap().kind(), error.may_have_run())
}

/// L1
#[tokio::test]
async fn calls_in_flight_may_have_run_when_the_server_goes() {
    let (client, mut server, listener) = connected(16).await;
    within(async {
        let calls = [started(client.next(1)).await, started(client.next(2)).await];
        server.calls(2).await;
        drop(server);
        for call in calls {
            let error = call.await.unwrap_err();
            assert_eq!(kind(&error), (FailureKind::ConnectionLost, true));
            let expected = format!("Probe.next: connection lost: {}: ", listener.address());
            assert!(error.to_string().starts_with(&expected), "{error}");
        }
    })
    .await;
}

/// L3
#[tokio::test]
async fn calls_in_flight_may_have_run_when_the_connection_is_reset() {
    let (client, mut server, _listener) = connected(16).await;
    within(async {
        let call = started(client.next(1)).await;
        server.calls(1).await;
        server.0.set_zero_linger().unwrap();
        drop(server);
        assert_eq!(
            kind(&call.await.unwrap_err()),
            (FailureKind::ConnectionLost, true)
        );
    })
    .await;
}

/// P-17: a frame that did not leave whole is not dispatched.
#[tokio::test]
async fn a_call_that_did_not_leave_whole_has_not_run() {
    let (client, mut server, _listener) = connected(16).await;
    within(async {
        // The socket is full after a part of it.
        let large = started(client.swallow(&vec![0; 48 << 20])).await;
        let behind = started(client.next(1)).await;
        server.read(16).await;
        drop(server);
        for error in [large.await.unwrap_err(), behind.await.unwrap_err()] {
            assert_eq!(kind(&error), (FailureKind::NotSent, false), "{error}");
        }
    })
    .await;
}

/// P-16, P-34
#[tokio::test]
async fn a_server_that_breaks_the_protocol_is_told_and_its_calls_may_have_run() {
    let (client, mut server, listener) = connected(16).await;
    within(async {
        let call = started(client.next(1)).await;
        server.calls(1).await;
        server.reply(9, 1).await;
        let error = call.await.unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "Probe.next: connection lost: {}: peer broke the protocol: reply frame for call id 9, which is not busy \
                 (the method may have run)",
                listener.address()
            )
        );
        let goaway = server.frame().await;
        assert_eq!((goaway.kind, goaway.aux), (GOAWAY, 64));
        server.expect_end().await;
        // The socket is closed, not only shut down: nobody receives what the server goes on sending.
        while server.0.write_all(&[0; 4096]).await.is_ok() {}
    })
    .await;
}

#[tokio::test]
async fn answers_that_arrived_before_the_end_are_delivered() {
    let (client, mut server, _listener) = connected(16).await;
    within(async {
        let calls = [started(client.next(1)).await, started(client.next(2)).await];
        server.calls(2).await;
        server.reply(1, 3).await;
        drop(server);
        let [lost, answered] = calls;
        assert_eq!(*answered.await.unwrap(), 3);
        assert_eq!(
            kind(&lost.await.unwrap_err()),
            (FailureKind::ConnectionLost, true)
        );
    })
    .await;
}

/// P-51, P27: what a server that closes the connection did not take goes to another one by itself, with all that it had.
#[tokio::test]
async fn a_draining_server_finishes_what_it_took_and_the_rest_goes_elsewhere() {
    let (client, mut old, listener) = connected(16).await;
    within(async {
        let mut trace = Metadata::new();
        trace.insert("trace", b"17").unwrap();
        let third = client.next(3).metadata(trace).timeout(Duration::from_secs(60));
        let [first, second, third] = [
            started(client.next(1)).await,
            started(client.next(2)).await,
            started(third).await,
        ];
        let third = tokio::spawn(async move { *third.await.unwrap() });
        let sent = old.calls(3).await.pop().unwrap();
        old.goaway(33, 2, "shutting down").await;

        let mut new = listener.accept_greeted(16).await;
        let again = new.frame().await;
        // The time that is left is less now.
        assert!(again.time_left_micros() < sent.time_left_micros());
        assert_eq!(again.body[12..], sent.body[12..]);
        assert_eq!(again.body[..8], sent.body[..8]);
        new.reply(again.call, 4).await;
        assert_eq!(third.await.unwrap(), 4);

        old.reply(1, 3).await;
        old.reply(0, 2).await;
        assert_eq!(*first.await.unwrap(), 2);
        assert_eq!(*second.await.unwrap(), 3);
        old.expect_end().await;
    })
    .await;
}

/// P-51, P27: once, and only what is still there to be sent: long arguments were handed over.
#[tokio::test]
async fn a_call_goes_to_another_connection_once_and_a_long_one_does_not() {
    let (client, mut old, listener) = connected(16).await;
    within(async {
        let long = started(client.swallow(&[0; 5_000])).await;
        let short = started(client.next(1)).await;
        let short = tokio::spawn(async move { short.await.unwrap_err() });
        old.calls(2).await;
        old.goaway(33, 0, "shutting down").await;
        let mut new = listener.accept_greeted(16).await;
        new.calls(1).await;
        new.goaway(33, 0, "shutting down").await;
        let (short, long) = (short.await.unwrap(), long.await.unwrap_err());
        for error in [&short, &long] {
            assert_eq!(kind(error), (FailureKind::Refused, false));
        }
        assert_eq!(
            short.to_string(),
            "Probe.next: refused by the server: server was closing the connection and did not take the call \
             (the method did not run)"
        );
        assert!(listener.is_left_alone().await);
    })
    .await;
}

#[tokio::test]
async fn calls_that_waited_for_a_slot_go_to_the_next_connection() {
    let (client, mut old, listener) = connected(16).await;
    within(async {
        let mut in_flight = Vec::new();
        for number in 0..16 {
            in_flight.push(started(client.next(number)).await);
        }
        let waiting = tokio::spawn({
            let call = started(client.next(100)).await;
            async move { *call.await.unwrap() }
        });
        old.calls(16).await;
        old.goaway(0, 16, "").await;
        let mut new = listener.accept_greeted(16).await;
        assert_eq!(new.frame().await.number(), 100);
        new.reply(0, 101).await;
        assert_eq!(waiting.await.unwrap(), 101);
    })
    .await;
}

/// After a loss, calls share one attempt to connect.
#[tokio::test]
async fn the_next_calls_dial_again_once() {
    let (client, mut server, listener) = connected(16).await;
    within(async {
        let call = started(client.next(0)).await;
        server.calls(1).await;
        drop(server);
        assert!(call.await.is_err());

        let mut calls = JoinSet::new();
        for number in 1..=10 {
            let client = client.clone();
            calls.spawn(async move { assert_eq!(*client.next(number).await.unwrap(), number + 1) });
        }
        let mut server = listener.accept_greeted(16).await;
        for call in server.calls(10).await {
            server.reply(call.call, call.number() + 1).await;
        }
        while let Some(result) = calls.join_next().await {
            result.unwrap();
        }
        assert!(listener.is_left_alone().await);
    })
    .await;
}

#[tokio::test]
async fn the_limits_of_the_latest_connection_are_in_force() {
    let (client, mut server, listener) = connected(16).await;
    within(async {
        let call = started(client.next(0)).await;
        server.calls(1).await;
        drop(server);
        assert!(call.await.is_err());

        let before = client.swallow(&[0; 16_384]);
        let serve = async {
            let mut server = listener.accept().await;
            server.greet(&Preface { max_body: 16_384, ..Preface::default() }).await;
            server
        };
        let (encoded_before, _server) = tokio::join!(before, serve);
        let texts = [encoded_before, client.swallow(&[0; 16_384]).await].map(|result| result.unwrap_err().to_string());
        let trace_context = if cfg!(feature = "tracing") { 80 } else { 0 };
        let len = 16_408 + trace_context;
        assert_eq!(
            texts,
            [
                &format!("Probe.swallow: not sent: call of {len} bytes exceeds the server's limit of 16384 (the method did not run)"),
                "Probe.swallow: not sent: body exceeds the limit of 16384 bytes (max_body) (the method did not run)",
            ]
        );
    })
    .await;
}

#[tokio::test]
async fn a_call_that_is_dropped_while_dialling_does_not_take_the_others_along() {
    let (client, mut server, listener) = connected(16).await;
    within(async {
        let call = started(client.next(0)).await;
        server.calls(1).await;
        drop(server);
        assert!(call.await.is_err());

        let first = started(client.next(1)).await;
        let second = started(client.next(2)).await;
        drop(first);
        let serve = async {
            let mut server = listener.accept_greeted(16).await;
            assert_eq!(server.frame().await.number(), 2);
            server.reply(0, 3).await;
            server
        };
        assert_eq!(*tokio::join!(second, serve).0.unwrap(), 3);
    })
    .await;
}

#[tokio::test]
async fn while_nobody_listens_calls_fail_as_not_sent_and_later_ones_succeed() {
    let (client, mut server, listener) = connected(16).await;
    let address = listener.address();
    within(async {
        let call = started(client.next(0)).await;
        server.calls(1).await;
        drop((server, listener));
        assert!(call.await.is_err());

        let error = client.next(1).await.unwrap_err();
        assert_eq!(kind(&error), (FailureKind::NotSent, false));
        let expected = format!("Probe.next: not sent: no connection to {address}: nothing listens there: ");
        assert!(error.to_string().starts_with(&expected), "{error}");

        let listener = RawServer::bind_to(&address).await;
        let serve = tokio::spawn(async move { listener.accept_greeted(16).await.serve().await });
        // Calls fail fast until the pause is over; the channel finds the server then.
        loop {
            match client.next(1).await {
                Ok(reply) => break assert_eq!(*reply, 2),
                Err(error) => assert_eq!(kind(&error), (FailureKind::NotSent, false)),
            }
            tokio::task::yield_now().await;
        }
        drop(client);
        serve.await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_deadline_ends_the_wait_for_a_connection() {
    let (client, mut server, listener) = connected(16).await;
    within(async {
        let call = started(client.next(0)).await;
        server.calls(1).await;
        drop(server);
        assert!(call.await.is_err());
        // The connection is made, but nobody greets.
        let error = client
            .next(1)
            .timeout(Duration::from_millis(20))
            .await
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "Probe.next: deadline exceeded: time ran out while connecting to {} (the method did not run)",
                listener.address()
            )
        );
    })
    .await;
}

/// P-03
#[tokio::test]
async fn a_server_that_comes_back_as_another_version_is_not_dialled_again() {
    let (client, mut server, listener) = connected(16).await;
    within(async {
        let call = started(client.next(0)).await;
        server.calls(1).await;
        drop(server);
        assert!(call.await.is_err());

        let serve = async {
            let mut server = listener.accept().await;
            server
                .greet(&Preface {
                    versions: [2, 2],
                    ..Preface::default()
                })
                .await;
            server
        };
        let first = tokio::join!(client.next(1), serve).0.unwrap_err();
        let second = client.next(2).await.unwrap_err();
        for error in [first, second] {
            assert_eq!(kind(&error), (FailureKind::NotSent, false));
            assert!(
                error
                    .to_string()
                    .contains("peer speaks versions 2 to 2, this side 1 to 1"),
                "{error}"
            );
        }
        assert!(listener.is_left_alone().await);
    })
    .await;
}

#[tokio::test]
async fn a_server_that_never_takes_a_call_does_not_keep_one_busy_forever() {
    let (client, mut server, listener) = connected(16).await;
    within(async {
        server.goaway(33, 0, "").await;
        let serve = tokio::spawn(async move {
            for _ in 0.. {
                let mut server = listener.accept_greeted(16).await;
                server.goaway(33, 0, "").await;
            }
        });
        let error = loop {
            match client.next(1).await {
                Err(error) if kind(&error).0 == FailureKind::Refused => {}
                Err(error) => break error,
                Ok(_) => panic!("nobody answers"),
            }
        };
        assert_eq!(kind(&error), (FailureKind::NotSent, false), "{error}");
        serve.abort();
    })
    .await;
}

#[tokio::test]
async fn the_connection_ends_with_the_last_channel_and_the_last_call() {
    let (client, mut server, _listener) = connected(16).await;
    within(async {
        let other = client.clone();
        let call = started(client.next(1)).await;
        drop((client, other));
        server.calls(1).await;
        server.reply(0, 2).await;
        assert_eq!(*call.await.unwrap(), 2);
        server.expect_end().await;
    })
    .await;
}

/// C5, C7
#[test]
fn a_runtime_that_is_shut_down_ends_its_calls() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let (client, call, waiting, _server) = runtime.block_on(async {
        let (client, mut server, listener) = connected(16).await;
        let call = started(client.next(1)).await;
        let mut others = Vec::new();
        for number in 2..17 {
            others.push(started(client.next(number)).await);
        }
        let waiting = started(client.next(100)).await;
        server.calls(16).await;
        (client, call, (waiting, others), (server, listener))
    });
    drop(runtime);
    let other = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    other.block_on(within(async {
        assert_eq!(
            kind(&call.await.unwrap_err()),
            (FailureKind::ConnectionLost, true)
        );
        let (first_in_line, others) = waiting;
        assert_eq!(
            kind(&first_in_line.await.unwrap_err()),
            (FailureKind::NotSent, false)
        );
        let error = client.next(2).await.unwrap_err();
        assert_eq!(kind(&error), (FailureKind::NotSent, false));
        drop((others, client));
    }));
}

#[tokio::test]
async fn a_server_whose_answer_is_too_long_is_left() {
    let limits = Limits {
        max_body: 16_384,
        ..LIMITS
    };
    let (client, mut server, _listener) = connected_with(builder().limits(limits), 16).await;
    within(async {
        let call = started(client.next(1)).await;
        server.calls(1).await;
        server
            .write(&[0, 0, 0x40, 1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
            .await;
        let error = call.await.unwrap_err();
        assert_eq!(kind(&error), (FailureKind::ConnectionLost, true));
        assert!(
            error
                .to_string()
                .contains("frame body of 16385 bytes exceeds the limit of 16384"),
            "{error}"
        );
    })
    .await;
}

#[tokio::test]
async fn clients_of_one_channel_share_a_connection() {
    let (client, server, listener) = connected(16).await;
    within(async {
        let serve = tokio::spawn(server.serve());
        let other = Client::new(client.caller().clone());
        assert_eq!(*client.next(1).await.unwrap(), 2);
        assert_eq!(*other.next(2).await.unwrap(), 3);
        assert!(listener.is_left_alone().await);
        drop((client, other));
        serve.await.unwrap();
    })
    .await;
}
