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
use rpc_core::connection::{ClientEvent, ServerEvent};
use rpc_core::error::StartError;
use rpc_core::{CallId, Code, Limits};
use support::pair::{METHOD, Pair};
use support::{Endpoint, call_frame, frame};

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
                        .reply(call, &mut frame(&vec![9; len]), len % 2 == 0);
                }
            }
            Step::Fail(index) => {
                if let Some(call) = self.stop(&index) {
                    self.pair.server.fail(call, Code::INTERNAL, "oops");
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
        match self
            .pair
            .client
            .start_call(METHOD, &mut call_frame(&vec![mark; len]), deadline, false, now)
        {
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
                | ClientEvent::Expired(call)
                | ClientEvent::Refused(call) => {
                    self.end(call);
                }
                _ => {}
            }
        }
        assert_eq!((&self.pair.client_error, &self.pair.server_error), (&None, &None));
        assert_eq!(self.pair.client.waiting(), self.waiting.len());
        assert_eq!(self.pair.server.in_flight(), self.running.len());
        assert!(self.pair.client.busy() <= 24);
    }

    fn stop_call(&mut self, call: CallId, code: Code) {
        let at = self
            .running
            .iter()
            .position(|running| *running == call)
            .expect("only running calls are stopped");
        self.running.swap_remove(at);
        self.pair.server.fail(call, code, "");
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
