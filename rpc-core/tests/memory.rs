//! A server's connection that is told that memory is short: it waits, then gives up and refuses what needs memory, and goes on with what does not.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "helpers of tests"
)]

mod support;

use rpc_core::connection::{LIGHT, Pressure, ServerEvent};
use rpc_core::header::{Flags, Kind};
use rpc_core::{CallId, Code};
use support::frame;
use support::host::{Host, end, item};
use support::script::{call, call_body, chunk, chunked, plain, streaming};

const MIB: usize = 1 << 20;

/// The first frame of a call with a body of a mebibyte.
fn begun(id: u32) -> Vec<u8> {
    chunked(
        Kind::Call,
        id,
        u32::try_from(MIB).unwrap(),
        &call_body(0, 0, &[1; 1_000]),
    )
}

fn piece(id: u32, len: usize) -> Vec<u8> {
    chunk(id, &vec![1; len])
}

/// R8: what arrives in chunks counts with the memory that it has, from the beginning to the end of its call.
#[test]
fn memory_is_that_of_bodies_and_of_segments_that_calls_are_in() {
    let mut host = Host::new();
    assert_eq!(host.server.memory(), 0);
    host.gets(&begun(0));
    let first = host.server.memory();
    assert!((1_000..300 << 10).contains(&first), "{first}");
    let rest = MIB - 1_000 - call_body(0, 0, b"").len();
    for _ in 0..rest / 50_000 {
        host.gets(&piece(0, 50_000));
        assert!(host.server.memory() < 2 * MIB);
    }
    host.gets(&piece(0, rest % 50_000));
    assert_eq!(host.events().len(), 1);
    assert_eq!(host.server.memory(), MIB);
    host.fail(0, Code::CANCELLED);
    host.sent();
    assert_eq!(host.server.memory(), 0);
    // A small call that runs keeps all of the segment it is in.
    host.gets(&call(1, &call_body(0, 0, b"arguments")));
    let pinned = host.server.memory();
    assert!(pinned >= 8 << 10, "{pinned}");
    host.fail(1, Code::CANCELLED);
    host.sent();
    assert_eq!(host.server.memory(), 0);
}

/// R8: first reads pause.
#[test]
fn a_connection_that_holds_a_good_deal_pauses_and_a_light_one_does_not() {
    let mut host = Host::new();
    host.server.set_pressure(Pressure::Pause);
    assert!(host.server.wants_read(), "it holds nothing");
    host.gets(&plain(Kind::Call, 5));
    assert_eq!(host.events().len(), 1);
    host.server.set_pressure(Pressure::None);
    host.gets(&begun(0));
    assert!(host.server.memory() > LIGHT && host.server.wants_read());
    host.server.set_pressure(Pressure::Pause);
    assert!(!host.server.wants_read() && host.server.is_full());
    host.server.set_pressure(Pressure::None);
    assert!(host.server.wants_read());
    // So does one that is about to read a long frame.
    let mut host = Host::new();
    let long = call(0, &call_body(0, 0, &[0; 100_000]));
    host.gets(&long[..100]);
    host.server.set_pressure(Pressure::Pause);
    assert!(!host.server.wants_read());
}

/// R8: then calls are refused, whose bodies were incomplete and which would need memory; small ones are taken.
#[test]
fn who_has_waited_gives_up_what_is_incomplete_and_takes_small_calls() {
    let mut host = Host::new();
    host.gets(&[begun(0), begun(1), plain(Kind::Call, 2)].concat());
    host.events();
    host.server.set_pressure(Pressure::Refuse);
    assert_eq!(
        host.sent(),
        [
            (Kind::Failure, 0, Code::REFUSED),
            (Kind::Failure, 1, Code::REFUSED)
        ]
    );
    assert!(host.server.memory() < LIGHT && host.server.wants_read());
    // Told once more, it gives nothing up twice.
    host.server.set_pressure(Pressure::Refuse);
    host.gets(&[piece(0, 50_000), begun(3), plain(Kind::Call, 4), piece(0, 50_000)].concat());
    let taken = host.events();
    assert!(
        matches!(taken.as_slice(), [ServerEvent::Call { call: CallId(4), .. }]),
        "{taken:?}"
    );
    assert_eq!(host.sent(), [(Kind::Failure, 3, Code::REFUSED)]);
    // The segment that the call is in.
    assert!(host.server.memory() < MIB / 2);
    host.server.reply(CallId(2), &mut frame(b"answer"), Flags::NONE);
    host.server.set_pressure(Pressure::None);
    host.gets(&begun(5));
    assert_eq!(host.sent(), [(Kind::Reply, 2, Code::OK)]);
    assert_eq!(host.error, None);
}

/// R8: a call with channels may need what comes next, so its connection reads on; it takes no further calls that need memory.
#[test]
fn beside_streams_calls_are_refused_at_once() {
    let mut host = Host::new();
    host.gets(&streaming(0, 1));
    assert_eq!(host.events().len(), 1);
    assert!(host.server.memory() >= LIGHT, "its credit is promised");
    host.server.set_pressure(Pressure::Pause);
    assert!(host.server.wants_read());
    host.gets(&[begun(1), item(0, 0, 5), streaming(2, 1)].concat());
    assert!(matches!(host.events().as_slice(), [ServerEvent::Channel(_)]));
    assert_eq!(
        host.sent(),
        [
            (Kind::Failure, 1, Code::REFUSED),
            (Kind::Failure, 2, Code::REFUSED)
        ]
    );
    host.gets(&end(0, 0));
    assert_eq!(host.error, None);
}

/// R8: items in chunks go beyond the credit that is counted. Their call has run, so it is stopped, and not refused.
#[test]
fn long_items_are_given_up_with_their_calls() {
    let long = |id| chunked(Kind::Item, id, 1 << 20, &[1; 1_000]);
    for is_under_way in [true, false] {
        let mut host = Host::new();
        host.gets(&streaming(0, 1));
        if is_under_way {
            host.gets(&[long(0), piece(0, 200_000)].concat());
        }
        host.events();
        host.server.set_pressure(Pressure::Refuse);
        if is_under_way {
            host.poll();
        } else {
            host.gets(&long(0));
        }
        let events = host.events();
        assert!(
            matches!(
                events.as_slice(),
                [ServerEvent::Breach {
                    call: CallId(0),
                    code: Code::INTERNAL,
                    ..
                }]
            ),
            "{events:?}"
        );
        host.fail(0, Code::INTERNAL);
        assert_eq!(host.sent(), [(Kind::Failure, 0, Code::INTERNAL)]);
        // What is on its way is dropped.
        host.gets(&[piece(0, 100_000), plain(Kind::Cancel, 0)].concat());
        assert_eq!((host.server.memory(), host.error), (0, None));
    }
}
