//! Stories of calls with channels: items, credit, ends, stops. Every story ends with nothing left.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "helpers of tests"
)]

mod support;

use std::time::{Duration, Instant};

use rpc_core::connection::{ChannelSignal, ClientEvent, NewCall, Pressure, Sent, ServerEvent};
use rpc_core::{CallId, Code, Limits, Metadata};
use support::pair::{METHOD, Pair, at_client, at_server, end, failed, item, replied};
use support::{frame, metadata};

const MS: Duration = Duration::from_millis(1);
const WINDOW: usize = 64 << 10;
const PRELUDE: usize = 16;

fn up(pair: &mut Pair, call: CallId, body: &[u8]) {
    pair.client.send_item(call, 0, &mut frame(body), false);
}

fn down(pair: &mut Pair, call: CallId, body: &[u8]) {
    pair.server.send_item(call, 0, &mut frame(body), false);
}

fn end_up(pair: &mut Pair, call: CallId, code: Code) {
    pair.client.end_channel(call, 0, code, &Metadata::new());
}

fn end_down(pair: &mut Pair, call: CallId, code: Code) {
    pair.server.end_channel(call, 0, code, &Metadata::new());
}

/// P-54, P-36: items in both directions, in order, and an end with metadata.
#[test]
fn items_go_both_ways_and_the_end_says_that_they_are_all() {
    let mut pair = Pair::new();
    let call = pair.open(2, 1);
    up(&mut pair, call, b"a");
    pair.client.send_item(call, 1, &mut frame(b"packed"), true);
    up(&mut pair, call, b"b");
    let sum = metadata(&[("sum", b"12")]);
    pair.client.end_channel(call, 0, Code::OK, &sum);
    end_up(&mut pair, call, Code::OK);
    down(&mut pair, call, b"c");
    pair.drive();
    let packed = ChannelSignal::Item {
        body: bytes::Bytes::from_static(b"packed"),
        packed: true,
    };
    let last = ChannelSignal::End {
        code: Code::OK,
        metadata: sum,
    };
    let expected = [(0, item(b"a")), (1, packed), (0, item(b"b")), (0, last)];
    let expected = expected.map(|(channel, what)| at_server(call, channel, what));
    assert_eq!(pair.take_server_events(), expected);
    assert_eq!(pair.take_client_events(), [at_client(call, 0, item(b"c"))]);
    pair.client.end_channel(call, 1, Code::OK, &Metadata::new());
    pair.drive();
    pair.reply(call, b"value");
    pair.drive();
    assert_eq!(pair.take_server_events(), [at_server(call, 1, end(Code::OK))]);
    assert_eq!(pair.take_client_events(), [replied(call, b"value")]);
    pair.assert_idle();
}

/// P-54, P24: each of the combinations of half-closed channels, for as long as one likes.
#[test]
fn a_channel_that_has_ended_does_not_disturb_the_other_direction() {
    for (client_ended, server_ended) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut pair = Pair::new();
        let call = pair.open(1, 1);
        if client_ended {
            end_up(&mut pair, call, Code::OK);
        }
        if server_ended {
            end_down(&mut pair, call, Code::OK);
        }
        pair.drive();
        assert_eq!(pair.take_server_events().len(), usize::from(client_ended));
        assert_eq!(pair.take_client_events().len(), usize::from(server_ended));
        for _ in 0..3 {
            pair.advance(Duration::from_secs(3_600));
            up(&mut pair, call, b"up");
            down(&mut pair, call, b"down");
            pair.drive();
            assert_eq!(pair.take_server_events().len(), usize::from(!client_ended));
            assert_eq!(pair.take_client_events().len(), usize::from(!server_ended));
        }
        pair.reply(call, b"");
        pair.drive();
        assert_eq!(pair.take_client_events(), [replied(call, b"")]);
        pair.assert_idle();
    }
}

/// P-53, R10: credit goes as items go and comes as the receiver grants; one item may exceed it.
#[test]
fn a_grant_lets_exactly_as_much_more_through() {
    let mut pair = Pair::new();
    let call = pair.open(1, 0);
    // 16 bytes of each frame are counted besides.
    up(&mut pair, call, &vec![1; WINDOW - 17]);
    up(&mut pair, call, &vec![2; 1_000]);
    pair.drive();
    assert_eq!(pair.take_server_events().len(), 2, "one byte of credit was left");
    pair.server.grant(call, 0, 1_015);
    pair.server.grant(call, 0, 0);
    pair.drive();
    assert_eq!(
        pair.take_client_events(),
        [at_client(call, 0, ChannelSignal::Credit(1_015))]
    );
    pair.server.grant(call, 0, 1);
    pair.drive();
    assert_eq!(
        pair.take_client_events(),
        [at_client(call, 0, ChannelSignal::Credit(1))]
    );
    up(&mut pair, call, b"again");
    end_up(&mut pair, call, Code::OK);
    pair.drive();
    assert_eq!(pair.take_server_events().len(), 2);
    pair.server.grant(call, 0, 77);
    assert!(pair.server.send_queue().is_empty(), "nobody could use it");
    pair.reply(call, b"");
    pair.drive();
    assert_eq!(pair.take_client_events(), [replied(call, b"")]);
    pair.assert_idle();
}

/// P-06, P-53, P12 (no setting can lower a credit, so none becomes negative by that): the preface raises the credit of channels that were opened before it came; or both would wait for ever.
#[test]
fn a_channel_that_was_opened_before_the_greeting_gets_the_rest_of_its_credit() {
    let mut pair = Pair::with_limits(Limits::default(), Limits::default());
    let new = NewCall {
        sends: 2,
        ..NewCall::of(METHOD)
    };
    let call = pair.start_call(&new, b"").unwrap();
    assert_eq!(pair.client.stream_credit(), 16_384);
    up(&mut pair, call, &[1; 16_384]);
    pair.drive();
    let more = || ChannelSignal::Credit(48 << 10);
    let raised = [at_client(call, 1, more()), at_client(call, 0, more())];
    assert_eq!(
        pair.take_client_events(),
        [vec![ClientEvent::Greeted], raised.to_vec()].concat()
    );
    up(&mut pair, call, &[2; 48 << 10]);
    pair.drive();
    assert_eq!(pair.take_server_events().len(), 4);
    pair.client.cancel(call);
    pair.drive();
    assert_eq!(pair.take_server_events(), [ServerEvent::Cancel(call)]);
    pair.server.fail(call, Code::CANCELLED, "", &Metadata::new());
    pair.drive();
    assert_eq!(pair.take_client_events(), [ClientEvent::Released]);
    pair.assert_idle();
}

/// P-54, C4: whoever drops a receiver says so; the call goes on, and what is under way is dropped by its sender.
#[test]
fn a_stop_ends_a_channel_and_not_the_call() {
    let mut pair = Pair::new();
    let call = pair.open(1, 1);
    pair.client.stop_channel(call, 0);
    pair.server.stop_channel(call, 0);
    down(&mut pair, call, b"crosses the stop");
    pair.drive();
    let stopped = at_server(call, 0, ChannelSignal::Stop);
    assert_eq!(
        pair.take_server_events(),
        [stopped, at_server(call, 0, end(Code::CANCELLED))]
    );
    let expected = [
        ChannelSignal::Stop,
        item(b"crosses the stop"),
        end(Code::CANCELLED),
    ];
    assert_eq!(
        pair.take_client_events(),
        expected.map(|what| at_client(call, 0, what))
    );
    // What comes too late is not sent.
    down(&mut pair, call, b"late");
    end_down(&mut pair, call, Code::OK);
    up(&mut pair, call, b"late");
    end_up(&mut pair, call, Code::OK);
    pair.client.stop_channel(call, 0);
    assert!(pair.client.send_queue().is_empty() && pair.server.send_queue().is_empty());
    pair.reply(call, b"value");
    pair.drive();
    assert_eq!(pair.take_client_events(), [replied(call, b"value")]);
    pair.assert_idle();
}

/// P-33, P2: credit and stop may cross the final frame; the slot is free by then, and they mean nothing.
#[test]
fn credit_and_stop_that_cross_the_final_frame_are_ignored() {
    let mut pair = Pair::new();
    for _ in 0..3 {
        let call = pair.open(0, 1);
        down(&mut pair, call, b"item");
        pair.drive();
        assert_eq!(pair.take_client_events().len(), 1);
        pair.reply(call, b"value");
        pair.client.grant(call, 0, 20);
        pair.client.stop_channel(call, 0);
        pair.drive();
        assert_eq!(pair.take_client_events(), [replied(call, b"value")]);
        pair.assert_idle();
    }
}

/// P-33: likewise if the call was never taken.
#[test]
fn a_stop_that_crosses_a_refusal_is_ignored() {
    let mut pair = Pair::new();
    let new = NewCall {
        receives: 1,
        ..NewCall::of(METHOD)
    };
    let call = pair.start_call(&new, b"").unwrap();
    pair.client.stop_channel(call, 0);
    pair.server.goaway(Code::DRAINING, "");
    pair.drive();
    assert_eq!(pair.take_client_events().len(), 3, "goaway, refused, released");
    pair.assert_idle();
}

/// P-30: a client that gets the answer before it has sent its own last frame says so with a cancel; what crosses it is dropped.
#[test]
fn an_early_answer_ends_what_the_client_sends() {
    let mut pair = Pair::new();
    let call = pair.open(1, 0);
    pair.reply(call, b"enough");
    up(&mut pair, call, &[7; 40_000]);
    pair.transmit();
    pair.deliver_to_server(usize::MAX);
    assert_eq!(pair.take_server_events(), [], "nobody waits for it");
    pair.drive();
    assert_eq!(pair.take_client_events(), [replied(call, b"enough")]);
    assert_eq!(pair.open(1, 0), call, "the slot is free at both ends");
    end_up(&mut pair, call, Code::OK);
    pair.drive();
    assert_eq!(pair.take_server_events(), [at_server(call, 0, end(Code::OK))]);
    pair.reply(call, b"");
    pair.drive();
    assert_eq!(pair.take_client_events(), [replied(call, b"")]);
    pair.assert_idle();
}

/// P-32, P17, P18: at every point of a call with channels the server sees the cancel, and never a clean end.
#[test]
fn a_cancelled_upload_is_never_a_clean_end() {
    for point in 0..6 {
        let mut pair = Pair::new();
        let call = pair.open(1, 1);
        (0..point).for_each(|_| up(&mut pair, call, b"part"));
        if point % 2 == 1 {
            pair.drive();
        }
        if point == 5 {
            end_up(&mut pair, call, Code::OK);
        }
        pair.client.cancel(call);
        pair.drive();
        let events = pair.take_server_events();
        assert_eq!(events.last(), Some(&ServerEvent::Cancel(call)));
        let clean = events
            .iter()
            .any(|event| *event == at_server(call, 0, end(Code::OK)));
        assert_eq!(clean, point == 5, "only what was ended has ended");
        down(&mut pair, call, b"not sent");
        pair.server.fail(call, Code::CANCELLED, "", &Metadata::new());
        pair.drive();
        assert_eq!(pair.take_client_events(), [ClientEvent::Released]);
        pair.assert_idle();
    }
}

/// P-54: a sender that gives up says why, and its receiver is told after what came before.
#[test]
fn an_aborted_channel_says_why() {
    let mut pair = Pair::new();
    let call = pair.open(1, 1);
    up(&mut pair, call, b"part");
    end_up(&mut pair, call, Code::INTERNAL);
    end_down(&mut pair, call, Code::DEADLINE);
    pair.drive();
    let expected = [item(b"part"), end(Code::INTERNAL)].map(|what| at_server(call, 0, what));
    assert_eq!(pair.take_server_events(), expected);
    assert_eq!(
        pair.take_client_events(),
        [at_client(call, 0, end(Code::DEADLINE))]
    );
    pair.server
        .fail(call, Code::INTERNAL, "upload failed", &Metadata::new());
    pair.drive();
    assert_eq!(
        pair.take_client_events(),
        [failed(call, Code::INTERNAL, "upload failed")]
    );
    pair.assert_idle();
}

/// P-35, T8: time runs out in the middle of a stream, at both ends.
#[test]
fn a_deadline_ends_a_call_in_the_middle_of_its_streams() {
    let mut pair = Pair::new();
    let new = NewCall {
        deadline: Some(pair.now + 10 * MS),
        sends: 1,
        receives: 1,
        ..NewCall::of(METHOD)
    };
    let call = pair.start_call(&new, b"").unwrap();
    pair.drive();
    assert_eq!(pair.take_calls(), [call]);
    pair.server.open(call, 1);
    up(&mut pair, call, b"part");
    pair.drive();
    pair.take_server_events();
    pair.advance(10 * MS);
    assert_eq!(
        pair.take_client_events(),
        [ClientEvent::Expired(call, Sent::MaybeSent)]
    );
    assert_eq!(pair.take_server_events(), [ServerEvent::Expire(call)]);
    up(&mut pair, call, b"late");
    down(&mut pair, call, b"late");
    pair.drive();
    assert_eq!(pair.take_server_events(), []);
    pair.server.fail(call, Code::DEADLINE, "", &Metadata::new());
    pair.drive();
    assert_eq!(pair.take_client_events(), [ClientEvent::Released]);
    pair.assert_idle();
}

/// P-52, P-54: a client that is gone has not ended its channels: nobody waits for what cannot come. What it has ended is answered.
#[test]
fn the_end_of_the_clients_bytes_gives_up_calls_that_wait_for_more() {
    let mut pair = Pair::new();
    let open = pair.open(1, 0);
    let ended = pair.open(1, 0);
    end_up(&mut pair, ended, Code::OK);
    pair.drive();
    pair.take_server_events();
    pair.server.handle_eof();
    pair.poll();
    assert_eq!(
        pair.take_server_events(),
        [ServerEvent::Cancel(open), ServerEvent::PeerFinished]
    );
    pair.server.fail(open, Code::CANCELLED, "", &Metadata::new());
    pair.reply(ended, b"value");
    pair.drive();
    assert!(pair.server.is_finished());
    let events = pair.take_client_events();
    assert_eq!(events[1], replied(ended, b"value"));
    assert_eq!((pair.server.in_flight(), pair.server.held()), (0, 0));
}

/// P-53, P30: what has no credit stays with its owner, and nothing else waits for it.
#[test]
fn control_frames_pass_a_channel_without_credit() {
    let mut pair = Pair::new();
    let stuck = pair.open(1, 1);
    up(&mut pair, stuck, &[0; WINDOW]);
    down(&mut pair, stuck, &[0; WINDOW]);
    pair.drive();
    pair.take_server_events();
    pair.take_client_events();
    pair.client.ping(1);
    pair.server.ping(2);
    let other = pair.start(b"other");
    pair.drive();
    pair.reply(other, b"value");
    pair.client.cancel(stuck);
    pair.drive();
    assert_eq!(
        pair.take_server_events()[1..],
        [ServerEvent::Pong(2), ServerEvent::Cancel(stuck)]
    );
    assert_eq!(
        pair.take_client_events(),
        [ClientEvent::Pong(1), replied(other, b"value")]
    );
    pair.server.fail(stuck, Code::CANCELLED, "", &Metadata::new());
    pair.drive();
    assert_eq!(pair.take_client_events(), [ClientEvent::Released]);
    pair.assert_idle();
}

/// P13: credit that a server reserves for its calls comes back with them.
#[test]
fn held_credit_comes_back_with_the_call() {
    let mut pair = Pair::new();
    let calls: Vec<_> = (0..8).map(|_| pair.open(2, 2)).collect();
    assert_eq!(pair.server.held(), 8 * (16 + 2 * WINDOW));
    for (call, index) in calls.into_iter().zip(0..) {
        up(&mut pair, call, &[0; 1_000]);
        match index % 3 {
            0 => pair.reply(call, b""),
            1 => pair.server.fail(call, Code::INTERNAL, "", &Metadata::new()),
            _ => {
                pair.client.cancel(call);
                pair.drive();
                pair.server.fail(call, Code::CANCELLED, "", &Metadata::new());
            }
        }
        pair.drive();
    }
    pair.take_server_events();
    assert_eq!(pair.take_client_events().len(), 8);
    pair.assert_idle();
}

/// What a channel gets in all when it is granted something eight times, one millisecond after the other.
fn widened(now: Instant, mut widen: impl FnMut(Instant) -> u32) -> usize {
    (0..8).map(|count| widen(now + count * MS) as usize).sum()
}

/// R10: longer windows count among what the server's end holds, which leaves three quarters of it for others, and go with their call.
#[test]
fn longer_windows_are_within_a_quarter_of_what_a_server_holds() {
    let limits = Limits {
        // The arguments of the calls count as well.
        max_held: 64 * WINDOW + 4 * 100,
        ..Limits::default()
    };
    let mut pair = Pair::with_limits(Limits::default(), limits);
    let (first, second) = (pair.open(2, 0), pair.open(1, 0));
    let now = pair.now;
    let mut widen = |call, channel| widened(now, |now| pair.server.widen(call, channel, now));
    // There are three windows to begin with. With 7 and 3 more, 13 of 16 are in use: another 4 would be too many, 1 and 2 are not.
    assert_eq!(widen(first, 0), 7 * WINDOW);
    assert_eq!(widen(first, 1), 3 * WINDOW);
    assert_eq!(widen(second, 0), 3 * WINDOW);
    assert_eq!(pair.server.held(), 16 * WINDOW + 2 * PRELUDE);
    finish(&mut pair, first);
    assert_eq!(pair.server.held(), 4 * WINDOW + PRELUDE);
    pair.server.set_pressure(Pressure::Pause);
    assert_eq!(
        widened(now, |now| pair.server.widen(second, 0, now)),
        0,
        "no memory"
    );
    pair.server.set_pressure(Pressure::None);
    assert_eq!(widened(now, |now| pair.server.widen(second, 0, now)), 4 * WINDOW);
    finish(&mut pair, second);
    pair.assert_idle();
}

/// R10: likewise at the client, which counts only by how much windows are longer.
#[test]
fn longer_windows_are_within_a_quarter_of_what_a_client_holds() {
    let limits = Limits {
        max_held: 64 * WINDOW,
        ..Limits::default()
    };
    let mut pair = Pair::with_limits(limits, Limits::default());
    let (first, second) = (pair.open(0, 2), pair.open(0, 1));
    let now = pair.now;
    let mut widen = |call, channel| widened(now, |now| pair.client.widen(call, channel, now));
    assert_eq!([widen(first, 0), widen(first, 1)], [7 * WINDOW; 2]);
    assert_eq!(widen(second, 0), WINDOW, "two steps of sixteen are left");
    finish(&mut pair, first);
    assert_eq!(widened(now, |now| pair.client.widen(second, 0, now)), 6 * WINDOW);
    assert_eq!(
        widened(now, |now| pair.client.widen(first, 0, now)),
        0,
        "it is over"
    );
    finish(&mut pair, second);
    pair.assert_idle();
}

/// Answers a call, and whatever both sides say to that.
fn finish(pair: &mut Pair, call: CallId) {
    pair.reply(call, b"");
    pair.drive();
    assert!(pair.take_client_events().contains(&replied(call, b"")));
    pair.take_server_events();
}
