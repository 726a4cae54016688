//! Target `pair`: a client and a server that talk to each other over a slow way, with owners that do anything.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::{Buf as _, Bytes, BytesMut};

use super::input::Input;
use super::start;
use super::trace::{receive, transmit};
use crate::code::Code;
use crate::connection::{ClientConnection, ClientEvent, Sent, ServerConnection, ServerEvent};
use crate::error::StartError;
use crate::frame_buf::FrameBuf;
use crate::id::{CallId, MethodId};
use crate::limits::Limits;

/// A byte of settings, then operations.
pub(super) fn run(input: &mut Input<'_>) {
    let settings = input.byte();
    let mut pair = Pair::new(settings);
    let mut operations = 0;
    while !input.is_empty() && operations < MAX_OPERATIONS && !pair.lost {
        operations += 1;
        pair.operate(input);
        pair.poll();
        pair.check();
    }
    if !pair.lost {
        pair.settle();
    }
    assert!(pair.waiting.is_empty(), "every call ends");
}

/// Both sides, the bytes between them, and what the owners know.
struct Pair {
    client: ClientConnection,
    server: ServerConnection,
    client_now: Instant,
    server_now: Instant,
    to_server: BytesMut,
    to_client: BytesMut,
    /// Calls that the client waits for.
    waiting: BTreeMap<CallId, Call>,
    /// Calls that run at the server, and the mark of their arguments.
    running: BTreeMap<CallId, u8>,
    started: u32,
    max_calls: u32,
    client_finished: bool,
    lost: bool,
    /// Whether a goaway was sent by either side, and by the server.
    draining: bool,
    server_draining: bool,
    /// Calls that have arrived, and how many had when the server said goodbye.
    arrivals: u64,
    taken: Option<u64>,
    /// What the client has heard of that.
    refused_from: u64,
}

/// A call by which the owner recognises what belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Call {
    mark: u8,
    len: usize,
    /// Calls that were started before it.
    order: u64,
    /// Where its frame ends in the client's stream.
    end: u64,
    arrived: bool,
}

impl Pair {
    fn new(settings: u8) -> Self {
        let now = start();
        let max_calls = if settings & 1 == 0 {
            Limits::GUARANTEED_CALLS
        } else {
            24
        };
        let max_body = if settings & 2 == 0 {
            Limits::GUARANTEED_BODY
        } else {
            70_000
        };
        let limits = Limits {
            max_calls,
            max_body,
            max_held: 200_000,
            ..Limits::default()
        };
        Self {
            client: ClientConnection::new(limits, now),
            server: ServerConnection::new(limits, now),
            client_now: now,
            server_now: now,
            to_server: BytesMut::new(),
            to_client: BytesMut::new(),
            waiting: BTreeMap::new(),
            running: BTreeMap::new(),
            started: 0,
            max_calls,
            client_finished: false,
            lost: false,
            draining: false,
            server_draining: false,
            arrivals: 0,
            taken: None,
            refused_from: u64::MAX,
        }
    }

    fn operate(&mut self, input: &mut Input<'_>) {
        match input.byte() % 16 {
            0..=2 => self.start_call(input),
            3 => {
                let call = pick(&self.waiting, input);
                self.waiting.remove(&call);
                self.client.cancel(call);
            }
            4 | 5 => self.reply(input),
            6 => {
                let call = pick(&self.running, input);
                if self.running.remove(&call).is_some() {
                    self.server.fail(call, Code::INTERNAL, "oops");
                }
            }
            7 => self.transmit_client(input.len()),
            8 => self
                .to_client
                .extend_from_slice(&transmit(&mut self.server, input.len())),
            9 | 10 => self.deliver(input.len(), 0),
            11 | 12 => self.deliver(0, input.len()),
            13 => {
                // The two clocks go at their own pace.
                self.client_now += Duration::from_millis(u64::from(input.byte() % 16));
                self.server_now += Duration::from_millis(u64::from(input.byte() % 16));
                self.client.handle_timeout(self.client_now);
                self.server.handle_timeout(self.server_now);
            }
            14 => self.move_all(),
            _ => self.rarely(input.byte()),
        }
    }

    fn rarely(&mut self, what: u8) {
        match what % 8 {
            0 => self.client.ping(what.into()),
            1 => self.server.ping(what.into()),
            2 => {
                self.server.goaway(Code::DRAINING, "");
                self.draining = true;
                self.server_draining = true;
                self.taken.get_or_insert(self.arrivals);
                if self.server.is_closing() {
                    // Nobody has greeted it, so it owes nothing to anybody and closes.
                    self.lose();
                }
            }
            3 => {
                self.client.goaway(Code::OK, "bye");
                self.draining = true;
            }
            4 => self.client.release_memory(),
            5 => self.server.release_memory(),
            6 => self.lose(),
            _ => {
                // P-52: the client sends nothing more, but waits for its answers.
                self.transmit_client(usize::MAX);
                self.client_finished = true;
            }
        }
    }

    fn start_call(&mut self, input: &mut Input<'_>) {
        if self.client_finished {
            return;
        }
        let (len, timeout) = (input.len(), input.byte());
        let deadline = (timeout > 0).then(|| self.client_now + Duration::from_millis(timeout.into()));
        let [mark, ..] = self.started.to_le_bytes();
        let mut frame = FrameBuf::new();
        frame.extend(&[0; 16]);
        frame.extend(&vec![mark; len]);
        let has_slot = self.client.has_free_slot();
        match self
            .client
            .start_call(METHOD, &mut frame, deadline, timeout == 1, self.client_now)
        {
            Ok(call) => {
                assert!(has_slot);
                let new = Call {
                    mark,
                    len,
                    order: self.started.into(),
                    end: self.client.send_queue().enqueued(),
                    arrived: false,
                };
                assert_eq!(
                    self.waiting.insert(call, new),
                    None,
                    "a busy slot is not used again"
                );
                self.started += 1;
            }
            Err(StartError::Saturated { .. }) => assert!(!has_slot),
            Err(StartError::TooLarge { .. } | StartError::NotGreeted { .. }) => assert!(len + 16 > 16_384),
            Err(StartError::Draining) => assert!(self.draining),
            Err(error @ (StartError::Closed | StartError::Expired)) => panic!("{error}"),
        }
    }

    /// The answer says by its bytes whose it is, and by its length whether it is an error.
    fn reply(&mut self, input: &mut Input<'_>) {
        let call = pick(&self.running, input);
        let len = input.len();
        if let Some(mark) = self.running.remove(&call) {
            let mut frame = FrameBuf::new();
            frame.extend(&vec![!mark; len]);
            self.server.reply(call, &mut frame, len % 2 == 1);
        }
    }

    /// The connection breaks: bytes on the way are gone, and what is known of each call has to be right.
    fn lose(&mut self) {
        self.lost = true;
        let transmitted = self.client.send_queue().transmitted();
        for (call, sent) in self.client.abandon_all() {
            let known = self
                .waiting
                .remove(&call)
                .unwrap_or_else(|| panic!("call {call} ended twice"));
            let left = if known.end > transmitted {
                Sent::NotSent
            } else {
                Sent::MaybeSent
            };
            assert_eq!(sent, left);
            assert!(
                !known.arrived || sent == Sent::MaybeSent,
                "call {call} has arrived"
            );
        }
        assert_eq!((self.client.waiting(), self.client.busy()), (0, 0));
    }

    fn transmit_client(&mut self, limit: usize) {
        if !self.client_finished {
            self.to_server
                .extend_from_slice(&transmit(&mut self.client, limit));
        }
    }

    fn deliver(&mut self, to_server: usize, to_client: usize) {
        if to_server > 0 && self.server.wants_read() {
            let len = receive(&mut self.server, &self.to_server, to_server);
            self.to_server.advance(len);
            if self.client_finished && self.to_server.is_empty() {
                self.server.handle_eof();
            }
        }
        if to_client > 0 && self.client.wants_read() {
            let len = receive(&mut self.client, &self.to_client, to_client);
            self.to_client.advance(len);
        }
        self.poll();
    }

    /// Moves everything in both directions until nothing moves.
    fn move_all(&mut self) {
        loop {
            self.transmit_client(usize::MAX);
            self.to_client
                .extend_from_slice(&transmit(&mut self.server, usize::MAX));
            let before = (self.to_server.len(), self.to_client.len());
            self.deliver(usize::MAX, usize::MAX);
            if before == (self.to_server.len(), self.to_client.len()) {
                return;
            }
        }
    }

    fn poll(&mut self) {
        while let Some(event) = self
            .server
            .poll_event(self.server_now)
            .expect("the client keeps the rules")
        {
            self.take_server_event(event);
        }
        while let Some(event) = self.client.poll_event().expect("the server keeps the rules") {
            self.take_client_event(event);
        }
    }

    fn take_server_event(&mut self, event: ServerEvent) {
        match event {
            ServerEvent::Call {
                call,
                method,
                arguments,
                ..
            } => {
                assert_eq!(method, METHOD);
                self.arrivals += 1;
                let mark = arguments.first().copied().unwrap_or_default();
                assert!(arguments.iter().all(|byte| *byte == mark));
                if let Some(known) = self.waiting.get_mut(&call).filter(|known| !known.arrived) {
                    assert_eq!(arguments.len(), known.len);
                    assert!(known.len == 0 || known.mark == mark);
                    known.arrived = true;
                }
                assert_eq!(
                    self.running.insert(call, mark),
                    None,
                    "call {call} is running already"
                );
            }
            // Whoever is asked to stop does it at once.
            ServerEvent::Cancel(call) => self.stop(call, Code::CANCELLED),
            ServerEvent::Expire(call) => self.stop(call, Code::DEADLINE),
            ServerEvent::Greeted
            | ServerEvent::Goaway { .. }
            | ServerEvent::Pong(_)
            | ServerEvent::PeerFinished => {}
        }
    }

    fn stop(&mut self, call: CallId, code: Code) {
        assert!(self.running.remove(&call).is_some(), "call {call} is not running");
        self.server.fail(call, code, "");
    }

    fn take_client_event(&mut self, event: ClientEvent) {
        match event {
            ClientEvent::Reply {
                call, error, body, ..
            } => self.end(call, Some((error, body))),
            ClientEvent::Failure { call, code, .. } => {
                let ran = self.waiting.get(&call).is_some_and(|known| known.arrived);
                assert!(ran || !code.may_have_run(), "call {call} did not arrive");
                self.end(call, None);
            }
            ClientEvent::Expired(call) => self.end(call, None),
            ClientEvent::Refused(call) => {
                assert!(
                    self.waiting.get(&call).is_some_and(|known| !known.arrived),
                    "call {call} has run"
                );
                self.end(call, None);
            }
            ClientEvent::Goaway { taken, .. } => {
                assert_eq!(Some(taken), self.taken, "what the server has taken");
                self.refused_from = taken;
            }
            ClientEvent::Greeted
            | ClientEvent::Released
            | ClientEvent::Pong(_)
            | ClientEvent::PeerFinished => {}
        }
    }

    fn end(&mut self, call: CallId, reply: Option<(bool, Bytes)>) {
        let known = self
            .waiting
            .remove(&call)
            .unwrap_or_else(|| panic!("call {call} ended twice"));
        if let Some((error, body)) = reply {
            assert!(known.arrived && error == (body.len() % 2 == 1));
            let mark = if known.len == 0 { 0 } else { known.mark };
            assert!(
                body.iter().all(|byte| *byte == !mark),
                "call {call} got the answer of another"
            );
        }
    }

    fn check(&self) {
        assert_eq!(self.client.waiting(), self.waiting.len());
        assert_eq!(self.server.in_flight(), self.running.len());
        assert!(self.client.busy() <= self.max_calls as usize);
        // P-51: the owner knows of all calls that were not taken.
        assert!(self.waiting.values().all(|call| call.order < self.refused_from));
    }

    /// Lets everything arrive and answers what runs; then both are idle.
    fn settle(&mut self) {
        self.move_all();
        let mut rounds = 0;
        // Behind its end the client cannot cancel: slots that it gave up may stay busy.
        let released = |pair: &Self| pair.client_finished || pair.client.busy() == 0;
        while !self.waiting.is_empty() || !self.running.is_empty() || !released(self) {
            while let Some((call, mark)) = self.running.pop_first() {
                let mut frame = FrameBuf::new();
                frame.extend(&[!mark; 2]);
                self.server.reply(call, &mut frame, false);
            }
            self.move_all();
            rounds += 1;
            assert!(rounds < 64, "no progress");
        }
        self.check();
        assert_eq!((self.server.in_flight(), self.server.held()), (0, 0));
        assert!(self.to_server.is_empty() && self.to_client.is_empty());
        assert!(!self.server_draining || self.server.is_finished());
        assert!(!self.draining || self.client_finished || self.client.is_finished());
    }
}

/// One of the calls; without any, one that does not exist: nothing may come of it.
fn pick<T>(calls: &BTreeMap<CallId, T>, input: &mut Input<'_>) -> CallId {
    let index = input.index(calls.len());
    calls.keys().nth(index).copied().unwrap_or(CallId(9))
}

const METHOD: MethodId = MethodId(0x1234_5678_9abc_def0);
/// Operations after which everything is brought to its end.
const MAX_OPERATIONS: usize = 2_000;
