//! A peer that lies about channels, credit and chunks, and peers that only cost: every lie has one exact outcome.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "helpers of tests"
)]

mod support;

use std::time::{Duration, Instant};

use rpc_core::connection::{
    ChannelEvent, ChannelSignal, ClientConnection, ClientEvent, NewCall, ServerConnection, ServerEvent,
};
use rpc_core::error::{ConnectionError, DecodeError, ProtocolError};
use rpc_core::header::{FrameHeader, Kind};
use rpc_core::preface::Side;
use rpc_core::{CallId, Code, Limits, Metadata};
use support::pair::METHOD;
use support::script::{
    call, call_body, chunk, chunked, on_channel, plain, preface, raw, read_frames, streaming,
};
use support::{Endpoint, call_frame, start};

/// A server with a scripted client; methods send on as many channels as `opens` says.
struct Host {
    server: ServerConnection,
    now: Instant,
    opens: u16,
    events: Vec<ServerEvent>,
    error: Option<ConnectionError>,
}

impl Host {
    fn new() -> Self {
        Self::with_limits(Limits::default())
    }

    fn with_limits(limits: Limits) -> Self {
        let now = start();
        let mut host = Self {
            server: ServerConnection::new(limits, now),
            now,
            opens: 0,
            events: Vec::new(),
            error: None,
        };
        host.gets(&preface(Side::Client));
        host.server.transmit(usize::MAX);
        assert_eq!(host.events(), [ServerEvent::Greeted]);
        host
    }

    /// Hands over bytes and does what an owner does at once.
    fn gets(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && self.error.is_none() {
            let len = self.server.receive(bytes);
            bytes = &bytes[len..];
            self.poll();
        }
    }

    fn poll(&mut self) {
        while self.error.is_none() {
            match self.server.poll_event(self.now) {
                Ok(Some(event)) => {
                    if let ServerEvent::Call { call, .. } = event {
                        self.server.open(call, self.opens);
                    }
                    self.events.push(event);
                }
                Ok(None) => return,
                Err(error) => self.error = Some(error),
            }
        }
    }

    fn events(&mut self) -> Vec<ServerEvent> {
        std::mem::take(&mut self.events)
    }

    fn sent(&mut self) -> Vec<(Kind, u32, Code)> {
        let mut bytes = Vec::new();
        while !self.server.send_queue().is_empty() {
            bytes.extend(self.server.transmit(usize::MAX));
        }
        let frames = read_frames(&bytes).into_iter();
        frames
            .map(|(header, _)| (header.kind, header.call.0, Code::from_number(header.aux)))
            .collect()
    }

    fn fail(&mut self, call: u32, code: Code) {
        self.server.fail(CallId(call), code, "", &Metadata::new());
    }

    #[track_caller]
    fn assert_protocol_error(&mut self, error: ProtocolError) {
        assert_eq!(self.error, Some(error.into()));
        let sent = self.sent();
        assert_eq!(
            sent.last().map(|(kind, _, code)| (*kind, *code)),
            Some((Kind::Goaway, Code::PROTOCOL))
        );
    }

    #[track_caller]
    fn assert_calm(&mut self, reason: &str) {
        assert_eq!(
            self.error,
            Some(ConnectionError::Calm {
                reason: reason.to_owned().leak()
            })
        );
        assert_eq!(
            self.sent().last().map(|(kind, _, code)| (*kind, *code)),
            Some((Kind::Goaway, Code::CALM))
        );
    }

    #[track_caller]
    fn assert_empty(&mut self) {
        self.sent();
        assert_eq!(
            (&self.error, self.server.in_flight(), self.server.held()),
            (&None, 0, 0)
        );
    }
}

fn item(call: u32, channel: u16, len: usize) -> Vec<u8> {
    on_channel(Kind::Item, call, channel, 0, &vec![7; len])
}

fn end(call: u32, channel: u16) -> Vec<u8> {
    on_channel(Kind::End, call, channel, 0, b"")
}

fn channels(events: &[ServerEvent]) -> usize {
    let is_channel = |event: &&ServerEvent| matches!(event, ServerEvent::Channel(_));
    events.iter().filter(is_channel).count()
}

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

/// A client with a scripted server and one call, id 0, with channels.
struct Guest {
    client: ClientConnection,
    events: Vec<ClientEvent>,
    error: Option<ConnectionError>,
}

impl Guest {
    fn new(sends: u16, receives: u16) -> Self {
        let now = start();
        let mut client = ClientConnection::new(Limits::default(), now);
        client.receive(&preface(Side::Server));
        assert_eq!(client.poll_event(now), Ok(Some(ClientEvent::Greeted)));
        let new = NewCall {
            sends,
            receives,
            ..NewCall::of(METHOD)
        };
        client.start_call(&new, &mut call_frame(b""), now).unwrap();
        client.transmit(usize::MAX);
        Self {
            client,
            events: Vec::new(),
            error: None,
        }
    }

    fn gets(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && self.error.is_none() {
            let len = self.client.receive(bytes);
            bytes = &bytes[len..];
            loop {
                match self.client.poll_event(start()) {
                    Ok(Some(event)) => self.events.push(event),
                    Ok(None) => break,
                    Err(error) => {
                        self.error = Some(error);
                        break;
                    }
                }
            }
        }
    }
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

/// P-56, P14: calls given up as soon as they are made, as fast as they stop: 1,000 are borne, and no more. What was answered pays for as many.
#[test]
fn a_flood_of_cancels_ends_the_connection() {
    let mut host = Host::new();
    let answered = [plain(Kind::Call, 0)].concat();
    for _ in 0..3_000 {
        host.gets(&answered);
        host.server
            .reply(CallId(0), &mut support::frame(b""), rpc_core::header::Flags::NONE);
        host.sent();
    }
    let mut calls = 0;
    while host.error.is_none() {
        host.gets(&[plain(Kind::Call, 0), plain(Kind::Cancel, 0)].concat());
        assert_eq!(
            host.server.in_flight(),
            usize::from(host.error.is_none() || calls == 1_000)
        );
        host.fail(0, Code::CANCELLED);
        host.sent_if_open();
        calls += 1;
    }
    assert_eq!(calls, 1_001);
    host.assert_calm("too many calls given up");
}

impl Host {
    fn sent_if_open(&mut self) {
        if self.error.is_none() {
            self.sent();
        }
    }

    /// How many times it takes until the connection ends.
    fn endures(&mut self, frames: impl Fn(u32) -> Vec<u8>) -> u32 {
        let mut count = 0;
        while self.error.is_none() && count < 100_000 {
            self.gets(&frames(count));
            count += 1;
        }
        count - 1
    }
}

/// P-56, P15, P16, P19, P20, P21, F8, F9: whatever costs and brings nothing comes to an end, also if the peer never reads.
#[test]
fn floods_end_with_calm() {
    let ping = |_| plain(Kind::Ping, 0);
    let unknown = |_| raw(FrameHeader::new(Kind::Extension(200), CallId(0)), b"");
    let refused = |id| plain(Kind::Call, 2_000 + id);
    let cancels = |id| plain(Kind::Cancel, id);
    let too_much = |_| call(0, &call_body(0, 9_000, &[0; 64]));
    let table: [(&dyn Fn(u32) -> Vec<u8>, u32, &str); 5] = [
        (&ping, 100, "too many pings"),
        (&unknown, 100, "too many frames of unknown kinds"),
        (&refused, 100, "too many calls above the limits"),
        (&cancels, 1_000, "too many calls given up"),
        (&too_much, 100, "too many calls above the limits"),
    ];
    for (frames, endured, reason) in table {
        let mut host = Host::new();
        assert_eq!(host.endures(frames), endured, "{reason}");
        assert!(host.server.held() < 32 << 10, "the queue is bounded");
        host.assert_calm(reason);
    }
}

/// P-53, P-56, F8, F9: items without a body use up credit, so there are few of them; beyond it they cost. (The row counts 100 at most.)
#[test]
fn empty_items_use_up_credit_and_then_patience() {
    for len in [0, 1] {
        let mut host = Host::new();
        host.gets(&streaming(0, 1));
        let mut items = 0;
        while !matches!(host.events().last(), Some(ServerEvent::Breach { .. })) {
            host.gets(&item(0, 0, len));
            items += 1;
        }
        let cost = 16 + u32::try_from(len).unwrap();
        assert_eq!(items, 65_536_u32.div_ceil(cost) + 1);
        assert_eq!(host.endures(|_| item(0, 0, len)), 99);
        host.assert_calm("too many frames on channels that do not allow them");
    }
}

/// P-56, P11: grants of a few bytes cost; those worth their frame do not.
#[test]
fn a_flood_of_small_grants_ends_the_connection_and_large_ones_do_not() {
    for (bytes, endured) in [(1, 1_000), (255, 1_000), (256, 99_999)] {
        let mut host = Host::new();
        host.opens = 1;
        host.gets(&plain(Kind::Call, 0));
        assert_eq!(
            host.endures(|_| on_channel(Kind::Credit, 0, 0, bytes, b"")),
            endured
        );
    }
}
