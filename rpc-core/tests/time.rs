//! Clocks and races: what time does to calls, in whichever order things happen.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "helpers of tests"
)]

mod support;

use std::time::Duration;

use rpc_core::connection::{ClientConnection, ClientEvent, NewCall, Sent, ServerConnection, ServerEvent};
use rpc_core::{Code, Limits, Metadata};
use support::pair::{METHOD, Pair, replied};
use support::{Endpoint, call_frame, start};

const MS: Duration = Duration::from_millis(1);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// T3, P-35: time travels as what is left, so clocks that are a day apart do not matter.
#[test]
fn clocks_that_differ_by_a_day_agree_on_what_is_left() {
    let now = start() + 2 * DAY;
    for server_now in [now - DAY, now + DAY] {
        let mut client = ClientConnection::new(Limits::default(), now);
        let mut server = ServerConnection::new(Limits::default(), server_now);
        let new = NewCall {
            deadline: Some(now + 250 * MS),
            ..NewCall::of(METHOD)
        };
        client.start_call(&new, &mut call_frame(b""), now).unwrap();
        let sent = client.transmit(usize::MAX);
        assert_eq!(server.receive(&sent), sent.len());
        assert_eq!(server.poll_event(server_now), Ok(Some(ServerEvent::Greeted)));
        let Ok(Some(ServerEvent::Call { call, deadline, .. })) = server.poll_event(server_now) else {
            panic!("no call")
        };
        assert_eq!(deadline, Some(server_now + 250 * MS));
        server.handle_timeout(server_now + 249 * MS);
        assert_eq!(server.poll_expired(), None);
        server.handle_timeout(server_now + 250 * MS);
        assert_eq!(server.poll_expired(), Some(call));
    }
}

/// What can happen to a call whose method returns at the moment its time is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The server's clock rings; its owner stops the handler and says so.
    ServerRings,
    /// The client's clock rings.
    ClientRings,
    /// The method returns, if it still runs.
    Returns,
    /// What is on its way arrives.
    ToServer,
    ToClient,
}

/// T4: every order of completion, both clocks and what is on its way: the caller gets exactly one result, and nothing is left.
#[test]
fn expiry_races_completion_in_every_order() {
    use Step::{ClientRings, Returns, ServerRings, ToClient, ToServer};
    let mut orders = 0;
    permute(
        &mut vec![ServerRings, ClientRings, Returns, ToServer, ToClient, ToClient],
        0,
        &mut |order| {
            race(order);
            orders += 1;
        },
    );
    assert_eq!(orders, 720);
}

fn race(order: &[Step]) {
    let mut pair = Pair::new();
    let call = pair.start_within(b"", Some(10 * MS));
    pair.drive();
    assert_eq!(pair.take_calls(), [call]);
    pair.now += 10 * MS;
    for step in order {
        match step {
            Step::ServerRings => {
                pair.server.handle_timeout(pair.now);
                if let Some(call) = pair.server.poll_expired() {
                    pair.server.fail(call, Code::DEADLINE, "", &Metadata::new());
                }
            }
            Step::ClientRings => {
                pair.client.handle_timeout(pair.now);
                pair.poll();
            }
            Step::Returns => pair.reply(call, b"value"),
            Step::ToServer => {
                pair.transmit();
                while pair.deliver_to_server(usize::MAX) > 0 {}
            }
            Step::ToClient => {
                pair.transmit();
                while pair.deliver_to_client(usize::MAX) > 0 {}
            }
        }
        // A cancel that arrives while the method runs stops it.
        for event in pair.take_server_events() {
            if event == ServerEvent::Cancel(call) {
                pair.server.fail(call, Code::CANCELLED, "", &Metadata::new());
            }
        }
    }
    pair.drive();
    for event in pair.take_server_events() {
        assert_eq!(event, ServerEvent::Cancel(call), "{order:?}");
        pair.server.fail(call, Code::CANCELLED, "", &Metadata::new());
    }
    pair.drive();
    let results = pair.take_client_events();
    let results: Vec<_> = results
        .iter()
        .filter(|event| **event != ClientEvent::Released)
        .collect();
    let [result] = results.as_slice() else {
        panic!("{order:?}: {results:?}")
    };
    let is_one_of_three = **result == replied(call, b"value")
        || **result == ClientEvent::Expired(call, Sent::MaybeSent)
        || matches!(
            result,
            ClientEvent::Failure {
                code: Code::DEADLINE,
                ..
            }
        );
    assert!(is_one_of_three, "{order:?}: {result:?}");
    pair.assert_idle();
}

fn permute(steps: &mut Vec<Step>, fixed: usize, visit: &mut impl FnMut(&[Step])) {
    if fixed == steps.len() {
        return visit(steps);
    }
    for other in fixed..steps.len() {
        steps.swap(fixed, other);
        permute(steps, fixed + 1, visit);
        steps.swap(fixed, other);
    }
}

/// P5, P-30: ids are slots that are used again, so a connection never comes to the end of them.
#[test]
fn ids_never_run_out() {
    let mut pair = Pair::new();
    for _ in 0..100_000 {
        let call = pair.start(b"");
        assert_eq!(call.0, 0);
        pair.drive();
        assert_eq!(pair.take_calls(), [call]);
        pair.reply(call, b"value");
        pair.drive();
        assert_eq!(pair.take_client_events(), [replied(call, b"value")]);
    }
    pair.assert_idle();
}
