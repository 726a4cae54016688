//! Stories of a server that goes: nothing that was taken is lost, and nothing is refused that was on its way.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "helpers of tests"
)]

mod support;

use rpc_core::connection::{ClientEvent, NewCall, ServerEvent};
use rpc_core::error::StartError;
use rpc_core::{Code, Limits, Metadata};
use support::pair::{METHOD, Pair, at_server, end, item, replied};

fn goaway(taken: u64, text: &str) -> ClientEvent {
    ClientEvent::Goaway {
        code: Code::DRAINING,
        taken,
        text: text.into(),
    }
}

/// P-51, P27: calls that cross the announcement are taken; none is refused.
#[test]
fn a_drain_in_two_steps_refuses_nobody() {
    let mut pair = Pair::new();
    let before = pair.start(b"before");
    pair.drive();
    pair.take_server_events();
    let crossing = pair.start(b"crosses");
    pair.server.drain("restart");
    pair.server.drain("again");
    assert!(!pair.server.is_drain_told());
    pair.drive();
    assert_eq!(pair.take_calls(), [crossing]);
    assert!(pair.server.is_drain_told(), "the pong has come");
    assert_eq!(
        pair.take_client_events(),
        [goaway(u64::MAX, "restart"), goaway(2, "")]
    );
    let late = pair.start_call(&NewCall::of(METHOD), b"late");
    assert_eq!(late, Err(StartError::Draining));
    assert!(!pair.server.is_finished() && !pair.client.is_finished());
    pair.reply(before, b"1");
    pair.reply(crossing, b"2");
    pair.drive();
    assert_eq!(
        pair.take_client_events(),
        [replied(before, b"1"), replied(crossing, b"2")]
    );
    assert!(pair.server.is_finished() && pair.client.is_finished());
    pair.assert_idle();
}

/// P-51: streams that run go on to their end.
#[test]
fn streams_go_on_while_a_server_drains() {
    let mut pair = Pair::new();
    let call = pair.open(1, 1);
    pair.server.drain("");
    pair.drive();
    assert_eq!(pair.take_client_events().len(), 2);
    pair.client
        .send_item(call, 0, &mut support::frame(b"item"), false);
    pair.client.end_channel(call, 0, Code::OK, &Metadata::new());
    pair.drive();
    let expected = [item(b"item"), end(Code::OK)].map(|what| at_server(call, 0, what));
    assert_eq!(pair.take_server_events(), expected);
    pair.reply(call, b"all");
    pair.drive();
    assert_eq!(pair.take_client_events(), [replied(call, b"all")]);
    assert!(pair.server.is_finished() && pair.client.is_finished());
    pair.assert_idle();
}

/// P-51: whoever does not answer is not waited for; what it sends then has not run.
#[test]
fn a_client_that_does_not_answer_is_told_after_a_while() {
    let mut pair = Pair::new();
    pair.server.finish_drain();
    assert!(
        pair.server.send_queue().is_empty(),
        "without a drain there is nothing to finish"
    );
    pair.server.drain("");
    let slow = pair.start(b"slow");
    pair.server.finish_drain();
    pair.server.finish_drain();
    pair.drive();
    let expected = [goaway(u64::MAX, ""), goaway(0, "")];
    let events = pair.take_client_events();
    assert_eq!(events[..2], expected);
    assert_eq!(events[2..], [ClientEvent::Refused(slow), ClientEvent::Released]);
    assert_eq!(pair.take_server_events(), [], "the late pong says nothing");
    assert!(pair.server.is_finished() && pair.client.is_finished());
    pair.assert_idle();
}

/// P-50: the owner's pings are its own.
#[test]
fn the_ping_of_a_drain_does_not_take_the_place_of_the_owners() {
    let mut pair = Pair::new();
    pair.server.ping(7);
    pair.server.drain("");
    pair.drive();
    assert_eq!(pair.take_server_events(), [ServerEvent::Pong(7)]);
    assert_eq!(pair.take_client_events().len(), 2);
    assert!(pair.server.is_finished() && pair.client.is_finished());
    pair.assert_idle();
}

/// P-51: a server that nobody has greeted owes nothing; one that has seen the magic says goodbye at once.
#[test]
fn a_drain_before_the_greeting_is_over_at_once() {
    let mut pair = Pair::with_limits(Limits::default(), Limits::default());
    pair.server.drain("");
    assert!(pair.server.is_finished());
    let mut pair = Pair::with_limits(Limits::default(), Limits::default());
    pair.transmit();
    pair.deliver_to_server(4);
    pair.server.drain("");
    assert!(pair.server.is_drain_told());
    pair.drive();
    assert_eq!(pair.take_client_events(), [ClientEvent::Greeted, goaway(0, "")]);
    assert!(pair.server.is_finished() && pair.client.is_finished());
}

/// P-20, P-51: a call that is still arriving is one that was taken.
#[test]
fn a_call_that_arrives_in_chunks_is_waited_for() {
    let limits = Limits {
        max_frame: 16_384,
        ..Limits::default()
    };
    let mut pair = Pair::with_limits(limits, limits);
    pair.drive();
    pair.take_client_events();
    pair.take_server_events();
    let call = pair.start(&[1; 60_000]);
    pair.pass_to_server(20_000);
    pair.server.drain("");
    pair.server.finish_drain();
    assert!(!pair.server.is_finished());
    pair.drive();
    assert_eq!(pair.take_client_events(), [goaway(u64::MAX, ""), goaway(1, "")]);
    assert_eq!(pair.take_calls(), [call]);
    pair.reply(call, b"done");
    pair.drive();
    assert_eq!(pair.take_client_events(), [replied(call, b"done")]);
    assert!(pair.server.is_finished() && pair.client.is_finished());
    pair.assert_idle();
}
