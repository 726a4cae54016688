//! Pins the text and the code of every error.

use super::*;
use crate::format::ArchiveFormat;
use crate::header::{Flags, Kind};
use crate::id::CallId;
use crate::preface::MAGIC;

#[test]
fn decode_errors_have_their_text_and_code() {
    let table = [
        (
            DecodeError::AuxZero { kind: Kind::Credit },
            64,
            "aux of a credit frame is zero",
        ),
        (
            DecodeError::BodyNotEmpty {
                kind: Kind::Ping,
                len: 3,
            },
            64,
            "ping frame has a body of 3 bytes",
        ),
        (
            DecodeError::BodyTooShort {
                kind: Kind::Call,
                len: 15,
                least: 16,
            },
            64,
            "body of a call frame is 15 bytes, shorter than its fixed part of 16",
        ),
        (
            DecodeError::FieldNotZero {
                kind: Kind::Pong,
                field: "channel",
                value: 7,
            },
            64,
            "channel of a pong frame is 7, not zero",
        ),
        (
            DecodeError::FlagNotAllowed {
                kind: Kind::Cancel,
                flags: Flags(0x81),
            },
            64,
            "cancel frame has flags 81 that its kind does not allow",
        ),
        (
            DecodeError::FrameTooLarge {
                len: 70_000,
                limit: 65_536,
            },
            65,
            "frame body of 70000 bytes exceeds the limit of 65536",
        ),
        (
            DecodeError::PaddingNotZero { kind: Kind::Reply },
            64,
            "padding of a reply frame is not zero",
        ),
        (
            DecodeError::UnknownKind { kind: 13 },
            64,
            "frame kind 13 is unknown",
        ),
    ];
    for (error, code, text) in table {
        assert_eq!((error.code().number(), error.to_string().as_str()), (code, text));
    }
}

/// P-11
#[test]
fn a_length_in_the_other_byte_order_is_hinted_at() {
    let error = DecodeError::FrameTooLarge {
        len: 48_u32.swap_bytes(),
        limit: 65_536,
    };
    assert_eq!(
        error.to_string(),
        "frame body of 805306368 bytes exceeds the limit of 65536 (it would be 48 in the other byte order)"
    );
    let error = DecodeError::FrameTooLarge {
        len: u32::from_be_bytes(MAGIC),
        limit: 65_536,
    };
    assert_eq!(
        error.to_string(),
        "frame body of 4115812419 bytes exceeds the limit of 65536 (a second preface?)"
    );
}

#[test]
fn protocol_errors_have_their_text() {
    let call = CallId(5);
    let table = [
        (ProtocolError::CallIdBusy { call }, "call id 5 is busy"),
        (
            ProtocolError::DescriptorsNotOffered { call },
            "descriptors came with call 5, although they were not offered",
        ),
        (
            ProtocolError::GoawayRaised { taken: 9, before: 4 },
            "goaway takes 9 calls, more than the 4 of an earlier one",
        ),
        (
            ProtocolError::MetadataMalformed { call },
            "metadata of call 5 is malformed",
        ),
        (
            ProtocolError::NoSuchChannel {
                kind: Kind::Item,
                call,
                channel: 2,
            },
            "item frame for channel 2 of call 5, which has no such channel",
        ),
        (
            ProtocolError::NotCalled {
                kind: Kind::Reply,
                call,
            },
            "reply frame for call id 5, which is not busy",
        ),
        (
            ProtocolError::WrongDirection { kind: Kind::Failure },
            "failure frame from the side that must not send it",
        ),
    ];
    assert_texts(&table);
}

#[test]
fn protocol_errors_of_channels_and_chunks_have_their_text() {
    let call = CallId(5);
    assert_texts(&[
        (
            ProtocolError::BodiesTooLarge {
                call,
                total: 9,
                limit: 8,
            },
            "incomplete bodies add up to 9 bytes with that of call 5, more than 8",
        ),
        (
            ProtocolError::BodyLength {
                call,
                total: 9,
                limit: 8,
            },
            "body of call 5 is announced with 9 bytes, which is not beyond its first frame or above 8",
        ),
        (
            ProtocolError::ChannelsTooMany { call, count: 17 },
            "call 5 has 17 channels in one direction",
        ),
        (
            ProtocolError::ChunkUnexpected { call },
            "chunk for call 5, of which no such part of a body is missing",
        ),
        (
            ProtocolError::CreditRaised { call, channel: 2 },
            "credit of channel 2 of call 5 exceeds what can be counted",
        ),
        (
            ProtocolError::Interleaved {
                kind: Kind::End,
                call,
            },
            "end frame of call 5 inside of another body of that call",
        ),
        (
            ProtocolError::ItemWithoutCredit { call, channel: 2 },
            "item frame without credit on channel 2 of call 5, which has ended",
        ),
    ]);
}

fn assert_texts(table: &[(ProtocolError, &str)]) {
    for (error, text) in table {
        assert_eq!(error.to_string(), *text);
        assert_eq!(Code::from(&ConnectionError::from(*error)), Code::PROTOCOL);
    }
}

#[test]
fn handshake_errors_have_their_text_and_code() {
    let table = [
        (
            HandshakeError::Feature { required: 1 << 20 },
            68,
            "peer requires unknown features 00100000",
        ),
        (
            HandshakeError::Format {
                ours: ArchiveFormat(0x0804),
                theirs: ArchiveFormat(0x0809),
            },
            67,
            "peer archives as rkyv 0.8, 64-bit pointers, aligned, big-endian, \
             this side as rkyv 0.8, 32-bit pointers, aligned, little-endian",
        ),
        (
            HandshakeError::Limit {
                field: "max calls",
                value: 3,
                least: 16,
                most: u32::MAX,
            },
            64,
            "max calls in the preface is 3, outside of 16 to 4294967295",
        ),
        (
            HandshakeError::ReservedNotZero { value: 1 },
            64,
            "reserved bytes of the preface are 00000001, not zero",
        ),
        (
            HandshakeError::Timeout { received: 5 },
            69,
            "timeout after 5 of 32 bytes of the preface",
        ),
        (
            HandshakeError::Truncated { received: 31 },
            64,
            "connection ended after 31 of 32 bytes of the preface",
        ),
        (
            HandshakeError::Version {
                ours: (1, 1),
                theirs: (2, 3),
            },
            66,
            "peer speaks versions 2 to 3, this side 1 to 1",
        ),
    ];
    for (error, code, text) in table {
        assert_eq!((error.code().number(), error.to_string().as_str()), (code, text));
    }
}

#[test]
fn connection_errors_show_their_own_layer_and_have_the_cause_as_source() {
    let goaway = |text: &str| ConnectionError::Goaway {
        code: Code::CALM,
        text: text.into(),
    };
    let decode = DecodeError::UnknownKind { kind: 12 };
    let handshake = HandshakeError::Timeout { received: 0 };
    let protocol = ProtocolError::WrongDirection { kind: Kind::Call };
    let table = [
        (
            ConnectionError::from(decode),
            "peer sent a malformed frame",
            Some(decode.to_string()),
        ),
        (goaway(""), "peer closed the connection with code 70", None),
        (
            goaway("too many pings"),
            "peer closed the connection with code 70: too many pings",
            None,
        ),
        (
            ConnectionError::from(handshake),
            "handshake did not complete",
            Some(handshake.to_string()),
        ),
        (
            ConnectionError::from(protocol),
            "peer broke the protocol",
            Some(protocol.to_string()),
        ),
        (
            ConnectionError::Truncated {
                received: 7,
                expected: 16,
            },
            "connection ended after 7 of 16 bytes of a frame",
            None,
        ),
    ];
    for (error, text, source) in table {
        assert_eq!(error.to_string(), text);
        assert_eq!(error.source().map(ToString::to_string), source);
    }
}

#[test]
fn start_errors_have_their_text() {
    let table = [
        (StartError::Closed, "connection is closed"),
        (StartError::Draining, "connection takes no new calls"),
        (StartError::Expired, "deadline has passed"),
        (
            StartError::NotGreeted {
                len: 20_000,
                limit: 16_384,
            },
            "call of 20000 bytes exceeds 16384, the limit until the server has answered",
        ),
        (
            StartError::Saturated { limit: 16 },
            "16 calls are in flight, which is the limit",
        ),
        (
            StartError::TooLarge {
                len: 70_000,
                limit: 65_536,
            },
            "call of 70000 bytes exceeds the server's limit of 65536",
        ),
    ];
    for (error, text) in table {
        assert_eq!(error.to_string(), text);
    }
}

/// P-02
#[test]
fn another_protocol_is_named_where_it_is_known() {
    let text = |byte| {
        HandshakeError::NotRpc {
            offset: 0,
            byte,
            guess: Guess::from_byte(0, byte),
        }
        .to_string()
    };
    assert_eq!(
        text(b'G'),
        "peer speaks another protocol: byte 0 is 47, which looks like HTTP"
    );
    assert_eq!(
        text(0x16),
        "peer speaks another protocol: byte 0 is 16, which looks like TLS"
    );
    assert_eq!(text(0), "peer speaks another protocol: byte 0 is 00");
    assert_eq!(Guess::from_byte(1, b'G'), Guess::Other);
}
