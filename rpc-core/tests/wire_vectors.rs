//! Golden bytes: what goes over the wire, written down by hand from the specification, in both directions.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "helpers of tests"
)]

mod support;

use std::time::Duration;

use rpc_core::connection::{
    ChannelEvent, ChannelSignal, ClientConnection, ClientEvent, NewCall, ServerConnection, ServerEvent,
};
use rpc_core::error::DecodeError;
use rpc_core::header::{Flags, FrameHeader, Kind};
use rpc_core::{CallId, Code, Limits, Metadata, MethodId};
use support::{Endpoint, call_frame, frame, hex, metadata, start};

const CLIENT_PREFACE: &str = "f5525043 01 01 0804 00000000 00400000 00040000 00000000 00010000 00000000";
const SERVER_PREFACE: &str = "f5525043 01 01 0804 00000000 00400000 00040000 00000400 00010000 00000000";
/// Call 0, 2 ms left, arguments `abc`.
const CALL: &str = "00000013 01 00 0000 00000000 00000000
    1122334455667788 000007d0 00000000  616263 00000000000000000000000000";
/// Call 1, one-way, no deadline, no arguments.
const ONEWAY: &str = "00000010 01 10 0000 00000001 00000000  1122334455667788 00000000 00000000";
/// Call 2 with metadata `k` = `vw`, arguments `xyz`.
const CALL_WITH_METADATA: &str = "00000023 01 00 0000 00000002 00000000
    1122334455667788 00000000 00000006  01 0002 6b 7677 00000000000000000000  78797a 00000000000000000000000000";
const CANCEL: &str = "00000000 07 00 0000 00000000 00000000";
const REPLY: &str = "00000005 02 00 0000 00000000 00000000  68656c6c6f 0000000000000000000000";
const ERROR_REPLY: &str = "00000002 02 04 0000 00000000 00000000  6e6f 0000000000000000000000000000";
const REPLY_WITH_METADATA: &str = "00000021 02 02 0000 00000000 00000000
    00000004 000000000000000000000000  01 0000 6b 000000000000000000000000  2a 000000000000000000000000000000";
const FAILURE: &str = "00000004 03 00 0000 00000000 00000030  6f6f7073 000000000000000000000000";
const PING: &str = "00000000 09 00 0000 00000000 deadbeef";
const PONG: &str = "00000000 0a 00 0000 00000000 deadbeef";
/// Draining, three calls taken.
const GOAWAY: &str = "0000000b 0b 00 0000 00000000 00000021  0000000000000003 627965 0000000000";

const METHOD: MethodId = MethodId(0x1122_3344_5566_7788);

fn stream(parts: &[&str]) -> Vec<u8> {
    parts.iter().flat_map(|part| hex(part)).collect()
}

/// P-01, P-02, P-10, P-35, P-50: the client's side of a session.
#[test]
fn a_client_writes_the_golden_bytes() {
    let now = start();
    let mut client = ClientConnection::new(Limits::default(), now);
    let deadline = Some(now + Duration::from_millis(2));
    let first = client
        .start_call(
            &NewCall {
                deadline,
                ..NewCall::of(METHOD)
            },
            &mut call_frame(b"abc"),
            now,
        )
        .unwrap();
    client
        .start_call(
            &NewCall {
                oneway: true,
                ..NewCall::of(METHOD)
            },
            &mut call_frame(b""),
            now,
        )
        .unwrap();
    client.cancel(first);
    client.ping(0xdead_beef);
    let expected = stream(&[CLIENT_PREFACE, CALL, ONEWAY, CANCEL, PING]);
    assert_eq!(client.transmit(usize::MAX), expected);
}

/// P-10, P-30, P-36, P-50
#[test]
fn a_server_reads_the_golden_bytes() {
    let now = start();
    let mut server = ServerConnection::new(Limits::default(), now);
    server.receive(&stream(&[
        CLIENT_PREFACE,
        CALL,
        ONEWAY,
        CALL_WITH_METADATA,
        CANCEL,
        PING,
        GOAWAY,
    ]));
    let mut events = Vec::new();
    while let Some(event) = server.poll_event(now).unwrap() {
        events.push(event);
    }
    let call = |id, deadline, oneway, metadata, arguments| ServerEvent::Call {
        call: CallId(id),
        method: METHOD,
        deadline,
        oneway,
        metadata,
        channels: 0,
        arguments: bytes::Bytes::from_static(arguments),
    };
    let expected = [
        ServerEvent::Greeted,
        call(
            0,
            Some(now + Duration::from_millis(2)),
            false,
            Metadata::new(),
            b"abc",
        ),
        call(1, None, true, Metadata::new(), b""),
        call(2, None, false, metadata(&[("k", b"vw")]), b"xyz"),
        ServerEvent::Cancel(CallId(0)),
        ServerEvent::Goaway {
            code: Code::DRAINING,
            text: "bye".into(),
        },
    ];
    assert_eq!(events, expected);
    assert_eq!(server.transmit(usize::MAX), stream(&[SERVER_PREFACE, PONG]));
}

/// P-40, P-41, P-51: the server's side of a session.
#[test]
fn a_server_writes_the_golden_bytes() {
    let now = start();
    for (finish, golden) in [(0, REPLY), (1, ERROR_REPLY), (2, FAILURE)] {
        let mut server = ServerConnection::new(Limits::default(), now);
        let second = CALL.replacen("00000000 00000000", "00000005 00000000", 1);
        let third = CALL.replacen("00000000 00000000", "00000006 00000000", 1);
        server.receive(&stream(&[CLIENT_PREFACE, CALL, &second, &third]));
        while server.poll_event(now).unwrap().is_some() {}
        match finish {
            0 => server.reply(CallId(0), &mut frame(b"hello"), Flags::NONE),
            1 => server.reply(CallId(0), &mut frame(b"no"), Flags::ERROR),
            _ => server.fail(CallId(0), Code::INTERNAL, "oops", &Metadata::new()),
        }
        server.goaway(Code::DRAINING, "bye");
        assert_eq!(
            server.transmit(usize::MAX),
            stream(&[SERVER_PREFACE, golden, GOAWAY])
        );
    }
}

/// P-40, P-41, P-42, P-50, P-51
#[test]
fn a_client_reads_the_golden_bytes() {
    let reply = |error, metadata, body| ClientEvent::Reply {
        call: CallId(0),
        error,
        metadata,
        body: bytes::Bytes::from_static(body),
    };
    let cases = [
        (REPLY, reply(false, Metadata::new(), b"hello")),
        (ERROR_REPLY, reply(true, Metadata::new(), b"no")),
        (REPLY_WITH_METADATA, reply(false, metadata(&[("k", b"")]), b"*")),
        (
            FAILURE,
            ClientEvent::Failure {
                call: CallId(0),
                code: Code::INTERNAL,
                text: "oops".into(),
                metadata: Metadata::new(),
            },
        ),
    ];
    for (golden, expected) in cases {
        let now = start();
        let mut client = ClientConnection::new(Limits::default(), now);
        client
            .start_call(&NewCall::of(METHOD), &mut call_frame(b""), now)
            .unwrap();
        client.ping(0xdead_beef);
        client.receive(&stream(&[SERVER_PREFACE, golden, PONG, GOAWAY]));
        let mut events = Vec::new();
        while let Some(event) = client.poll_event(now).unwrap() {
            events.push(event);
        }
        let goaway = ClientEvent::Goaway {
            code: Code::DRAINING,
            taken: 3,
            text: "bye".into(),
        };
        assert_eq!(
            events,
            [
                ClientEvent::Greeted,
                expected,
                ClientEvent::Pong(0xdead_beef),
                goaway
            ]
        );
    }
}

/// Call 0 with one channel of the client and one of the server, and arguments `abc`.
const STREAMING_CALL: &str = "00000013 01 00 0000 00000000 00000000
    1122334455667788 00000000 0001 0000  616263 00000000000000000000000000";
const ITEM: &str = "00000004 04 00 0000 00000000 00000000  6974656d 000000000000000000000000";
/// `one` and `two`, each padded, then their lengths, then their number.
const PACKED: &str = "0000002c 04 08 0000 00000000 00000000
    6f6e65 00000000000000000000000000  74776f 00000000000000000000000000  00000003 00000003 00000002 00000000";
const END_WITH_METADATA: &str = "00000020 05 02 0000 00000000 00000000
    00000004 000000000000000000000000  01 0000 6b 000000000000000000000000";
const END: &str = "00000000 05 00 0000 00000000 00000000";
/// The answer to a stop: `cancelled`.
const END_STOPPED: &str = "00000000 05 00 0000 00000000 00000001";
/// 4,096 bytes more.
const CREDIT: &str = "00000000 06 00 0000 00000000 00001000";
const STOP: &str = "00000000 0c 00 0000 00000000 00000000";
/// Draining; how many were taken is told later. And the ping behind it.
const GOAWAY_FIRST: &str = "00000008 0b 00 0000 00000000 00000021  ffffffffffffffff 0000000000000000
    00000000 09 00 0000 00000000 d4a10000";
const PONG_OF_GOAWAY: &str = "00000000 0a 00 0000 00000000 d4a10000";
/// One call was taken.
const GOAWAY_SECOND: &str = "00000008 0b 00 0000 00000000 00000021  0000000000000001 0000000000000000";

/// The body of [`PACKED`].
const RUN: &str =
    "6f6e65 00000000000000000000000000  74776f 00000000000000000000000000  00000003 00000003 00000002";

/// P-53, P-54, P-55, P-40: what a client sends in a call with channels.
#[test]
fn a_client_writes_the_golden_bytes_of_streams() {
    let now = start();
    let mut client = ClientConnection::new(Limits::default(), now);
    let new = NewCall {
        sends: 1,
        receives: 1,
        ..NewCall::of(METHOD)
    };
    let call = client.start_call(&new, &mut call_frame(b"abc"), now).unwrap();
    client.send_item(call, 0, &mut frame(b"item"), false);
    client.send_item(call, 0, &mut frame(&hex(RUN)), true);
    client.grant(call, 0, 4_096);
    client.stop_channel(call, 0);
    client.end_channel(call, 0, Code::OK, &metadata(&[("k", b"")]));
    let expected = [
        CLIENT_PREFACE,
        STREAMING_CALL,
        ITEM,
        PACKED,
        CREDIT,
        STOP,
        END_WITH_METADATA,
    ];
    assert_eq!(client.transmit(usize::MAX), stream(&expected));
}

/// P-51, P-53, P-54: what a server makes of it and sends itself; and a drain in two steps.
#[test]
fn a_server_reads_and_writes_the_golden_bytes_of_streams() {
    let now = start();
    let mut server = ServerConnection::new(Limits::default(), now);
    server.receive(&stream(&[CLIENT_PREFACE, STREAMING_CALL]));
    assert_eq!(server.poll_event(now), Ok(Some(ServerEvent::Greeted)));
    let call = server.poll_event(now).unwrap();
    assert!(matches!(call, Some(ServerEvent::Call { channels: 1, .. })));
    let call = CallId(0);
    server.open(call, 1);
    server.send_item(call, 0, &mut frame(b"item"), false);
    server.grant(call, 0, 4_096);
    server.stop_channel(call, 0);
    server.drain("");
    server.receive(&stream(&[
        ITEM,
        PACKED,
        CREDIT,
        STOP,
        PONG_OF_GOAWAY,
        END_WITH_METADATA,
    ]));
    let item = |body, packed| ChannelSignal::Item { body, packed };
    let end = ChannelSignal::End {
        code: Code::OK,
        metadata: metadata(&[("k", b"")]),
    };
    let expected = [
        item(b"item"[..].into(), false),
        item(hex(RUN).into(), true),
        ChannelSignal::Credit(4_096),
        ChannelSignal::Stop,
        end,
    ];
    for what in expected {
        let event = ChannelEvent {
            call,
            channel: 0,
            what,
        };
        assert_eq!(server.poll_event(now), Ok(Some(ServerEvent::Channel(event))));
    }
    assert_eq!(server.poll_event(now), Ok(None));
    server.reply(call, &mut frame(b"hello"), Flags::NONE);
    let expected = [
        SERVER_PREFACE,
        ITEM,
        CREDIT,
        STOP,
        GOAWAY_FIRST,
        END_STOPPED,
        GOAWAY_SECOND,
        REPLY,
    ];
    assert_eq!(server.transmit(usize::MAX), stream(&expected));
}

/// P-51, P-53, P-54: what a client makes of what a server sends; it answers a stop, and ends what it has not ended with a cancel.
#[test]
fn a_client_reads_the_golden_bytes_of_streams() {
    let now = start();
    let mut client = ClientConnection::new(Limits::default(), now);
    client.receive(&stream(&[SERVER_PREFACE]));
    assert_eq!(client.poll_event(now), Ok(Some(ClientEvent::Greeted)));
    let new = NewCall {
        sends: 2,
        receives: 1,
        ..NewCall::of(METHOD)
    };
    let call = client.start_call(&new, &mut call_frame(b""), now).unwrap();
    client.transmit(usize::MAX);
    client.receive(&stream(&[
        ITEM,
        CREDIT,
        STOP,
        END,
        GOAWAY_FIRST,
        GOAWAY_SECOND,
        REPLY,
    ]));
    let mut events = Vec::new();
    while let Some(event) = client.poll_event(now).unwrap() {
        events.push(event);
    }
    let end = ChannelSignal::End {
        code: Code::OK,
        metadata: Metadata::new(),
    };
    let item = ChannelSignal::Item {
        body: b"item"[..].into(),
        packed: false,
    };
    let signals = [item, ChannelSignal::Credit(4_096), ChannelSignal::Stop, end];
    let signals = signals.map(|what| {
        ClientEvent::Channel(ChannelEvent {
            call,
            channel: 0,
            what,
        })
    });
    assert_eq!(events[..4], signals);
    assert!(matches!(
        &events[4..],
        [
            ClientEvent::Goaway { taken: u64::MAX, .. },
            ClientEvent::Goaway { taken: 1, .. },
            ClientEvent::Reply { .. }
        ]
    ));
    assert_eq!(
        client.transmit(usize::MAX),
        stream(&[END_STOPPED, PONG_OF_GOAWAY, CANCEL])
    );
}

/// P-20: a body of 16,400 bytes for a peer that takes 16,384 in a frame. Its first frame carries 4,096.
#[test]
fn a_chunked_body_is_the_golden_bytes() {
    let small = CLIENT_PREFACE.replacen("00040000", "00004000", 1);
    let now = start();
    let mut server = ServerConnection::new(Limits::default(), now);
    server.receive(&stream(&[&small, CALL]));
    while server.poll_event(now).unwrap().is_some() {}
    server.reply(CallId(0), &mut frame(&[7; 16_400]), Flags::NONE);
    let sent = server.transmit(usize::MAX);
    let (first, last) = (
        "00001000 02 01 0000 00000000 00004010",
        "00003010 08 00 0000 00000000 00000000",
    );
    let body = |len: usize| vec![7; len];
    let expected = [
        stream(&[SERVER_PREFACE, first]),
        body(4_096),
        stream(&[last]),
        body(12_304),
    ]
    .concat();
    assert_eq!(sent, expected);

    let small = SERVER_PREFACE.replacen("00040000", "00004000", 1);
    let mut client = ClientConnection::new(Limits::default(), now);
    client.receive(&stream(&[&small]));
    assert_eq!(client.poll_event(now), Ok(Some(ClientEvent::Greeted)));
    client
        .start_call(&NewCall::of(METHOD), &mut call_frame(&[7; 16_384]), now)
        .unwrap();
    let (first, prelude) = (
        "00001000 01 01 0000 00000000 00004010",
        "1122334455667788 00000000 0000 0000",
    );
    let expected = [
        stream(&[CLIENT_PREFACE, first, prelude]),
        body(4_080),
        stream(&[last]),
        body(12_304),
    ];
    assert_eq!(client.transmit(usize::MAX), expected.concat());
}

/// P-20, P-33, P-53: the other kinds, and one that is ignored.
#[test]
fn headers_of_every_other_kind_are_the_golden_bytes() {
    let header = |kind, flags, channel, aux| FrameHeader {
        body_len: 0,
        kind,
        flags,
        channel,
        call: CallId(0x0102_0304),
        aux,
    };
    let vectors = [
        (
            header(Kind::Item, Flags::PACKED, 2, 0),
            "00000000 04 08 0002 01020304 00000000",
        ),
        (
            header(Kind::Item, Flags::CHUNKED, 2, 70_000),
            "00000000 04 01 0002 01020304 00011170",
        ),
        (
            header(Kind::End, Flags::NONE, 1, 1),
            "00000000 05 00 0001 01020304 00000001",
        ),
        (
            header(Kind::Credit, Flags::NONE, 1, 65_536),
            "00000000 06 00 0001 01020304 00010000",
        ),
        (
            header(Kind::Stop, Flags::NONE, 1, 0),
            "00000000 0c 00 0001 01020304 00000000",
        ),
        (
            header(Kind::Extension(0x80), Flags(0xff), 9, 7),
            "00000000 80 ff 0009 01020304 00000007",
        ),
        (
            header(Kind::Reply, Flags::DESCRIPTORS, 3, 0),
            "00000000 02 20 0003 01020304 00000000",
        ),
    ];
    for (header, golden) in vectors {
        let bytes: [u8; 16] = hex(golden).try_into().unwrap();
        assert_eq!(header.encode(), bytes);
        assert_eq!(FrameHeader::decode(&bytes, 16_384), Ok(header));
    }
    let descriptors: [u8; 16] = hex("00000000 02 00 0003 01020304 00000000").try_into().unwrap();
    let error = DecodeError::FieldNotZero {
        kind: Kind::Reply,
        field: "channel",
        value: 3,
    };
    assert_eq!(FrameHeader::decode(&descriptors, 16_384), Err(error));
}
