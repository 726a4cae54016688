//! Any order of anything: calls end exactly once, and nothing is left.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "helpers of tests"
)]

mod support;

use std::collections::HashMap;
use std::time::Duration;

use proptest::prelude::*;
use rpc_core::connection::{ClientEvent, NewCall, ServerEvent};
use rpc_core::error::StartError;
use rpc_core::header::Flags;
use rpc_core::{CallId, Code, Limits, Metadata};
use support::pair::{METHOD, Pair};
use support::{Endpoint, frame};

#[derive(Clone, Copy, Debug)]
enum Step {
    Start {
        len: usize,
        timeout: Option<u64>,
    },
    Cancel(prop::sample::Index),
    Reply {
        which: prop::sample::Index,
        len: usize,
    },
    Fail(prop::sample::Index),
    Advance(u64),
    /// The client's clock alone is looked at: the server finds out by the cancel.
    AdvanceClient(u64),
    ToServer(usize),
    ToClient(usize),
    Ping(u32),
    Drain,
    Release,
}

fn step() -> impl Strategy<Value = Step> {
    let index = any::<prop::sample::Index>;
    let len = || prop_oneof![6 => 0..100_usize, 1 => 0..40_000_usize];
    prop_oneof![
        8 => (len(), prop::option::of(1..50_u64)).prop_map(|(len, timeout)| Step::Start { len, timeout }),
        3 => index().prop_map(Step::Cancel),
        6 => (index(), len()).prop_map(|(which, len)| Step::Reply { which, len }),
        2 => index().prop_map(Step::Fail),
        2 => (0..20_u64).prop_map(Step::Advance),
        1 => (0..20_u64).prop_map(Step::AdvanceClient),
        8 => (1..500_usize).prop_map(Step::ToServer),
        8 => (1..500_usize).prop_map(Step::ToClient),
        2 => (1..60_000_usize).prop_map(Step::ToServer),
        2 => (1..60_000_usize).prop_map(Step::ToClient),
        1 => any::<u32>().prop_map(Step::Ping),
        1 => Just(Step::Release),
    ]
}

/// A pair, and what its owners know of its calls.
struct Model {
    pair: Pair,
    /// Calls that the client waits for: the arguments' first byte and length by which the server's part is recognised.
    waiting: HashMap<CallId, (u8, usize)>,
    /// Calls that run at the server.
    running: Vec<CallId>,
    started: usize,
    ended: usize,
    draining: bool,
}

impl Model {
    fn new() -> Self {
        let limits = Limits {
            max_calls: 24,
            max_body: 30_000,
            max_frame: 16_384,
            ..Limits::default()
        };
        let pair = Pair::with_limits(limits, limits);
        Self {
            pair,
            waiting: HashMap::new(),
            running: Vec::new(),
            started: 0,
            ended: 0,
            draining: false,
        }
    }

    fn apply(&mut self, step: Step) {
        match step {
            Step::Start { len, timeout } => self.start(len, timeout),
            Step::Cancel(index) => {
                let mut calls: Vec<_> = self.waiting.keys().copied().collect();
                calls.sort();
                if !calls.is_empty() {
                    let call = *index.get(&calls);
                    self.pair.client.cancel(call);
                    self.end(call);
                }
            }
            Step::Reply { which, len } => {
                if let Some(call) = self.stop(&which) {
                    self.pair
                        .server
                        .reply(call, &mut frame(&vec![9; len]), error_flag(len));
                }
            }
            Step::Fail(index) => {
                if let Some(call) = self.stop(&index) {
                    self.pair
                        .server
                        .fail(call, Code::INTERNAL, "oops", &Metadata::new());
                }
            }
            Step::Advance(time) => self.pair.advance(Duration::from_millis(time)),
            Step::AdvanceClient(time) => {
                self.pair.now += Duration::from_millis(time);
                self.pair.client.handle_timeout(self.pair.now);
            }
            Step::ToServer(len) => {
                let bytes = self.pair.client.transmit(len);
                self.pair.to_server.extend(bytes);
                self.pair.deliver_to_server(len);
            }
            Step::ToClient(len) => {
                let bytes = self.pair.server.transmit(len);
                self.pair.to_client.extend(bytes);
                self.pair.deliver_to_client(len);
            }
            Step::Ping(number) => {
                self.pair.client.ping(number);
                self.pair.server.ping(number);
            }
            Step::Drain => {
                self.pair.server.goaway(Code::DRAINING, "");
                self.draining |= !self.pair.server.is_closing();
            }
            Step::Release => {
                self.pair.client.release_memory();
                self.pair.server.release_memory();
            }
        }
        self.pair.poll();
        self.look();
    }

    fn start(&mut self, len: usize, timeout: Option<u64>) {
        let now = self.pair.now;
        let deadline = timeout.map(|timeout| now + Duration::from_millis(timeout));
        let mark = u8::try_from(self.started % 251).unwrap();
        let has_slot = self.pair.client.has_free_slot();
        let new = NewCall {
            deadline,
            ..NewCall::of(METHOD)
        };
        match self.pair.start_call(&new, &vec![mark; len]) {
            Ok(call) => {
                assert!(has_slot);
                assert_eq!(
                    self.waiting.insert(call, (mark, len)),
                    None,
                    "a busy slot is not used again"
                );
                self.started += 1;
            }
            Err(StartError::Saturated { .. }) => assert!(!has_slot),
            Err(StartError::TooLarge { .. } | StartError::NotGreeted { .. }) => assert!(len > 16_000),
            Err(StartError::Draining) => assert!(self.draining),
            Err(error) => panic!("{error}"),
        }
    }

    fn stop(&mut self, index: &prop::sample::Index) -> Option<CallId> {
        let len = self.running.len();
        (len > 0).then(|| self.running.swap_remove(index.index(len)))
    }

    fn end(&mut self, call: CallId) {
        assert!(self.waiting.remove(&call).is_some(), "call {call} ended twice");
        self.ended += 1;
    }

    fn look(&mut self) {
        for event in self.pair.take_server_events() {
            match event {
                ServerEvent::Call { call, arguments, .. } => {
                    assert!(!self.running.contains(&call));
                    if let Some((mark, len)) = self.waiting.get(&call) {
                        assert_eq!(
                            (arguments.len(), arguments.iter().all(|byte| byte == mark)),
                            (*len, true)
                        );
                    }
                    self.running.push(call);
                }
                // Whoever is asked to stop does it at once.
                ServerEvent::Cancel(call) => self.stop_call(call, Code::CANCELLED),
                ServerEvent::Expire(call) => self.stop_call(call, Code::DEADLINE),
                _ => {}
            }
        }
        for event in self.pair.take_client_events() {
            match event {
                ClientEvent::Reply {
                    call, error, body, ..
                } => {
                    assert_eq!(
                        (body.len() % 2 == 0, body.iter().all(|byte| *byte == 9)),
                        (error, true)
                    );
                    self.end(call);
                }
                ClientEvent::Failure { call, .. }
                | ClientEvent::Expired(call, _)
                | ClientEvent::Refused(call) => {
                    self.end(call);
                }
                _ => {}
            }
        }
        assert_eq!((&self.pair.client_error, &self.pair.server_error), (&None, &None));
        assert_eq!(self.pair.client.waiting(), self.waiting.len());
        // Calls whose bodies are incomplete are in flight, too.
        assert!(self.pair.server.in_flight() >= self.running.len());
        assert!(self.pair.client.busy() <= 24);
    }

    fn stop_call(&mut self, call: CallId, code: Code) {
        let at = self
            .running
            .iter()
            .position(|running| *running == call)
            .expect("only running calls are stopped");
        self.running.swap_remove(at);
        self.pair.server.fail(call, code, "", &Metadata::new());
    }

    /// Lets everything arrive and answers what runs.
    fn settle(&mut self) {
        while self.started > self.ended || self.pair.client.busy() > 0 || !self.running.is_empty() {
            let before = (self.ended, self.pair.client.busy(), self.running.len());
            self.pair.drive();
            self.look();
            while let Some(call) = self.running.pop() {
                self.pair.reply(call, &[9]);
            }
            self.pair.drive();
            self.look();
            assert_ne!(
                before,
                (self.ended, self.pair.client.busy(), self.running.len()),
                "no progress"
            );
        }
        self.pair.drive();
        self.look();
    }
}

fn error_flag(len: usize) -> Flags {
    if len.is_multiple_of(2) {
        Flags::ERROR
    } else {
        Flags::NONE
    }
}

/// One operation of the model in `rpc_core::fuzzing`, which knows of channels, as the bytes by which that is told.
fn operation() -> impl Strategy<Value = Vec<u8>> {
    let byte = any::<u8>;
    // Mostly short, sometimes longer than one frame.
    let len = || prop_oneof![6 => 0..128_u8, 2 => 128..240_u8, 2 => 240..=255_u8];
    let timeout = prop_oneof![6 => Just(0_u8), 1 => Just(1_u8), 2 => 2..60_u8];
    prop_oneof![
        6 => (len(), timeout, byte()).prop_map(|(len, timeout, shape)| vec![0, len, timeout, shape]),
        2 => byte().prop_map(|call| vec![3, call]),
        3 => (byte(), len()).prop_map(|(call, len)| vec![4, call, len]),
        1 => byte().prop_map(|call| vec![6, call]),
        8 => (prop_oneof![Just(7_u8), Just(8), Just(9), Just(11)], len()).prop_map(|(what, len)| vec![what, len]),
        1 => (byte(), byte()).prop_map(|(client, server)| vec![13, client, server]),
        2 => Just(vec![14]),
        12 => (16..24_u8, byte(), byte(), len()).prop_map(|(what, call, channel, len)| vec![what, call, channel, len]),
    ]
}

/// Pings, memory, and the steps of a drain; neither a loss nor a half-closed connection.
fn rare() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(0_u8),
        Just(1),
        Just(2),
        Just(3),
        Just(4),
        Just(5),
        Just(8),
        Just(8),
        Just(9)
    ]
    .prop_map(|what| vec![15, what])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// P-20, P-30, P-33, P-43, P-53, P-54, P13: items arrive in order, unchanged, within credit, and none behind the end; every call ends once; then nothing is held.
    #[test]
    fn channels_and_chunks_keep_their_promises(
        settings in 0..8_u8,
        operations in prop::collection::vec(operation(), 1..250),
    ) {
        rpc_core::fuzzing::pair(&[vec![settings], operations.concat()].concat());
    }

    /// P-51, P-52, P-17: likewise around a drain, a half-close and a loss.
    #[test]
    fn channels_and_chunks_come_to_an_end_with_the_connection(
        settings in 0..8_u8,
        before in prop::collection::vec(operation(), 1..80),
        end in prop_oneof![4 => rare(), 1 => Just(vec![15, 6]), 2 => Just(vec![15, 7])],
        after in prop::collection::vec(prop_oneof![8 => operation(), 1 => rare()], 0..80),
    ) {
        rpc_core::fuzzing::pair(&[vec![settings, 14], before.concat(), end, after.concat()].concat());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// P-30, P-43
    #[test]
    fn any_operations_end_idle_with_every_call_ended_once(steps in prop::collection::vec(step(), 1..120)) {
        let mut model = Model::new();
        for step in steps {
            model.apply(step);
        }
        model.settle();
        prop_assert_eq!(model.ended, model.started);
        model.pair.assert_idle();
    }

    /// P-51
    #[test]
    fn any_operations_around_a_drain_end_finished(
        before in prop::collection::vec(step(), 10..60),
        after in prop::collection::vec(step(), 0..60),
    ) {
        let mut model = Model::new();
        model.pair.drive();
        model.look();
        for step in before.into_iter().chain([Step::Drain]).chain(after) {
            model.apply(step);
        }
        model.settle();
        prop_assert_eq!(model.ended, model.started);
        prop_assert!(model.pair.client.is_finished() && model.pair.server.is_finished());
        model.pair.assert_idle();
    }

    /// P-17: a connection that is lost anywhere ends every call once, and "not sent" is never said of a call that arrived.
    #[test]
    fn a_connection_that_is_lost_ends_every_call(steps in prop::collection::vec(step(), 1..80)) {
        let mut model = Model::new();
        let mut arrived = Vec::new();
        for step in steps {
            model.apply(step);
            arrived.extend(model.running.iter().copied().filter(|call| model.waiting.contains_key(call)));
            arrived.retain(|call| model.waiting.contains_key(call));
        }
        let ends: Vec<_> = model.pair.client.abandon_all().collect();
        for (call, sent) in ends {
            prop_assert!(sent == rpc_core::connection::Sent::MaybeSent || !arrived.contains(&call));
            model.end(call);
        }
        prop_assert_eq!(model.ended, model.started);
        prop_assert_eq!((model.pair.client.waiting(), model.pair.client.busy()), (0, 0));
    }
}
