//! A peer that lies: about lengths, kinds, ids, order, time and who it is. Every lie has one exact outcome.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "helpers of tests"
)]

mod support;

use std::time::Duration;

use proptest::prelude::*;
use rpc_core::connection::{ClientConnection, NewCall, ServerConnection, ServerEvent};
use rpc_core::error::{ConnectionError, DecodeError, Guess, HandshakeError, ProtocolError};
use rpc_core::format::ArchiveFormat;
use rpc_core::header::{Flags, FrameHeader, Kind};
use rpc_core::preface::{Preface, Side};
use rpc_core::{CallId, Code, Limits};
use support::pair::METHOD;
use support::script::{Trace, call, call_body, goaway, plain, play, preface, raw};
use support::{Endpoint, call_frame, frame, start};

fn server() -> ServerConnection {
    ServerConnection::new(Limits::default(), start())
}

/// A client with one call in flight: id 0.
fn client() -> ClientConnection {
    let mut client = ClientConnection::new(Limits::default(), start());
    client
        .start_call(&NewCall::of(METHOD), &mut call_frame(b""), start())
        .unwrap();
    client.transmit(usize::MAX);
    client
}

/// What a server makes of frames behind a good preface.
fn server_gets(frames: &[u8]) -> Trace {
    play(
        &mut server(),
        &[&preface(Side::Client), frames].concat(),
        usize::MAX,
        false,
    )
}

/// What a client with one call in flight makes of frames behind a good preface. Its own preface has been sent before.
fn client_gets(frames: &[u8]) -> Trace {
    let mut trace = play(
        &mut client(),
        &[&preface(Side::Server), frames].concat(),
        usize::MAX,
        false,
    );
    trace.sent.splice(0..0, preface(Side::Client));
    trace
}

#[track_caller]
fn assert_refused(trace: &Trace, error: impl Into<ConnectionError>, code: Code) {
    let error = error.into();
    assert_eq!(trace.error.as_ref(), Some(&error));
    let (sent, text) = trace.goaway().unwrap();
    let cause = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
    assert_eq!((sent, text), (code, cause));
}

/// P-02, F1: dropped at the first byte that is wrong, without an answer.
#[test]
fn strangers_are_dropped_without_a_word() {
    let strangers: [(&[u8], Guess); 5] = [
        (b"GET / HTTP/1.1\r\n\r\n", Guess::Http),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Guess::Http),
        (&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01], Guess::Tls),
        (&[0; 64], Guess::Other),
        // A frame where the preface should be (F15).
        (&plain(Kind::Ping, 0), Guess::Other),
    ];
    for (bytes, guess) in strangers {
        for chunk in [1, 2, usize::MAX] {
            let trace = play(&mut server(), bytes, chunk, false);
            let error = HandshakeError::NotRpc {
                offset: 0,
                byte: bytes[0],
                guess,
            };
            assert_eq!(
                trace,
                Trace {
                    events: vec![],
                    error: Some(error.into()),
                    sent: vec![]
                }
            );
            let trace = play(&mut client(), bytes, chunk, false);
            assert_eq!(
                trace,
                Trace {
                    events: vec![],
                    error: Some(error.into()),
                    sent: vec![]
                }
            );
        }
    }
}

/// P-03, P-04, F2: the server says why, the client closes.
#[test]
fn incompatible_peers_are_told_by_the_server_and_left_by_the_client() {
    let incompatible = |side| {
        let ours = Preface::new(side, &Limits::default());
        let theirs = ArchiveFormat(ours.format.0 ^ 1);
        [
            (
                Preface {
                    version: 3,
                    oldest_version: 2,
                    ..ours
                },
                HandshakeError::Version {
                    ours: (1, 1),
                    theirs: (2, 3),
                },
                Code::VERSION,
            ),
            (
                Preface {
                    format: theirs,
                    ..ours
                },
                HandshakeError::Format {
                    ours: ArchiveFormat::CURRENT,
                    theirs,
                },
                Code::FORMAT,
            ),
            (
                Preface {
                    features: 1 << 31,
                    ..ours
                },
                HandshakeError::Feature { required: 1 << 31 },
                Code::FEATURE,
            ),
        ]
    };
    for (preface, error, code) in incompatible(Side::Client) {
        let trace = play(&mut server(), &preface.encode(), usize::MAX, false);
        assert_refused(&trace, error, code);
        assert_eq!(trace.sent[..32], support::script::preface(Side::Server));
    }
    for (preface, error, _) in incompatible(Side::Server) {
        let trace = play(&mut client(), &preface.encode(), usize::MAX, false);
        assert_eq!((trace.error, trace.sent), (Some(error.into()), vec![]));
    }
}

/// P-05: told by both.
#[test]
fn a_preface_that_breaks_the_rules_is_a_protocol_error() {
    let client_says = Preface {
        max_body: 1,
        ..Preface::new(Side::Client, &Limits::default())
    };
    let error = HandshakeError::Limit {
        field: "max body",
        value: 1,
        least: 16_384,
        most: u32::MAX,
    };
    assert_refused(
        &play(&mut server(), &client_says.encode(), usize::MAX, false),
        error,
        Code::PROTOCOL,
    );
    let mut bytes = preface(Side::Server);
    bytes[31] = 1;
    let mut trace = play(&mut client(), &bytes, usize::MAX, false);
    trace.sent.splice(0..0, preface(Side::Client));
    assert_refused(
        &trace,
        HandshakeError::ReservedNotZero { value: 1 },
        Code::PROTOCOL,
    );
}

/// A recorded session, of which every frame is known to be good.
fn session(side: Side) -> Vec<u8> {
    let oneway = FrameHeader {
        flags: Flags::ONEWAY,
        ..FrameHeader::new(Kind::Call, CallId(2))
    };
    let error = FrameHeader {
        flags: Flags::ERROR,
        ..FrameHeader::new(Kind::Reply, CallId(0))
    };
    match side {
        Side::Client => [
            preface(side),
            call(0, &call_body(0, 0, b"abc")),
            call(1, &call_body(5_000, 4, b"\x01\0\0k\0\0\0\0\0\0\0\0\0\0\0\0value")),
            plain(Kind::Ping, 0),
            plain(Kind::Cancel, 1),
            raw(FrameHeader::new(Kind::Extension(200), CallId(7)), b"ignored"),
            raw(oneway, &call_body(0, 0, b"")),
            goaway(Code::OK, 0, "bye"),
        ]
        .concat(),
        Side::Server => [
            preface(side),
            plain(Kind::Ping, 0),
            raw(FrameHeader::new(Kind::Extension(128), CallId(7)), &[1; 40]),
            raw(error, b"method's error"),
            plain(Kind::Pong, 0),
            goaway(Code::DRAINING, 1, "restart"),
        ]
        .concat(),
    }
}

fn play_session(side: Side, bytes: &[u8], chunk: usize, end: bool) -> Trace {
    match side {
        Side::Client => play(&mut server(), bytes, chunk, end),
        Side::Server => play(&mut client(), bytes, chunk, end),
    }
}

/// An event without what is not the peer's doing: the clock.
fn without_time(trace: &Trace) -> Vec<String> {
    let cut = |event: &String| match (event.find("deadline: Some("), event.find(", oneway")) {
        (Some(from), Some(to)) => format!("{}{}", &event[..from], &event[to..]),
        _ => event.clone(),
    };
    trace.events.iter().map(cut).collect()
}

/// P-18, F5
#[test]
fn the_cut_of_a_stream_into_reads_changes_nothing() {
    for side in [Side::Client, Side::Server] {
        let bytes = session(side);
        let whole = play_session(side, &bytes, usize::MAX, true);
        assert_eq!(whole.error, None);
        assert_eq!(
            whole.events.len(),
            if side == Side::Client { 7 } else { 4 },
            "{:?}",
            whole.events
        );
        for chunk in 1..bytes.len() {
            let cut = play_session(side, &bytes, chunk, true);
            assert_eq!(
                (without_time(&cut), &cut.sent),
                (without_time(&whole), &whole.sent)
            );
        }
    }
}

/// P-17, F3, F4: no event but those of whole frames, and an error exactly inside of them.
#[test]
fn a_stream_that_ends_anywhere_yields_the_frames_that_are_whole() {
    for side in [Side::Client, Side::Server] {
        let bytes = session(side);
        let whole = without_time(&play_session(side, &bytes, usize::MAX, true));
        let mut boundaries = vec![32];
        while *boundaries.last().unwrap() < bytes.len() {
            let at = *boundaries.last().unwrap();
            let header = FrameHeader::decode(bytes[at..].first_chunk().unwrap(), u32::MAX).unwrap();
            boundaries.push(at + header.frame_len());
        }
        for len in 0..bytes.len() {
            let trace = play_session(side, &bytes[..len], usize::MAX, true);
            let events = without_time(&trace);
            let Some(at) = boundaries.iter().rev().find(|at| **at <= len) else {
                let expected = match side {
                    Side::Client if len == 0 => None,
                    _ => Some(HandshakeError::Truncated { received: len }.into()),
                };
                assert_eq!(trace.error, expected);
                continue;
            };
            if *at == len {
                assert_eq!(
                    (trace.error, events.last().unwrap().as_str()),
                    (None, "PeerFinished")
                );
            } else {
                assert!(
                    matches!(trace.error, Some(ConnectionError::Truncated { received, expected })
                    if received == len - at && expected > received)
                );
            }
            let events: Vec<_> = events
                .into_iter()
                .filter(|event| event != "PeerFinished")
                .collect();
            assert_eq!(events, whole[..events.len()]);
        }
    }
}

/// P-11, F6: on the header alone.
#[test]
fn a_length_above_the_limit_is_refused_on_the_header_alone() {
    let limit = Limits::default().max_frame;
    for len in [limit + 1, 1 << 31, u32::MAX] {
        let header = FrameHeader {
            body_len: len,
            ..FrameHeader::new(Kind::Call, CallId(0))
        };
        assert_refused(
            &server_gets(&header.encode()),
            DecodeError::FrameTooLarge { len, limit },
            Code::FRAME_TOO_LARGE,
        );
        assert_refused(
            &client_gets(&header.encode()),
            DecodeError::FrameTooLarge { len, limit },
            Code::FRAME_TOO_LARGE,
        );
    }
    let header = FrameHeader {
        body_len: limit,
        ..FrameHeader::new(Kind::Call, CallId(0))
    };
    let mut server = server();
    let trace = play(
        &mut server,
        &[preface(Side::Client), header.encode().to_vec()].concat(),
        usize::MAX,
        false,
    );
    assert_eq!(trace.error, None);
    assert!(
        server.recv_buffer().get_ref().capacity() <= 512 << 10,
        "memory is not taken on the peer's word"
    );
}

/// F16
#[test]
fn a_length_in_the_wrong_byte_order_is_hinted_at() {
    let header = FrameHeader {
        body_len: 48_u32.swap_bytes(),
        ..FrameHeader::new(Kind::Call, CallId(0))
    };
    let (code, text) = server_gets(&header.encode()).goaway().unwrap();
    assert_eq!(code, Code::FRAME_TOO_LARGE);
    assert!(
        text.ends_with("(it would be 48 in the other byte order)"),
        "{text}"
    );
}

/// F15
#[test]
fn a_second_preface_is_refused() {
    let (code, text) = server_gets(&preface(Side::Client)).goaway().unwrap();
    assert_eq!(code, Code::FRAME_TOO_LARGE);
    assert!(text.ends_with("(a second preface?)"), "{text}");
}

/// P-14, F7
#[test]
fn a_body_shorter_than_its_fixed_part_is_refused() {
    for len in 0..16 {
        let error = DecodeError::BodyTooShort {
            kind: Kind::Call,
            len,
            least: 16,
        };
        assert_refused(
            &server_gets(&call(0, &vec![0; len as usize])),
            error,
            Code::PROTOCOL,
        );
    }
}

/// P-12, P-15, P-20, P-33, F11, F14: every kind in both directions.
#[test]
fn every_kind_has_one_outcome_per_role() {
    for number in 0..=255_u8 {
        let Some(kind) = Kind::from_number(number) else {
            let mut bytes = plain(Kind::Ping, 0);
            bytes[4] = number;
            let error = DecodeError::UnknownKind { kind: number };
            assert_refused(&server_gets(&bytes), error, Code::PROTOCOL);
            assert_refused(&client_gets(&bytes), error, Code::PROTOCOL);
            continue;
        };
        let (id, channel) = (CallId(0), 0);
        let wrong = ProtocolError::WrongDirection { kind };
        let (by_server, by_client) = match kind {
            Kind::Call | Kind::Cancel => (None, Some(wrong)),
            Kind::Reply | Kind::Failure => (Some(wrong), None),
            Kind::Item | Kind::End | Kind::Credit | Kind::Stop => {
                let error = Some(ProtocolError::NoSuchChannel {
                    kind,
                    call: id,
                    channel,
                });
                (error, error)
            }
            Kind::Chunk => {
                let error = Some(ProtocolError::ChunkUnexpected { call: id });
                (error, error)
            }
            Kind::Ping | Kind::Pong | Kind::Goaway | Kind::Extension(_) => (None, None),
        };
        for (trace, error) in [
            (server_gets(&plain(kind, 0)), by_server),
            (client_gets(&plain(kind, 0)), by_client),
        ] {
            match error {
                Some(error) => assert_refused(&trace, error, Code::PROTOCOL),
                None => assert_eq!(trace.error, None, "{kind}"),
            }
        }
    }
}

/// P-12: a body of an ignored kind is skipped, its length and padding are not.
#[test]
fn an_ignored_kind_is_ignored_with_its_body() {
    let noise = raw(
        FrameHeader {
            aux: 9,
            ..FrameHeader::new(Kind::Extension(255), CallId(9))
        },
        &[0xff; 1_001],
    );
    let trace = server_gets(&[noise.clone(), plain(Kind::Call, 3)].concat());
    assert_eq!((trace.error, trace.events.len()), (None, 2));
    let mut dirty = noise;
    *dirty.last_mut().unwrap() = 1;
    let error = DecodeError::PaddingNotZero {
        kind: Kind::Extension(255),
    };
    assert_refused(&server_gets(&dirty), error, Code::PROTOCOL);
}

/// P-13, F12: flags that the kind has and the situation has not.
#[test]
fn descriptors_are_refused_where_nobody_offered_them() {
    let with_files = |kind| FrameHeader {
        flags: Flags::DESCRIPTORS,
        channel: 1,
        ..FrameHeader::new(kind, CallId(0))
    };
    let error = ProtocolError::DescriptorsNotOffered { call: CallId(0) };
    assert_refused(
        &server_gets(&raw(with_files(Kind::Call), &[0; 16])),
        error,
        Code::PROTOCOL,
    );
    assert_refused(
        &client_gets(&raw(with_files(Kind::Reply), &[])),
        error,
        Code::PROTOCOL,
    );
}

/// P-31, P3, P16
#[test]
fn a_call_on_a_busy_slot_is_a_protocol_error_and_one_beyond_the_limit_is_refused() {
    let trace = server_gets(&[plain(Kind::Call, 5), plain(Kind::Call, 5)].concat());
    assert_eq!(trace.events.len(), 2);
    assert_refused(
        &trace,
        ProtocolError::CallIdBusy { call: CallId(5) },
        Code::PROTOCOL,
    );
    for id in [1_024, u32::MAX] {
        let trace = server_gets(&[plain(Kind::Call, id), plain(Kind::Call, 1_023)].concat());
        assert_eq!(
            (&trace.error, trace.events.len()),
            (&None, 2),
            "the connection goes on"
        );
        let (header, text) = trace.frames().remove(0);
        let code = Code::from_number(header.aux);
        assert_eq!(
            (header.kind, header.call, code),
            (Kind::Failure, CallId(id), Code::REFUSED)
        );
        let expected = format!("call id {id} is not below the limit of 1024 calls in flight");
        assert_eq!(String::from_utf8(text).unwrap(), expected);
    }
}

/// P-36, F13, F20
#[test]
fn metadata_that_is_too_large_fails_its_call_only() {
    let cases = [
        (8_193, "metadata of 8193 bytes exceeds the limit of 8192"),
        (u16::MAX, "metadata of 65535 bytes exceeds the limit of 8192"),
        (17, "metadata of 17 bytes exceeds its frame"),
        (8_192, "metadata of 8192 bytes exceeds its frame"),
    ];
    for (len, expected) in cases {
        let bytes = [call(0, &call_body(0, len, &[0; 16])), plain(Kind::Call, 0)].concat();
        let trace = server_gets(&bytes);
        assert_eq!(
            (&trace.error, trace.events.len()),
            (&None, 2),
            "the slot is free at once"
        );
        let (header, text) = trace.frames().remove(0);
        assert_eq!(Code::from_number(header.aux), Code::METADATA_TOO_LARGE);
        assert_eq!(String::from_utf8(text).unwrap(), expected);
    }
    let dirty = call(0, &call_body(0, 3, b"key\0\0\0\0\0\0\0\0\0\0\0\0\x01"));
    assert_refused(
        &server_gets(&dirty),
        ProtocolError::MetadataMalformed { call: CallId(0) },
        Code::PROTOCOL,
    );
}

/// P-32, P19: for a slot that was never busy.
#[test]
fn a_cancel_for_nothing_is_ignored() {
    for id in [0, 1_023, 1_024, u32::MAX] {
        let trace = server_gets(&plain(Kind::Cancel, id));
        assert_eq!((trace.error, trace.events.len(), trace.sent.len()), (None, 1, 32));
    }
}

/// P-33: also on a slot that is busy.
#[test]
fn items_on_a_call_without_channels_are_refused() {
    for kind in [Kind::Item, Kind::End, Kind::Credit, Kind::Stop] {
        for id in [3, 4] {
            let call = CallId(id);
            let trace = server_gets(&[plain(Kind::Call, 3), plain(kind, id)].concat());
            assert_refused(
                &trace,
                ProtocolError::NoSuchChannel {
                    kind,
                    call,
                    channel: 0,
                },
                Code::PROTOCOL,
            );
        }
    }
}

/// P-34, P6, P7
#[test]
fn an_answer_to_a_call_that_was_not_made_is_a_protocol_error() {
    for kind in [Kind::Reply, Kind::Failure] {
        for id in [1, 16, u32::MAX] {
            let error = ProtocolError::NotCalled {
                kind,
                call: CallId(id),
            };
            assert_refused(&client_gets(&plain(kind, id)), error, Code::PROTOCOL);
        }
        // The first answer counts, the second has no call.
        let trace = client_gets(&[plain(kind, 0), plain(kind, 0)].concat());
        assert_eq!(trace.events.len(), 2);
        assert_refused(
            &trace,
            ProtocolError::NotCalled {
                kind,
                call: CallId(0),
            },
            Code::PROTOCOL,
        );
    }
}

/// P-40
#[test]
fn metadata_of_a_reply_has_to_be_as_it_is_specified() {
    let header = FrameHeader {
        flags: Flags::METADATA,
        ..FrameHeader::new(Kind::Reply, CallId(0))
    };
    let zeros = [0; 12];
    let bodies: [Vec<u8>; 3] = [
        [&1_u32.to_be_bytes()[..], &zeros].concat(),
        [&u32::MAX.to_be_bytes()[..], &zeros, &[0; 64]].concat(),
        [&0_u32.to_be_bytes()[..], &[0; 11], &[1]].concat(),
    ];
    for body in bodies {
        let error = ProtocolError::MetadataMalformed { call: CallId(0) };
        assert_refused(&client_gets(&raw(header, &body)), error, Code::PROTOCOL);
    }
}

/// P-42
#[test]
fn an_unknown_failure_code_is_kept() {
    let header = FrameHeader {
        aux: 4_711,
        ..FrameHeader::new(Kind::Failure, CallId(0))
    };
    let trace = client_gets(&raw(header, &[b'a', 0xff]));
    assert_eq!(trace.error, None);
    let expected = "Failure { call: CallId(0), code: Code(4711 unknown), text: \"a\u{fffd}\", metadata: {} }";
    assert_eq!(trace.events[1], expected);
}

/// P-51, P28
#[test]
fn a_goaway_may_lower_its_count_and_not_raise_it() {
    let three = |counts: [u64; 3]| counts.map(|taken| goaway(Code::DRAINING, taken, "")).concat();
    let trace = client_gets(&three([7, 7, 0]));
    assert_eq!(trace.error, None);
    assert!(
        trace.events.last().unwrap().starts_with("Refused"),
        "{:?}",
        trace.events
    );
    let trace = client_gets(&three([7, 6, 7]));
    assert_refused(
        &trace,
        ProtocolError::GoawayRaised { taken: 7, before: 6 },
        Code::PROTOCOL,
    );
    assert_refused(
        &server_gets(&three([0, 0, u64::MAX])),
        ProtocolError::GoawayRaised {
            taken: u64::MAX,
            before: 0,
        },
        Code::PROTOCOL,
    );
}

/// P-51: a goaway for a reason is not answered.
#[test]
fn a_goaway_for_a_reason_ends_the_connection_without_an_answer() {
    let trace = server_gets(&[goaway(Code::PROTOCOL, 0, "rude"), plain(Kind::Call, 0)].concat());
    let error = ConnectionError::Goaway {
        code: Code::PROTOCOL,
        text: "rude".into(),
    };
    assert_eq!(
        (trace.error, trace.events.len(), trace.sent.len()),
        (Some(error), 2, 32)
    );
}

/// P-16: nothing is read behind an error, and nothing sent behind the goaway.
#[test]
fn nothing_follows_a_protocol_error() {
    let mut server = server();
    let bytes = [
        preface(Side::Client),
        plain(Kind::Call, 0),
        plain(Kind::Reply, 0),
        plain(Kind::Call, 1),
    ]
    .concat();
    let trace = play(&mut server, &bytes, usize::MAX, false);
    assert_eq!(trace.events.len(), 2);
    server.reply(CallId(0), &mut frame(b"late"), Flags::NONE);
    server.goaway(Code::OK, "late");
    server.ping(1);
    assert!(server.is_finished() && server.send_queue().is_empty());
    assert_eq!(server.poll_event(start()), Ok(None));
}

/// P-35, T1, T2: no time on the wire overflows a clock.
#[test]
fn every_time_on_the_wire_is_a_deadline_or_none() {
    for time_left in [0, 1, u32::MAX] {
        let mut server = server();
        server.receive(&[preface(Side::Client), call(0, &call_body(time_left, 0, b""))].concat());
        let now = start();
        assert_eq!(server.poll_event(now), Ok(Some(ServerEvent::Greeted)));
        let event = server.poll_event(now).unwrap();
        let expected = (time_left > 0).then(|| now + Duration::from_micros(time_left.into()));
        assert!(matches!(event, Some(ServerEvent::Call { deadline, .. }) if deadline == expected));
        assert_eq!(server.deadline(), expected);
    }
}

/// F18: every single-bit flip of a session has a typed outcome, and what is sent stays well-formed.
#[test]
fn every_single_bit_flip_has_a_typed_outcome() {
    for side in [Side::Client, Side::Server] {
        let good = session(side);
        for bit in 0..good.len() * 8 {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            check_mutant(side, &bytes);
        }
    }
}

fn check_mutant(side: Side, bytes: &[u8]) {
    let mut trace = play_session(side, bytes, usize::MAX, true);
    if side == Side::Server {
        trace.sent.splice(0..0, preface(Side::Client));
    }
    // Reads as frames, or as nothing.
    let frames = trace.frames();
    let told = frames
        .iter()
        .filter(|(header, _)| header.kind == Kind::Goaway)
        .count();
    assert!(told <= usize::from(trace.error.is_some()));
    assert!(trace.events.len() <= 16);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// F18
    #[test]
    fn mutated_sessions_have_a_typed_outcome(
        side in prop_oneof![Just(Side::Client), Just(Side::Server)],
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = session(side);
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        check_mutant(side, &bytes);
    }

    /// F1: noise behind a good preface.
    #[test]
    fn noise_has_a_typed_outcome(
        side in prop_oneof![Just(Side::Client), Just(Side::Server)],
        noise in prop::collection::vec(prop_oneof![3 => Just(0_u8), 1 => 0..12_u8, 1 => any::<u8>()], 0..400),
    ) {
        check_mutant(side, &[preface(side), noise].concat());
    }
}
