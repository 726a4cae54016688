//! Peers that only cost: each comes to an end with goaway `calm`, and honest ones do not.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "helpers of tests"
)]

mod support;

use rpc_core::connection::ServerEvent;
use rpc_core::header::{Flags, FrameHeader, Kind};
use rpc_core::{CallId, Code, Limits};
use support::frame;
use support::host::{Host, item};
use support::script::{call, call_body, on_channel, plain, raw, streaming};

/// P-56, P14: calls given up as soon as they are made, as fast as they stop: 1,000 are borne, and no more. What was answered pays for as many.
#[test]
fn a_flood_of_cancels_ends_the_connection() {
    let mut host = Host::new();
    let answered = [plain(Kind::Call, 0)].concat();
    for _ in 0..3_000 {
        host.gets(&answered);
        host.server.reply(CallId(0), &mut frame(b""), Flags::NONE);
        host.sent();
    }
    let mut calls = 0;
    while host.error.is_none() {
        host.gets(&[plain(Kind::Call, 0), plain(Kind::Cancel, 0)].concat());
        assert_eq!(
            host.server.in_flight(),
            usize::from(host.error.is_none() || calls == 1_024)
        );
        // Quick handlers answer all the same; that pays for nothing.
        if calls % 2 == 0 {
            host.fail(0, Code::CANCELLED);
        } else {
            host.server.reply(CallId(0), &mut frame(b""), Flags::NONE);
        }
        host.sent_if_open();
        calls += 1;
    }
    assert_eq!(calls, 1_025, "as many as may be in flight, and one");
    host.assert_calm("too many calls given up");
}

/// P-56: a client whose calls all run out of time is honest, whichever clock rings first.
#[test]
fn calls_whose_time_is_over_may_be_given_up_for_ever() {
    let mut host = Host::new();
    for number in 0..5_000 {
        let timed = call(0, &call_body(1_000, 0, b""));
        host.gets(&timed);
        if number % 2 == 0 {
            // The server's clock rings, and the cancel crosses its failure.
            host.server
                .handle_timeout(host.now + std::time::Duration::from_millis(1));
            assert_eq!(host.server.poll_expired(), Some(CallId(0)));
            host.fail(0, Code::DEADLINE);
            host.gets(&plain(Kind::Cancel, 0));
        } else {
            host.gets(&plain(Kind::Cancel, 0));
            host.fail(0, Code::CANCELLED);
        }
        host.sent();
        assert!(host.error.is_none(), "{number}");
    }
}

/// The frames of a flood, how many of them are borne, and what is said then.
type Flood<'a> = (&'a dyn Fn(u32) -> Vec<u8>, u32, &'a str);

/// P-56, P15, P16, P19, P20, P21, F8, F9: whatever costs and brings nothing comes to an end, also if the peer never reads.
#[test]
fn floods_end_with_calm() {
    let ping = |_| plain(Kind::Ping, 0);
    let unknown = |_| raw(FrameHeader::new(Kind::Extension(200), CallId(0)), b"");
    let refused = |id| plain(Kind::Call, 2_000 + id);
    let cancels = |id| plain(Kind::Cancel, id);
    let too_much = |_| call(0, &call_body(0, 9_000, &[0; 64]));
    let table: [Flood<'_>; 5] = [
        (&ping, 102, "too many pings"),
        (&unknown, 102, "too many frames of unknown kinds"),
        (&refused, 102, "too many calls above the limits"),
        (&cancels, 1_024, "too many calls given up"),
        (&too_much, 102, "too many calls above the limits"),
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
        assert_eq!(host.endures(|_| item(0, 0, len)), 101);
        host.assert_calm("too many frames on channels that do not allow them");
    }
}

/// P-56, P11: grants of a few bytes cost; those worth their frame do not.
#[test]
fn a_flood_of_small_grants_ends_the_connection_and_large_ones_do_not() {
    for (bytes, endured) in [(1, 1_024), (255, 1_024), (256, 99_999)] {
        let mut host = Host::new();
        host.opens = 1;
        host.gets(&plain(Kind::Call, 0));
        assert_eq!(
            host.endures(|_| on_channel(Kind::Credit, 0, 0, bytes, b"")),
            endured
        );
    }
}

/// P-56, F10: an honest client that streams small items, and gives up as many calls as are answered, is never told to be calm, however long it goes on.
#[test]
fn an_honest_client_is_borne_for_ever() {
    let mut host = Host::new();
    host.opens = 1;
    host.gets(&streaming(0, 1));
    for round in 0..20_000_u32 {
        host.gets(&item(0, 0, 1));
        host.server.grant(CallId(0), 0, 17);
        host.gets(&on_channel(Kind::Credit, 0, 0, 256, b""));
        host.gets(&[plain(Kind::Call, 1), plain(Kind::Call, 2), plain(Kind::Cancel, 2)].concat());
        host.server.reply(CallId(1), &mut frame(b""), Flags::NONE);
        // Both cross the answer.
        host.gets(&[plain(Kind::Stop, 1), on_channel(Kind::Credit, 1, 0, 256, b"")].concat());
        host.fail(2, Code::CANCELLED);
        host.sent();
        host.events();
        assert_eq!(host.error, None, "round {round}");
    }
}

/// P-31, P-56, R8, R11, P10 (a connection has no window of its own; what it may hold is bounded by this): channels are held with all of their credit, so streams that hold little data are few; beyond that calls are refused, and in the end the connection goes.
#[test]
fn streams_beyond_what_may_be_held_are_refused_and_then_end_the_connection() {
    let limits = Limits {
        max_calls: 2_000,
        ..Limits::default()
    };
    let mut host = Host::with_limits(limits);
    let mut taken = 0;
    let endured = host.endures(|id| streaming(id, 16));
    for event in host.events() {
        taken += usize::from(matches!(event, ServerEvent::Call { .. }));
    }
    assert_eq!(taken, 63, "each takes a mebibyte, and a little for its body");
    // One point each, and ten for each of the few whose ids are above the limit.
    assert_eq!(endured, 63 + 1_937 + 6);
    assert!(host.server.held() < limits.max_held + (256 << 10));
    host.assert_calm("too many calls above the limits");
}

/// P-51, P15: refusals behind a goaway are free as long as they are read; they do not pile up for a client that reads nothing.
#[test]
fn calls_behind_a_goaway_cannot_fill_the_queue() {
    let limits = Limits {
        max_body: 16_384,
        max_held: 200_000,
        ..Limits::default()
    };
    for reads in [true, false] {
        let mut host = Host::with_limits(limits);
        host.gets(&streaming(0, 1));
        host.server.goaway(Code::DRAINING, "");
        let mut refused = 0;
        while host.error.is_none() && refused < 5_000 {
            host.gets(&plain(Kind::Call, 1));
            assert!(host.server.held() < 250_000);
            refused += 1;
            if reads {
                host.sent_if_open();
            }
        }
        assert_eq!(host.error.is_none(), reads);
    }
}
