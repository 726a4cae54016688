//! A peer that lies about channels, credit, chunks and time: every lie has one exact outcome.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "helpers of tests"
)]

mod support;

use std::time::Duration;

use rpc_core::connection::{ClientEvent, ServerEvent};
use rpc_core::error::{ConnectionError, DecodeError, ProtocolError};
use rpc_core::header::Kind;
use rpc_core::{CallId, Code, Limits};
use support::Endpoint;
use support::host::{Guest, Host, channels, end, item};
use support::script::{call, call_body, chunk, chunked, on_channel, plain, streaming};

/// P-33, P1: for an id that was never used, items, ends, credit and stops break the rules; a cancel is ignored.
#[test]
fn frames_of_channels_for_an_id_that_was_never_used_are_protocol_errors() {
    for kind in [Kind::Item, Kind::End, Kind::Credit, Kind::Stop] {
        for id in [5, 1_023, 1_024, u32::MAX] {
            let mut host = Host::new();
            host.gets(&[plain(Kind::Call, 2), plain(kind, id)].concat());
            let (call, channel) = (CallId(id), 0);
            host.assert_protocol_error(ProtocolError::NoSuchChannel { kind, call, channel });
        }
    }
}

/// P-33, P2: what may cross the final frame is ignored. (The row forgets after a second; here a slot is known for good.)
#[test]
fn credit_stop_and_cancel_for_a_slot_that_was_used_are_ignored_and_items_are_not() {
    for kind in [Kind::Credit, Kind::Stop, Kind::Cancel, Kind::Item, Kind::End] {
        let mut host = Host::new();
        host.gets(&plain(Kind::Call, 3));
        host.fail(3, Code::INTERNAL);
        host.events();
        host.gets(&plain(kind, 3));
        if matches!(kind, Kind::Item | Kind::End) {
            let (call, channel) = (CallId(3), 0);
            host.assert_protocol_error(ProtocolError::NoSuchChannel { kind, call, channel });
        } else {
            assert_eq!(host.events(), []);
            host.assert_empty();
        }
    }
}

/// P-30, P-33, P2: within its credit, what a client still sends after the answer is dropped, until its last end.
#[test]
fn items_behind_the_answer_are_dropped_until_the_client_has_ended() {
    let mut host = Host::new();
    host.gets(&streaming(0, 2));
    host.fail(0, Code::INTERNAL);
    host.events();
    host.gets(&[item(0, 0, 60_000), item(0, 1, 5), end(0, 1)].concat());
    assert_eq!((host.events(), &host.error), (vec![], &None));
    host.gets(&call(0, &call_body(0, 0, b"")));
    host.assert_protocol_error(ProtocolError::CallIdBusy { call: CallId(0) });
    let mut host = Host::new();
    host.gets(&streaming(0, 1));
    host.fail(0, Code::INTERNAL);
    host.events();
    host.gets(&[end(0, 0), call(0, &call_body(0, 0, b""))].concat());
    assert_eq!(host.events().len(), 1, "the slot is free");
    host.fail(0, Code::INTERNAL);
    host.assert_empty();
}

/// P-31, P3, P4: ids are slots and may be used again, but not while they are busy; the first call is not touched until then.
#[test]
fn a_second_call_on_a_busy_slot_ends_the_connection() {
    let mut host = Host::new();
    host.gets(&streaming(9, 1));
    host.gets(&item(9, 0, 4));
    assert_eq!(channels(&host.events()), 1);
    host.gets(&streaming(9, 1));
    assert_eq!(host.events(), []);
    host.assert_protocol_error(ProtocolError::CallIdBusy { call: CallId(9) });
}

/// P-54, P8: an item or end behind the end fails its call, once; the connection goes on.
#[test]
fn frames_behind_the_end_of_a_channel_fail_the_call() {
    for frame in [item(0, 0, 3), end(0, 0)] {
        let mut host = Host::new();
        host.gets(
            &[
                streaming(0, 2),
                end(0, 0),
                frame.clone(),
                frame,
                plain(Kind::Call, 1),
            ]
            .concat(),
        );
        let events = host.events();
        assert_eq!(events.len(), 4, "{events:?}");
        assert!(matches!(
            events[2],
            ServerEvent::Breach {
                call: CallId(0),
                code: Code::STREAM_STATE,
                ..
            }
        ));
        host.fail(0, Code::STREAM_STATE);
        host.fail(1, Code::INTERNAL);
        host.gets(&plain(Kind::Cancel, 0));
        host.assert_empty();
    }
}

/// P-33, P-54, P8: channels that the call does not have, in either direction; and more than there can be.
#[test]
fn channels_that_a_call_does_not_have_are_protocol_errors() {
    for (kind, channel) in [
        (Kind::Item, 2),
        (Kind::End, 2),
        (Kind::Credit, 1),
        (Kind::Stop, 1),
        (Kind::Item, 0xffff),
    ] {
        let mut host = Host::new();
        host.opens = 1;
        let aux = u32::from(kind == Kind::Credit) * 1_000;
        host.gets(&[streaming(0, 2), on_channel(kind, 0, channel, aux, b"")].concat());
        let call = CallId(0);
        host.assert_protocol_error(ProtocolError::NoSuchChannel { kind, call, channel });
    }
    let mut host = Host::new();
    host.gets(&streaming(0, 16));
    assert_eq!(host.events().len(), 1);
    host.gets(&streaming(1, 17));
    host.assert_protocol_error(ProtocolError::ChannelsTooMany {
        call: CallId(1),
        count: 17,
    });
}

/// P-53, P9: one byte of credit lets one more item through, none lets nothing. (The row's window is exact to the byte; here an item may exceed it once.)
#[test]
fn an_item_without_credit_fails_its_call_and_not_the_connection() {
    let credit = 65_536;
    let mut host = Host::new();
    host.gets(&[streaming(0, 1), item(0, 0, credit - 17), item(0, 0, 30_000)].concat());
    assert_eq!(channels(&host.events()), 2);
    host.gets(&item(0, 0, 0));
    let events = host.events();
    assert!(
        matches!(
            events[..],
            [ServerEvent::Breach {
                code: Code::FLOW_CONTROL,
                ..
            }]
        ),
        "{events:?}"
    );
    host.server.grant(CallId(0), 0, 1 << 20);
    host.fail(0, Code::FLOW_CONTROL);
    assert_eq!(
        host.sent(),
        [(Kind::Failure, 0, Code::FLOW_CONTROL)],
        "no credit for a call that is over"
    );
    host.gets(&plain(Kind::Cancel, 0));
    host.assert_empty();
}

/// P-53, P11: grants of nothing and grants that cannot be counted are protocol errors, at both sides.
#[test]
fn credit_of_zero_or_beyond_counting_is_a_protocol_error() {
    let most = (1 << 31) - 1 - 65_536;
    let mut host = Host::new();
    host.opens = 1;
    host.gets(&[plain(Kind::Call, 0), on_channel(Kind::Credit, 0, 0, most, b"")].concat());
    assert_eq!((channels(&host.events()), &host.error), (1, &None));
    host.gets(&on_channel(Kind::Credit, 0, 0, 1, b""));
    let (call, channel) = (CallId(0), 0);
    host.assert_protocol_error(ProtocolError::CreditRaised { call, channel });
    let mut host = Host::new();
    host.gets(&on_channel(Kind::Credit, 0, 0, 0, b""));
    assert_eq!(
        host.error,
        Some(DecodeError::AuxZero { kind: Kind::Credit }.into())
    );
    let mut guest = Guest::new(1, 0);
    guest.gets(&on_channel(Kind::Credit, 0, 0, most + 1, b""));
    assert_eq!(
        guest.error,
        Some(ProtocolError::CreditRaised { call, channel }.into())
    );
}

/// P-53, P-54, P8, P9: a server that does not count loses the call; one that goes on after that, the connection.
#[test]
fn a_client_gives_up_a_call_whose_server_does_not_count() {
    let behind_end = ([end(0, 0), item(0, 0, 1)].concat(), Code::STREAM_STATE);
    let beyond = ([item(0, 0, 65_536), item(0, 0, 0)].concat(), Code::FLOW_CONTROL);
    for (frames, expected) in [behind_end, beyond] {
        let mut guest = Guest::new(1, 1);
        guest.gets(&frames);
        assert_eq!(guest.events.len(), 2);
        assert!(matches!(&guest.events[1], ClientEvent::Failure { code, .. } if *code == expected));
        assert_eq!(
            (guest.client.waiting(), guest.client.busy(), &guest.error),
            (0, 1, &None)
        );
        let sent = guest.client.transmit(usize::MAX);
        assert_eq!(sent, plain(Kind::Cancel, 0));
        guest.gets(&item(0, 0, 1));
        let (call, channel) = (CallId(0), 0);
        assert_eq!(
            guest.error,
            Some(ProtocolError::ItemWithoutCredit { call, channel }.into())
        );
    }
}

/// P-34, P6, P7: the first final frame counts; items and a second one behind it are for no call.
#[test]
fn nothing_follows_the_servers_final_frame() {
    for kind in [
        Kind::Item,
        Kind::End,
        Kind::Credit,
        Kind::Stop,
        Kind::Reply,
        Kind::Failure,
    ] {
        let mut guest = Guest::new(0, 1);
        guest.gets(&[plain(Kind::Reply, 0), plain(kind, 0)].concat());
        assert!(matches!(guest.events[..], [ClientEvent::Reply { .. }]));
        let call = CallId(0);
        assert_eq!(guest.error, Some(ProtocolError::NotCalled { kind, call }.into()));
    }
}

/// P-20: what a chunked body may not be.
#[test]
fn chunks_that_do_not_fit_are_protocol_errors() {
    let call = CallId(0);
    let limit = Limits::default().max_body;
    let first = || chunked(Kind::Call, 0, 100, &call_body(0, 0, b""));
    let length = |total| ProtocolError::BodyLength { call, total, limit };
    let begins = |total| chunked(Kind::Call, 0, total, &call_body(0, 0, b""));
    let unexpected = ProtocolError::ChunkUnexpected { call };
    let within = |kind| ProtocolError::Interleaved { kind, call };
    let channel = ProtocolError::NoSuchChannel {
        kind: Kind::Stop,
        call,
        channel: 0,
    };
    let cases = [
        (begins(16), length(16)),
        (begins(limit + 1), length(limit + 1)),
        (begins(u32::MAX), length(u32::MAX)),
        (chunk(0, b"x"), unexpected),
        ([first(), chunk(0, &[0; 85])].concat(), unexpected),
        ([first(), chunk(0, &[0; 84]), chunk(0, b"x")].concat(), unexpected),
        ([first(), first()].concat(), within(Kind::Call)),
        ([first(), item(0, 0, 1)].concat(), within(Kind::Item)),
        ([first(), end(0, 0)].concat(), within(Kind::End)),
        (
            [first(), plain(Kind::Call, 0)].concat(),
            ProtocolError::CallIdBusy { call },
        ),
        ([first(), plain(Kind::Stop, 0)].concat(), channel),
    ];
    for (bytes, error) in cases {
        let mut host = Host::new();
        host.gets(&bytes);
        host.assert_protocol_error(error);
    }
    let mut host = Host::new();
    host.gets(&[first(), chunk(0, b"")].concat());
    assert!(matches!(
        host.error,
        Some(ConnectionError::Decode(DecodeError::BodyTooShort { .. }))
    ));
}

/// P-20, R11: incomplete bodies add up to twice the longest, also of those that nobody wants; memory is that of what has arrived.
#[test]
fn incomplete_bodies_add_up_to_a_limit() {
    let limit = Limits::default().max_body;
    let mut host = Host::new();
    let begins = |id| chunked(Kind::Call, id, limit, &call_body(0, 0, b""));
    host.gets(&[begins(0), begins(1)].concat());
    assert_eq!((host.server.in_flight(), host.server.held()), (2, 0));
    host.gets(&begins(2));
    host.assert_protocol_error(ProtocolError::BodiesTooLarge {
        call: CallId(2),
        total: 3 * u64::from(limit),
        limit: 2 * u64::from(limit),
    });
    // A cancel gives a body up: its part of the sum is free.
    let mut host = Host::new();
    for _ in 0..10 {
        host.gets(
            &[
                begins(0),
                begins(1),
                plain(Kind::Cancel, 0),
                plain(Kind::Cancel, 1),
            ]
            .concat(),
        );
    }
    assert_eq!(host.events(), []);
    host.assert_empty();
}

/// P-36, P-20, F20: metadata of a chunked call that does not fit fails the call, and its slot is free.
#[test]
fn a_chunked_call_with_metadata_beyond_it_leaves_nothing_behind() {
    for _ in 0..2 {
        let mut host = Host::new();
        let first = || chunked(Kind::Call, 0, 17, &call_body(0, 8_000, b""));
        host.gets(&[first(), chunk(0, b"x"), plain(Kind::Cancel, 0)].concat());
        assert_eq!(host.sent(), [(Kind::Failure, 0, Code::METADATA_TOO_LARGE)]);
        host.gets(&[first(), chunk(0, b"x"), plain(Kind::Call, 0)].concat());
        assert_eq!(host.events().len(), 1);
        host.fail(0, Code::INTERNAL);
        host.assert_empty();
    }
    let mut host = Host::new();
    let body = call_body(0, 3, b"key\0\0\0\0\0\0\0\0\0\0\0\0\0");
    host.gets(&[chunked(Kind::Call, 0, 40, &body), chunk(0, &[0; 8])].concat());
    host.assert_protocol_error(ProtocolError::MetadataMalformed { call: CallId(0) });
}

/// P-35, T1, T2: an arriving body counts its time from the first frame.
#[test]
fn time_counts_from_the_first_frame_of_a_chunked_call() {
    let mut host = Host::new();
    host.gets(&chunked(Kind::Call, 0, 24, &call_body(1_000, 0, b"")));
    host.now += Duration::from_millis(1);
    host.gets(&chunk(0, &[0; 8]));
    assert_eq!(host.events(), []);
    assert_eq!(host.sent(), [(Kind::Failure, 0, Code::EXPIRED)]);
    host.assert_empty();
}

/// P-20, P-53: a chunked item costs its whole length at once, at both sides.
#[test]
fn a_chunked_item_costs_its_total_when_it_begins() {
    let frames = [
        chunked(Kind::Item, 0, 70_000, b"begins"),
        chunk(0, &[7; 69_994]),
        item(0, 0, 0),
    ]
    .concat();
    let mut host = Host::new();
    host.gets(&[streaming(0, 1), frames.clone()].concat());
    let events = host.events();
    assert_eq!(channels(&events), 1);
    let breach = events.last();
    assert!(
        matches!(
            breach,
            Some(ServerEvent::Breach {
                code: Code::FLOW_CONTROL,
                ..
            })
        ),
        "{breach:?}"
    );
    let mut guest = Guest::new(0, 1);
    guest.gets(&frames);
    assert!(matches!(
        &guest.events[..],
        [
            ClientEvent::Channel(_),
            ClientEvent::Failure {
                code: Code::FLOW_CONTROL,
                ..
            }
        ]
    ));
}
