//! Stories of two connections: what happens to calls, seen from both ends. Every story ends with nothing left.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "helpers of tests"
)]

mod support;

use std::time::Duration;

use bytes::Bytes;
use rpc_core::connection::{ClientEvent, NewCall, Sent, ServerEvent};
use rpc_core::error::{ConnectionError, HandshakeError, StartError};
use rpc_core::header::Flags;
use rpc_core::{CallId, Code, Limits, Metadata};
use support::pair::{METHOD, Pair, failed, replied};
use support::{Endpoint, call_frame, frame};

const MS: Duration = Duration::from_millis(1);

/// P-30, P-40
#[test]
fn a_call_is_answered_and_its_slot_is_free_again() {
    let mut pair = Pair::new();
    for _ in 0..3 {
        let call = pair.start(b"arguments");
        assert_eq!(call, CallId(0));
        pair.drive();
        let expected = ServerEvent::Call {
            call,
            method: METHOD,
            deadline: None,
            oneway: false,
            metadata: Metadata::new(),
            channels: 0,
            arguments: Bytes::from_static(b"arguments"),
        };
        assert_eq!(pair.take_server_events(), [expected]);
        pair.reply(call, b"value");
        pair.drive();
        assert_eq!(pair.take_client_events(), [replied(call, b"value")]);
    }
    pair.assert_idle();
}

/// P-18: whatever the size of reads, bodies are aligned and whole.
#[test]
fn calls_and_replies_of_all_sizes_arrive_aligned() {
    for chunk in [1_000, 4_096, 100_000, usize::MAX] {
        let mut pair = Pair::new();
        pair.chunk = chunk;
        for len in [0, 1, 15, 16, 17, 5_000, 16_384, 70_000, 1_000_000] {
            let arguments: Vec<u8> = (0..=255).cycle().take(len).collect();
            let call = pair.start(&arguments);
            pair.drive();
            let events = pair.take_server_events();
            let [
                ServerEvent::Call {
                    arguments: received, ..
                },
            ] = events.as_slice()
            else {
                panic!("{events:?}")
            };
            assert_eq!(received, &arguments);
            assert!(len == 0 || received.as_ptr().addr().is_multiple_of(16));
            pair.reply(call, &arguments);
            pair.drive();
            let events = pair.take_client_events();
            let [ClientEvent::Reply { body, .. }] = events.as_slice() else {
                panic!("{events:?}")
            };
            assert_eq!(body, &arguments);
            assert!(len == 0 || body.as_ptr().addr().is_multiple_of(16));
        }
        pair.assert_idle();
    }
}

/// P-06
#[test]
fn calls_may_follow_the_preface_at_once_within_the_guaranteed_limits() {
    let mut pair = Pair::with_limits(
        Limits::default(),
        Limits {
            max_calls: 20,
            ..Limits::default()
        },
    );
    let start = |pair: &mut Pair, len| {
        let mut frame = call_frame(&vec![0; len]);
        let result = pair.client.start_call(&NewCall::of(METHOD), &mut frame, pair.now);
        assert_eq!(
            result.is_err(),
            frame.body_len() > 0,
            "a frame that was refused is as it was"
        );
        result
    };
    let limit = Limits::GUARANTEED_BODY;
    assert_eq!(
        start(&mut pair, 16_369),
        Err(StartError::NotGreeted { len: 16_385, limit })
    );
    for id in 0..16 {
        assert_eq!(start(&mut pair, 16_368), Ok(CallId(id)));
    }
    assert!(!pair.client.has_free_slot());
    assert_eq!(start(&mut pair, 0), Err(StartError::Saturated { limit: 16 }));
    pair.drive();
    assert_eq!(pair.take_client_events(), [ClientEvent::Greeted]);
    assert_eq!(pair.client.capacity(), 20);
    assert_eq!(start(&mut pair, 16_369), Ok(CallId(16)));
    let limit = Limits::default().max_body;
    let len = limit as usize + 1;
    assert_eq!(
        start(&mut pair, len - 16),
        Err(StartError::TooLarge { len, limit })
    );
    pair.drive();
    let calls = pair.take_calls();
    assert_eq!(calls.len(), 17);
    calls.into_iter().for_each(|call| pair.reply(call, b""));
    pair.drive();
    assert_eq!(pair.take_client_events().len(), 17);
    pair.assert_idle();
}

/// P-02
#[test]
fn a_server_says_nothing_before_it_has_seen_the_magic() {
    let mut pair = Pair::with_limits(Limits::default(), Limits::default());
    pair.transmit();
    pair.deliver_to_server(3);
    assert!(pair.server.send_queue().is_empty());
    pair.deliver_to_server(1);
    assert_eq!(pair.server.send_queue().len(), 32);
    pair.drive();
    assert_eq!(pair.take_server_events(), [ServerEvent::Greeted]);
    assert_eq!(pair.take_client_events(), [ClientEvent::Greeted]);
    pair.assert_idle();
}

/// P-30: also a one-way call has its final frame.
#[test]
fn a_oneway_call_is_reported_as_such_and_ended_all_the_same() {
    let mut pair = Pair::new();
    let oneway = NewCall {
        oneway: true,
        ..NewCall::of(METHOD)
    };
    let call = pair.start_call(&oneway, b"").unwrap();
    assert_eq!((pair.client.waiting(), pair.client.is_idle()), (0, false));
    pair.drive();
    assert!(matches!(
        pair.take_server_events()[..],
        [ServerEvent::Call { oneway: true, .. }]
    ));
    pair.reply(call, b"");
    pair.drive();
    assert_eq!(pair.take_client_events(), [ClientEvent::Released]);
    assert!(pair.client.is_idle());
    pair.assert_idle();
}

/// P-40
#[test]
fn the_error_of_a_method_is_told_from_its_value() {
    let mut pair = Pair::new();
    let call = pair.start(b"");
    pair.drive();
    pair.take_calls();
    pair.server.reply(call, &mut frame(b"no"), Flags::ERROR);
    pair.drive();
    assert!(matches!(
        pair.take_client_events()[..],
        [ClientEvent::Reply { error: true, .. }]
    ));
    pair.assert_idle();
}

/// P-41
#[test]
fn a_failure_carries_its_code_and_a_text_that_is_cut_at_its_limit() {
    let mut pair = Pair::new();
    let call = pair.start(b"");
    pair.drive();
    pair.take_calls();
    let text = "ä".repeat(5_000);
    pair.server
        .fail(call, Code::SCHEMA_MISMATCH, &text, &Metadata::new());
    pair.drive();
    assert_eq!(
        pair.take_client_events(),
        [failed(call, Code::SCHEMA_MISMATCH, &text[..8_192])]
    );
    pair.assert_idle();
}

#[test]
fn a_reply_above_the_clients_limit_becomes_a_failure_that_names_both_numbers() {
    let mut pair = Pair::with_limits(
        Limits {
            max_body: 20_000,
            ..Limits::default()
        },
        Limits { ..Limits::default() },
    );
    let call = pair.start(b"");
    pair.drive();
    assert_eq!(pair.take_calls(), [call]);
    let mut frame = frame(&[0; 20_001]);
    pair.server.reply(call, &mut frame, Flags::NONE);
    assert_eq!(frame.body_len(), 0);
    pair.drive();
    let text = "reply of 20001 bytes exceeds the client's limit of 20000";
    assert_eq!(
        pair.take_client_events(),
        [ClientEvent::Greeted, failed(call, Code::REPLY_TOO_LARGE, text)]
    );
    pair.assert_idle();
}

/// P-30, P-32
#[test]
fn a_cancelled_call_keeps_its_slot_until_the_server_has_stopped_it() {
    let mut pair = Pair::new();
    let call = pair.start(b"");
    pair.drive();
    assert_eq!(pair.take_calls(), [call]);
    pair.client.cancel(call);
    pair.client.cancel(call);
    pair.drive();
    assert_eq!(pair.take_server_events(), [ServerEvent::Cancel(call)], "once");
    assert_eq!((pair.client.waiting(), pair.client.busy()), (0, 1));
    assert_ne!(pair.start(b""), call);
    pair.drive();
    pair.server.fail(call, Code::CANCELLED, "", &Metadata::new());
    pair.drive();
    assert_eq!(pair.take_client_events(), [ClientEvent::Released]);
    let second = pair.take_calls();
    pair.reply(second[0], b"");
    pair.drive();
    assert_eq!(pair.take_client_events(), [replied(second[0], b"")]);
    pair.assert_idle();
}

/// P-32, P-43: the cancel crosses the reply.
#[test]
fn a_cancel_that_crosses_the_reply_is_ignored_and_the_reply_is_dropped() {
    let mut pair = Pair::new();
    let call = pair.start(b"");
    pair.drive();
    assert_eq!(pair.take_calls(), [call]);
    pair.reply(call, b"late");
    pair.client.cancel(call);
    pair.drive();
    assert_eq!(pair.take_server_events(), []);
    assert_eq!(pair.take_client_events(), [ClientEvent::Released]);
    pair.assert_idle();
}

/// P-35
#[test]
fn a_deadline_ends_the_call_at_both_ends() {
    let mut pair = Pair::new();
    let call = pair.start_within(b"", Some(10 * MS));
    let other = pair.start_within(b"", Some(30 * MS));
    pair.drive();
    let deadlines: Vec<_> = pair
        .take_server_events()
        .into_iter()
        .map(|event| matches!(event, ServerEvent::Call { deadline: Some(at), .. } if at > pair.now))
        .collect();
    assert_eq!(deadlines, [true, true]);
    assert_eq!(pair.client.deadline(), Some(pair.now + 10 * MS));
    pair.advance(9 * MS);
    assert_eq!(
        (pair.take_client_events(), pair.take_server_events()),
        (vec![], vec![])
    );
    pair.advance(MS);
    assert_eq!(
        pair.take_client_events(),
        [ClientEvent::Expired(call, Sent::MaybeSent)]
    );
    assert_eq!(pair.take_server_events(), [ServerEvent::Expire(call)]);
    assert_eq!(pair.client.deadline(), Some(pair.now + 20 * MS));
    pair.drive();
    assert_eq!(
        pair.take_server_events(),
        [],
        "the cancel of a call that is being stopped says nothing new"
    );
    pair.server.fail(call, Code::DEADLINE, "", &Metadata::new());
    pair.reply(other, b"in time");
    pair.drive();
    assert_eq!(
        pair.take_client_events(),
        [ClientEvent::Released, replied(other, b"in time")]
    );
    pair.assert_idle();
}

/// Every order of the two ends of a call: exactly one result.
#[test]
fn a_deadline_that_passes_while_the_reply_is_under_way_ends_the_call_once() {
    let mut pair = Pair::new();
    let call = pair.start_within(b"", Some(10 * MS));
    pair.drive();
    assert_eq!(pair.take_calls(), [call]);
    // The reply is queued before the owner polls: the expiry is void.
    pair.server.handle_timeout(pair.now + 10 * MS);
    pair.reply(call, b"late");
    pair.transmit();
    pair.advance(10 * MS);
    assert_eq!(pair.take_server_events(), []);
    assert_eq!(
        pair.take_client_events(),
        [ClientEvent::Expired(call, Sent::MaybeSent)]
    );
    pair.drive();
    assert_eq!(pair.take_client_events(), [ClientEvent::Released]);
    pair.assert_idle();
}

#[test]
fn a_call_that_is_cancelled_after_its_deadline_was_noticed_ends_once() {
    let mut pair = Pair::new();
    let call = pair.start_within(b"", Some(10 * MS));
    pair.drive();
    assert_eq!(pair.take_calls(), [call]);
    pair.now += 10 * MS;
    pair.client.handle_timeout(pair.now);
    pair.client.cancel(call);
    pair.drive();
    assert_eq!(pair.take_client_events(), []);
    assert_eq!(
        pair.take_server_events(),
        [ServerEvent::Cancel(call)],
        "one cancel was sent"
    );
    pair.server.fail(call, Code::CANCELLED, "", &Metadata::new());
    pair.drive();
    assert_eq!(pair.take_client_events(), [ClientEvent::Released]);
    pair.assert_idle();
}

/// P-35
#[test]
fn an_expired_call_is_not_sent_and_a_time_beyond_the_field_is_sent_as_none() {
    let mut pair = Pair::new();
    let late = NewCall {
        deadline: Some(pair.now),
        ..NewCall::of(METHOD)
    };
    let result = pair.start_call(&late, b"");
    assert_eq!(result, Err(StartError::Expired));
    assert!(pair.client.send_queue().is_empty());
    let days = Duration::from_secs(24 * 3600);
    let call = pair.start_within(b"", Some(days));
    pair.drive();
    assert!(matches!(
        pair.take_server_events()[..],
        [ServerEvent::Call { deadline: None, .. }]
    ));
    pair.advance(days);
    assert_eq!(
        pair.take_client_events(),
        [ClientEvent::Expired(call, Sent::MaybeSent)]
    );
    pair.drive();
    assert_eq!(pair.take_server_events(), [ServerEvent::Cancel(call)]);
    pair.server.fail(call, Code::CANCELLED, "", &Metadata::new());
    pair.drive();
    assert_eq!(pair.take_client_events(), [ClientEvent::Released]);
    pair.assert_idle();
}

/// P-51, P27: taken calls are finished, later ones have not run, whether the server still answers them or not.
#[test]
fn a_draining_server_finishes_what_it_has_taken() {
    let mut pair = Pair::new();
    let taken = pair.start(b"taken");
    pair.drive();
    assert_eq!(pair.take_calls(), [taken]);
    let late = pair.start(b"late");
    pair.server.goaway(Code::DRAINING, "restart");
    pair.drive();
    let goaway = ClientEvent::Goaway {
        code: Code::DRAINING,
        taken: 1,
        text: "restart".into(),
    };
    assert_eq!(
        pair.take_client_events(),
        [goaway, ClientEvent::Refused(late), ClientEvent::Released]
    );
    assert_eq!(
        pair.take_server_events(),
        [],
        "a call that is not taken is not reported"
    );
    let result = pair.start_call(&NewCall::of(METHOD), b"");
    assert_eq!(result, Err(StartError::Draining));
    assert!(!pair.client.is_finished() && !pair.server.is_finished());
    pair.reply(taken, b"value");
    assert!(!pair.server.is_finished(), "the answer has not left");
    pair.drive();
    assert_eq!(pair.take_client_events(), [replied(taken, b"value")]);
    assert!(pair.client.is_finished() && pair.server.is_finished());
    pair.assert_idle();
}

/// P-51
#[test]
fn a_goaway_for_a_reason_closes_the_connection() {
    let mut pair = Pair::new();
    let taken = pair.start(b"");
    pair.drive();
    assert_eq!(pair.take_calls(), [taken]);
    let late = pair.start(b"");
    pair.server.goaway(Code::CALM, "too many pings");
    pair.reply(taken, b"not sent");
    assert!(pair.server.is_closing() && !pair.server.is_finished() && !pair.server.wants_read());
    pair.drive();
    assert!(pair.server.is_finished());
    let text = "too many pings".to_owned();
    let goaway = ClientEvent::Goaway {
        code: Code::CALM,
        taken: 1,
        text: text.clone(),
    };
    assert_eq!(pair.take_client_events(), [goaway, ClientEvent::Refused(late)]);
    assert_eq!(
        pair.client_error.take(),
        Some(ConnectionError::Goaway {
            code: Code::CALM,
            text
        })
    );
    assert!(pair.client.is_closing());
    assert_eq!(
        pair.client.abandon_all().collect::<Vec<_>>(),
        [(taken, Sent::MaybeSent)]
    );
    let result = pair.start_call(&NewCall::of(METHOD), b"");
    assert_eq!(result, Err(StartError::Closed));
}

/// A drain does not wait for strangers.
#[test]
fn a_server_that_drains_before_a_preface_came_is_finished_at_once() {
    let mut pair = Pair::with_limits(Limits::default(), Limits::default());
    pair.server.goaway(Code::DRAINING, "");
    assert!(pair.server.is_finished());
    assert_eq!(pair.server.deadline(), None);
}

/// P-52
#[test]
fn a_client_that_shuts_its_write_side_down_gets_every_answer() {
    let mut pair = Pair::new();
    let call = pair.start(b"");
    pair.drive();
    pair.server.handle_eof();
    pair.poll();
    assert!(matches!(
        pair.take_server_events()[..],
        [ServerEvent::Call { .. }, ServerEvent::PeerFinished]
    ));
    assert!(!pair.server.wants_read() && !pair.server.is_finished() && !pair.server.is_closing());
    pair.reply(call, b"value");
    pair.drive();
    assert!(pair.server.is_finished());
    assert_eq!(pair.take_client_events(), [replied(call, b"value")]);
    pair.client.handle_eof();
    pair.poll();
    assert_eq!(pair.take_client_events(), [ClientEvent::PeerFinished]);
    assert!(pair.client.is_finished());
    pair.assert_idle();
}

/// P-17: of a call whose frame has not left whole it is known that it has not run.
#[test]
fn calls_of_a_lost_connection_are_told_apart_by_what_was_written() {
    let mut pair = Pair::new();
    let whole = pair.start(b"");
    let part = pair.start(b"");
    let none = pair.start(b"");
    pair.start(b"");
    pair.client.cancel(CallId(3));
    pair.client.transmit(32 + 31);
    pair.client.handle_eof();
    pair.poll();
    assert_eq!(pair.take_client_events(), [ClientEvent::PeerFinished]);
    let ends: Vec<_> = pair.client.abandon_all().collect();
    assert_eq!(
        ends,
        [
            (whole, Sent::MaybeSent),
            (part, Sent::NotSent),
            (none, Sent::NotSent)
        ]
    );
    assert_eq!((pair.client.waiting(), pair.client.busy()), (0, 0));
    assert_eq!(pair.client.abandon_all().count(), 0);
}

#[test]
fn a_server_reads_no_further_while_it_holds_more_than_its_limit() {
    let limits = Limits {
        max_body: 20_000,
        max_held: 30_000,
        ..Limits::default()
    };
    let mut pair = Pair::with_limits(Limits::default(), limits);
    pair.drive();
    pair.take_client_events();
    let first = pair.start(&[1; 15_000]);
    pair.drive();
    assert!(pair.server.wants_read());
    let second = pair.start(&[2; 15_000]);
    pair.drive();
    assert_eq!(pair.server.held(), 2 * 15_016);
    assert!(!pair.server.wants_read());
    pair.take_calls();
    pair.reply(first, &[3; 16_000]);
    assert!(!pair.server.wants_read(), "what is queued counts");
    pair.drive();
    assert!(pair.server.wants_read());
    pair.reply(second, b"");
    pair.drive();
    assert_eq!(pair.take_client_events().len(), 2);
    pair.assert_idle();
}

/// P-50, P22
#[test]
fn a_ping_is_answered_and_a_pong_that_answers_nothing_is_ignored() {
    let mut pair = Pair::new();
    pair.client.ping(1);
    pair.client.ping(2);
    pair.server.ping(3);
    pair.drive();
    assert_eq!(pair.take_client_events(), [ClientEvent::Pong(2)]);
    assert_eq!(pair.take_server_events(), [ServerEvent::Pong(3)]);
    pair.assert_idle();
}

/// P-07
#[test]
fn a_preface_that_does_not_come_in_time_ends_both_sides() {
    let mut pair = Pair::with_limits(Limits::default(), Limits::default());
    pair.transmit();
    pair.deliver_to_server(31);
    assert_eq!(pair.server.deadline(), Some(pair.now + Duration::from_secs(5)));
    assert_eq!(pair.client.deadline(), pair.server.deadline());
    pair.advance(Duration::from_millis(4_999));
    assert_eq!((&pair.client_error, &pair.server_error), (&None, &None));
    pair.advance(MS);
    let timeout = |received| Some(ConnectionError::Handshake(HandshakeError::Timeout { received }));
    assert_eq!(
        (pair.client_error.take(), pair.server_error.take()),
        (timeout(0), timeout(31))
    );
    assert!(pair.client.is_finished());
    // A preface and a goaway `handshake_timeout`: the server had seen the magic.
    let sent = pair.server.transmit(usize::MAX);
    assert_eq!(sent[32 + 4..32 + 16], [11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 69]);
    assert!(pair.server.is_finished());
}

/// P-07: nothing to those who have not shown the magic.
#[test]
fn a_silent_peer_is_dropped_without_a_word() {
    for shown in 0..4 {
        let mut pair = Pair::with_limits(Limits::default(), Limits::default());
        pair.transmit();
        pair.deliver_to_server(shown);
        pair.advance(Duration::from_secs(5));
        let error = HandshakeError::Timeout { received: shown };
        assert_eq!(pair.server_error, Some(ConnectionError::Handshake(error)));
        assert!(pair.server.send_queue().is_empty() && pair.server.is_finished());
    }
}

/// Commands for calls that have ended are late, not wrong.
#[test]
fn ending_a_call_twice_sends_one_final_frame() {
    let mut pair = Pair::new();
    let call = pair.start(b"");
    pair.drive();
    assert_eq!(pair.take_calls(), [call]);
    pair.reply(call, b"first");
    pair.reply(call, b"second");
    pair.server.fail(call, Code::INTERNAL, "third", &Metadata::new());
    pair.server
        .fail(CallId(9_999), Code::INTERNAL, "never called", &Metadata::new());
    pair.drive();
    assert_eq!(pair.take_client_events(), [replied(call, b"first")]);
    pair.client.cancel(call);
    pair.client.cancel(CallId(9_999));
    assert!(pair.client.send_queue().is_empty());
    pair.assert_idle();
}

#[test]
fn an_idle_connection_gives_its_memory_back_and_works_on() {
    let mut pair = Pair::new();
    for _ in 0..2 {
        let call = pair.start(&[7; 100_000]);
        pair.drive();
        assert_eq!(pair.take_calls(), [call]);
        pair.reply(call, b"value");
        pair.drive();
        assert_eq!(pair.take_client_events(), [replied(call, b"value")]);
        pair.client.release_memory();
        pair.server.release_memory();
    }
    pair.assert_idle();
}
