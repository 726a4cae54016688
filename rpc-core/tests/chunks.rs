//! Stories of bodies that are longer than a frame. Every story ends with nothing left.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "helpers of tests"
)]

mod support;

use std::time::Duration;

use bytes::Bytes;
use rpc_core::connection::{ChannelSignal, ClientEvent, NewCall, Sent, ServerEvent};
use rpc_core::header::Kind;
use rpc_core::{CallId, Code, Limits, Metadata};
use support::pair::{METHOD, Pair, at_client, at_server, end, failed, item, replied};
use support::script::read_frames;
use support::{Endpoint, call_frame, frame, metadata};

const MS: Duration = Duration::from_millis(1);

/// Frames of 16 KiB, bodies of up to 100,000 bytes.
fn pair() -> Pair {
    let limits = Limits {
        max_body: 100_000,
        max_frame: 16_384,
        ..Limits::default()
    };
    let mut pair = Pair::with_limits(limits, limits);
    pair.drive();
    pair.take_client_events();
    pair.take_server_events();
    pair
}

fn bytes(len: usize) -> Vec<u8> {
    (0..=250).cycle().take(len).collect()
}

fn arguments(pair: &mut Pair) -> Vec<(CallId, Bytes)> {
    let arguments = |event| match event {
        ServerEvent::Call { call, arguments, .. } => Some((call, arguments)),
        _ => None,
    };
    pair.take_server_events()
        .into_iter()
        .filter_map(arguments)
        .collect()
}

/// Of a body that leaves alone more is under way at once than items and calls may find in front of them otherwise.
#[test]
fn a_body_that_nothing_has_disturbed_lets_items_and_calls_pass() {
    let client = Limits {
        max_held: Limits::default().max_body as usize,
        ..Limits::default()
    };
    let server = Limits {
        max_body: 64 << 20,
        ..Limits::default()
    };
    let mut pair = Pair::with_limits(client, server);
    pair.drive();
    pair.start(&bytes(32 << 20));
    let mut most = 0;
    while pair.client.send_queue().len() > 1 << 20 {
        pair.client.transmit(70_000);
        most = most.max(pair.client.send_queue().committed_len());
        assert!(pair.client.takes_items() && pair.client.has_room());
    }
    assert!(most > 256 << 10, "{most}");
}

/// P-20, P-40: call, item and reply around the limits of frame and body, with metadata.
#[test]
fn a_body_of_any_length_arrives_as_it_was() {
    for len in [16_367, 16_368, 16_369, 16_384, 32_768, 70_001, 99_000] {
        for chunk in [1_000, usize::MAX] {
            let mut pair = pair();
            pair.chunk = chunk;
            let note = metadata(&[("note", &[7; 300])]);
            let new = NewCall {
                metadata: &note,
                receives: 1,
                ..NewCall::of(METHOD)
            };
            let call = pair.start_call(&new, &bytes(len)).unwrap();
            pair.drive();
            let events = pair.take_server_events();
            assert!(
                matches!(&events[..], [ServerEvent::Call { metadata, arguments, .. }]
                if *metadata == note && *arguments == bytes(len))
            );
            pair.server.open(call, 1);
            pair.server.send_item(call, 0, &mut frame(&bytes(len)), false);
            pair.reply(call, &bytes(len));
            pair.drive();
            let events = pair.take_client_events();
            assert_eq!(events[0], at_client(call, 0, item(&bytes(len))));
            assert!(matches!(&events[1], ClientEvent::Reply { body, .. } if *body == bytes(len)));
            assert_eq!(pair.server.in_flight(), 0);
            pair.assert_idle();
        }
    }
}

/// P-20: a long body holds nobody up but what follows it in its own call.
#[test]
fn other_frames_pass_between_chunks() {
    let mut pair = pair();
    let call = pair.open(1, 0);
    pair.client.send_item(call, 0, &mut frame(&bytes(90_000)), false);
    pair.client.end_channel(call, 0, Code::OK, &Metadata::new());
    let small = pair.start(b"small");
    pair.client.ping(1);
    let mut sent = Vec::new();
    while !pair.client.send_queue().is_empty() {
        sent.extend(pair.client.transmit(1_000));
    }
    let kinds: Vec<_> = read_frames(&sent).iter().map(|(header, _)| header.kind).collect();
    let place = |kind| kinds.iter().position(|known| *known == kind).unwrap();
    let chunks = kinds.iter().filter(|kind| **kind == Kind::Chunk).count();
    assert_eq!(chunks, 6);
    assert!(
        place(Kind::Call) < kinds.len() - 2 && place(Kind::Ping) < kinds.len() - 2,
        "{kinds:?}"
    );
    assert_eq!(kinds.last(), Some(&Kind::End), "the end stays behind its items");
    pair.to_server = sent;
    pair.drive();
    let events = pair.take_server_events();
    assert_eq!(events.len(), 3);
    assert_eq!(events[1], at_server(call, 0, item(&bytes(90_000))));
    assert_eq!(events[2], at_server(call, 0, end(Code::OK)));
    pair.reply(call, b"");
    pair.reply(small, b"");
    pair.drive();
    assert_eq!(pair.take_client_events().len(), 3);
    pair.assert_idle();
}

/// P-20, P-32, P17: a call is cancelled after any part of it; it runs at most once, and never if a part is missing.
#[test]
fn a_call_that_is_cancelled_on_its_way_has_not_run() {
    for sent in (0..100_000).step_by(6_789) {
        let mut pair = pair();
        let call = pair.start(&bytes(80_000));
        let bytes = pair.client.transmit(sent);
        pair.to_server.extend(bytes);
        pair.client.cancel(call);
        pair.drive();
        let events = pair.take_server_events();
        if let [ServerEvent::Call { .. }, rest @ ..] = &events[..] {
            assert_eq!(rest, [ServerEvent::Cancel(call)]);
            pair.server.fail(call, Code::CANCELLED, "", &Metadata::new());
            pair.drive();
        } else {
            assert_eq!(events, []);
        }
        assert_eq!(pair.take_client_events(), [ClientEvent::Released]);
        pair.assert_idle();
    }
}

/// P-20, P-32: a reply that nobody waits for is not sent to its end.
#[test]
fn a_cancel_cuts_a_long_reply_short() {
    let mut pair = pair();
    let call = pair.start(b"");
    pair.drive();
    assert_eq!(pair.take_calls(), [call]);
    pair.reply(call, &bytes(90_000));
    let begun = pair.server.transmit(17_000);
    pair.to_client.extend(begun);
    pair.deliver_to_client(usize::MAX);
    assert_eq!(pair.take_client_events(), []);
    pair.client.cancel(call);
    let cancel = pair.client.transmit(usize::MAX);
    pair.to_server.extend(cancel);
    pair.deliver_to_server(usize::MAX);
    assert_eq!(pair.take_server_events(), [], "its owner has ended it");
    pair.drive();
    assert_eq!(pair.take_client_events(), [ClientEvent::Released]);
    let again = pair.start(b"again");
    assert_eq!(again, call);
    pair.drive();
    assert_eq!(arguments(&mut pair), [(call, Bytes::from_static(b"again"))]);
    pair.reply(call, b"value");
    pair.drive();
    assert_eq!(pair.take_client_events(), [replied(call, b"value")]);
    pair.assert_idle();
}

/// P-35, T8: time runs out while the arguments arrive: never dispatched.
#[test]
fn a_call_whose_time_is_up_when_it_is_complete_is_not_started() {
    let mut pair = pair();
    let call = pair.start_within(&bytes(80_000), Some(10 * MS));
    pair.pass_to_server(20_000);
    pair.now += 10 * MS;
    pair.drive();
    assert_eq!(pair.take_server_events(), []);
    let text = "time ran out while the arguments arrived";
    assert_eq!(pair.take_client_events(), [failed(call, Code::EXPIRED, text)]);
    pair.assert_idle();
}

/// P-17, P-35: a call of which a part has left is known not to have run.
#[test]
fn an_expired_call_that_has_not_left_whole_was_not_sent() {
    let mut pair = pair();
    let call = pair.start_within(&bytes(90_000), Some(10 * MS));
    pair.pass_to_server(5_000);
    pair.advance(10 * MS);
    assert_eq!(
        pair.take_client_events(),
        [ClientEvent::Expired(call, Sent::NotSent)]
    );
    pair.drive();
    assert_eq!(pair.take_server_events(), []);
    assert_eq!(pair.take_client_events(), [ClientEvent::Released]);
    pair.assert_idle();
}

/// P-20: more than the receiver takes at a time waits; what was never begun is taken back without a word.
#[test]
fn bodies_beyond_the_peers_limit_wait_and_can_be_taken_back() {
    let mut pair = pair();
    let calls: Vec<_> = (0..4).map(|_| pair.start(&bytes(90_000))).collect();
    pair.client.cancel(calls[3]);
    assert_eq!(pair.client.busy(), 3, "nobody has heard of the last one");
    pair.drive();
    let arrived = arguments(&mut pair);
    assert_eq!(arrived.len(), 3);
    for (call, body) in arrived {
        assert_eq!(body, bytes(90_000));
        pair.reply(call, b"");
    }
    pair.drive();
    assert_eq!(pair.take_client_events().len(), 3);
    pair.assert_idle();
}

/// P-33, P-54, C4: a stop never overtakes the call whose channel it is about.
#[test]
fn a_stop_stays_behind_a_call_that_has_not_left() {
    for sent in [0, 40_000] {
        let mut pair = pair();
        let new = NewCall {
            receives: 1,
            ..NewCall::of(METHOD)
        };
        let others = [pair.start(&bytes(90_000)), pair.start(&bytes(90_000))];
        let call = pair.start_call(&new, &bytes(90_000)).unwrap();
        pair.pass_to_server(sent);
        pair.client.stop_channel(call, 0);
        pair.opens = 1;
        pair.drive();
        let stop = at_server(call, 0, ChannelSignal::Stop);
        let events = pair.take_server_events();
        assert_eq!(events.iter().filter(|event| **event == stop).count(), 1);
        assert_eq!(events.len(), 4);
        others
            .into_iter()
            .chain([call])
            .for_each(|call| pair.reply(call, b""));
        pair.drive();
        assert_eq!(pair.take_client_events().len(), 4);
        pair.assert_idle();
    }
}

/// P-30: an answer to a call that is still on its way ends it; the rest is not sent.
#[test]
fn a_call_that_is_refused_early_is_not_sent_to_its_end() {
    let mut pair = pair();
    pair.server.goaway(Code::DRAINING, "");
    let call = pair.start(&bytes(90_000));
    let part = pair.client.transmit(17_000);
    pair.to_server.extend(part);
    pair.deliver_to_server(usize::MAX);
    pair.drive();
    let events = pair.take_client_events();
    assert_eq!(events[1..], [ClientEvent::Refused(call), ClientEvent::Released]);
    assert!(pair.client.is_finished() && pair.server.is_finished());
    pair.assert_idle();
}

/// P-41, P-36: a failure is one frame, whatever its metadata and text.
#[test]
fn a_failure_with_long_metadata_fits_into_one_frame() {
    let mut pair = pair();
    let call = pair.start(b"");
    pair.drive();
    assert_eq!(pair.take_calls(), [call]);
    let long = metadata(&[("long", &[1; 16_000])]);
    pair.server.fail(call, Code::INTERNAL, &"x".repeat(8_192), &long);
    pair.drive();
    let events = pair.take_client_events();
    assert!(
        matches!(&events[..], [ClientEvent::Failure { text, metadata, .. }]
        if *metadata == long && (300..400).contains(&text.len())),
        "{events:?}"
    );
    pair.assert_idle();
}

/// P-17: a connection that ends between chunks has lost a body.
#[test]
fn the_end_between_two_chunks_is_an_error() {
    let mut pair = pair();
    pair.client
        .start_call(&NewCall::of(METHOD), &mut call_frame(&bytes(50_000)), pair.now)
        .unwrap();
    let whole_frames = 2 * 16 + 4_096 + 16_384;
    pair.pass_to_server(whole_frames);
    pair.server.handle_eof();
    pair.poll();
    let error = rpc_core::error::ConnectionError::Truncated {
        received: 4_096 + 16_384,
        expected: 50_016,
    };
    assert_eq!(
        (pair.server_error.take(), pair.take_server_events()),
        (Some(error), vec![])
    );
}

/// P-20, P-30: an end that waits behind a long item is not sent yet: an early answer is confirmed with a cancel, and the rest is not sent.
#[test]
fn an_early_answer_cuts_a_long_item_short() {
    let mut pair = pair();
    let call = pair.open(1, 0);
    pair.client.send_item(call, 0, &mut frame(&bytes(90_000)), false);
    pair.client.end_channel(call, 0, Code::OK, &Metadata::new());
    pair.pass_to_server(1_000);
    pair.reply(call, b"enough");
    let reply = pair.server.transmit(usize::MAX);
    pair.to_client.extend(reply);
    pair.deliver_to_client(usize::MAX);
    assert_eq!(pair.take_client_events(), [replied(call, b"enough")]);
    let queue = pair.client.send_queue();
    assert_eq!(queue.len(), queue.committed_len(), "the rest is taken back");
    let again = pair.start(b"again");
    assert_eq!(again, call);
    pair.drive();
    assert_eq!(arguments(&mut pair), [(call, Bytes::from_static(b"again"))]);
    pair.reply(call, b"value");
    pair.drive();
    assert_eq!(pair.take_client_events(), [replied(call, b"value")]);
    pair.assert_idle();
}
