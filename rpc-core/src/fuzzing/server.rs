//! Target `server_bytes`: a server's connection, an owner that does anything, and a client that sends anything.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::BytesMut;

use super::input::Input;
use super::trace::{headers, play, receive, transmit};
use super::{script, start};
use crate::code::Code;
use crate::connection::{ServerConnection, ServerEvent};
use crate::error::ConnectionError;
use crate::frame_buf::FrameBuf;
use crate::header::Kind;
use crate::id::CallId;
use crate::limits::Limits;
use crate::preface::{PREFACE_LEN, Side};

/// A byte of settings, then operations; or with the highest bit of the settings a plan of chunks, then what the client sends.
pub(super) fn run(input: &mut Input<'_>) {
    let settings = input.byte();
    let limits = limits(settings);
    if settings & 0x80 != 0 {
        return chunking_does_not_matter(limits, input);
    }
    let mut server = Model::new(limits);
    if settings & 0x40 == 0 {
        server
            .on_the_way
            .extend_from_slice(&script::preface(Side::Client, input));
    }
    while !input.is_empty() && server.received.len() + server.on_the_way.len() < MAX_STREAM {
        server.operate(input);
        server.poll();
        server.check();
    }
    server.finish();
}

pub(super) fn limits(settings: u8) -> Limits {
    let tight = Limits {
        max_body: Limits::GUARANTEED_BODY,
        max_calls: Limits::GUARANTEED_CALLS,
        max_metadata: 64,
        max_held: 40_000,
        ..Limits::default()
    };
    if settings & 1 == 0 {
        tight
    } else {
        Limits::default()
    }
}

/// P-18
fn chunking_does_not_matter(limits: Limits, input: &mut Input<'_>) {
    let plan: Vec<usize> = (0..4).map(|_| input.len()).collect();
    let mut stream = script::preface(Side::Client, input);
    while !input.is_empty() && stream.len() < MAX_STREAM {
        stream.extend(anything(input));
    }
    let now = start();
    let cut = play(&mut ServerConnection::new(limits, now), &stream, &plan, now);
    let whole = play(
        &mut ServerConnection::new(limits, now),
        &stream,
        &[usize::MAX - 1],
        now,
    );
    assert_eq!(cut, whole);
}

/// A frame, or bytes.
pub(super) fn anything(input: &mut Input<'_>) -> Vec<u8> {
    if input.byte() < 0xe0 {
        return script::frame(input);
    }
    let len = input.len();
    input.bytes(len).to_vec()
}

/// A server's connection, and what its owner and its client know of it.
struct Model {
    connection: ServerConnection,
    limits: Limits,
    now: Instant,
    /// What the client has sent and the connection has not received.
    on_the_way: BytesMut,
    received: Vec<u8>,
    sent: Vec<u8>,
    /// Calls that wait for their end, and the length of their bodies.
    running: BTreeMap<CallId, usize>,
    /// Those of them that the owner was asked to stop.
    stopping: BTreeSet<CallId>,
    error: Option<ConnectionError>,
    ended: bool,
    /// Bytes that were queued because the owner wanted it.
    own: u64,
    greeted: bool,
}

impl Model {
    fn new(limits: Limits) -> Self {
        let now = start();
        Self {
            connection: ServerConnection::new(limits, now),
            limits,
            now,
            on_the_way: BytesMut::new(),
            received: Vec::new(),
            sent: Vec::new(),
            running: BTreeMap::new(),
            stopping: BTreeSet::new(),
            error: None,
            ended: false,
            own: 0,
            greeted: false,
        }
    }

    fn operate(&mut self, input: &mut Input<'_>) {
        match input.byte() % 16 {
            0..=3 => self.on_the_way.extend_from_slice(&anything(input)),
            4..=6 => self.deliver(input.len()),
            7 => self.deliver(usize::MAX),
            8 | 9 => self.reply(input),
            10 => self.fail(input),
            11 => {
                self.now += Duration::from_micros(u64::from(input.byte()) << 8);
                self.connection.handle_timeout(self.now);
            }
            12 => {
                let bytes = transmit(&mut self.connection, input.len());
                self.sent.extend(bytes);
            }
            13 => self.owner(|connection| connection.ping(7)),
            14 => match input.byte() {
                small @ 0..128 => self.owner(|connection| {
                    connection.goaway(Code::from_number(small.into()), "the owner wants it");
                }),
                128..192 => self.connection.release_memory(),
                _ => {
                    self.connection.handle_eof();
                    self.ended = true;
                }
            },
            _ => {
                self.now += Duration::from_secs(1);
                self.connection.handle_timeout(self.now);
            }
        }
    }

    /// A command that may queue bytes, which the client has no part in.
    fn owner(&mut self, command: impl FnOnce(&mut ServerConnection)) {
        let before = self.connection.send_queue().enqueued();
        command(&mut self.connection);
        self.own += self.connection.send_queue().enqueued() - before;
    }

    fn deliver(&mut self, limit: usize) {
        if self.ended || !self.connection.wants_read() {
            return;
        }
        let len = receive(&mut self.connection, &self.on_the_way, limit);
        self.received.extend_from_slice(&self.on_the_way.split_to(len));
        self.poll();
        // One read can bring no more than itself and what was incomplete before it.
        let most = self.limits.max_held + len + self.limits.max_body as usize + 64;
        assert!(
            self.running.values().sum::<usize>() <= most,
            "bodies beyond the limit are held"
        );
    }

    fn some_call(&self, input: &mut Input<'_>) -> CallId {
        let index = input.index(self.running.len());
        // Without a call, one that is not running: nothing may come of it.
        self.running.keys().nth(index).copied().unwrap_or(CallId(3))
    }

    fn reply(&mut self, input: &mut Input<'_>) {
        let call = self.some_call(input);
        let mut frame = FrameBuf::new();
        frame.extend(&vec![0xab; input.len()]);
        let error = input.byte() & 1 == 1;
        self.owner(|connection| connection.reply(call, &mut frame, error));
        assert_eq!(frame.body_len(), 0, "the frame is left empty");
        self.end(call);
    }

    fn fail(&mut self, input: &mut Input<'_>) {
        let call = self.some_call(input);
        let code = Code::from_number(input.byte().into());
        let text = "ä".repeat(input.len() % 9_000);
        self.owner(|connection| connection.fail(call, code, &text));
        self.end(call);
    }

    fn end(&mut self, call: CallId) {
        self.running.remove(&call);
        self.stopping.remove(&call);
    }

    fn poll(&mut self) {
        loop {
            match self.connection.poll_event(self.now) {
                Ok(Some(event)) => self.take_event(event),
                Ok(None) => return,
                Err(error) => {
                    assert_eq!(self.error.replace(error), None, "an error is the last event");
                    assert!(self.connection.is_closing());
                }
            }
        }
    }

    fn take_event(&mut self, event: ServerEvent) {
        assert_eq!(self.error, None, "an error is the last event");
        match event {
            ServerEvent::Call {
                call,
                metadata,
                arguments,
                ..
            } => {
                assert!(
                    call.0 < self.limits.max_calls && metadata.len() <= self.limits.max_metadata as usize
                );
                assert!(arguments.is_empty() || arguments.as_ptr().addr().is_multiple_of(16));
                let len = 16 + metadata.len().next_multiple_of(16) + arguments.len();
                assert_eq!(
                    self.running.insert(call, len),
                    None,
                    "call {call} is running already"
                );
            }
            ServerEvent::Cancel(call) | ServerEvent::Expire(call) => {
                assert!(self.running.contains_key(&call), "call {call} is not running");
                assert!(self.stopping.insert(call), "call {call} is being stopped already");
            }
            ServerEvent::Greeted => {
                assert!(!self.greeted);
                self.greeted = true;
            }
            ServerEvent::Goaway { .. } | ServerEvent::Pong(_) => assert!(self.greeted),
            ServerEvent::PeerFinished => assert!(self.ended),
        }
    }

    fn check(&self) {
        let connection = &self.connection;
        let queue = connection.send_queue();
        assert_eq!(connection.in_flight(), self.running.len());
        assert_eq!(
            connection.held(),
            self.running.values().sum::<usize>() + queue.len()
        );
        assert_eq!(queue.transmitted(), self.sent.len() as u64);
        // P-02, and no amplification: a byte of the client is worth at most four, apart from one preface and one goaway.
        let caused = queue.enqueued() - self.own;
        assert!(
            caused <= 4 * self.received.len() as u64 + 1_024,
            "{caused} bytes for {}",
            self.received.len()
        );
        assert!(self.received.len() >= 4 || queue.enqueued() == 0);
        assert!(connection.deadline().is_none() || !connection.is_closing());
    }

    /// Ends everything, and looks at what the client was sent.
    fn finish(&mut self) {
        while let Some((call, _)) = self.running.pop_first() {
            self.connection.fail(call, Code::CANCELLED, "");
        }
        self.connection.handle_eof();
        self.ended = true;
        self.poll();
        assert!(self.running.is_empty(), "no call comes with the end");
        let orderly = self.error.is_none() && !self.connection.is_closing();
        let sent = transmit(&mut self.connection, usize::MAX);
        self.sent.extend(sent);
        assert!(self.connection.is_finished() && self.connection.send_queue().is_empty());
        assert_eq!((self.connection.in_flight(), self.connection.held()), (0, 0));
        let (answers, whole) = headers(self.sent.get(PREFACE_LEN..).unwrap_or_default());
        assert!(whole, "only whole frames are sent");
        let allowed = [Kind::Reply, Kind::Failure, Kind::Ping, Kind::Pong, Kind::Goaway];
        assert!(answers.iter().all(|header| allowed.contains(&header.kind)));
        if orderly && self.greeted {
            // P-43: exactly one final frame for each call frame, also for those that were refused.
            let (calls, whole) = headers(&self.received[PREFACE_LEN..]);
            assert!(whole);
            let mut calls: Vec<_> = calls
                .iter()
                .filter(|header| header.kind == Kind::Call)
                .map(|header| header.call)
                .collect();
            let mut finals: Vec<_> = answers
                .iter()
                .filter(|header| matches!(header.kind, Kind::Reply | Kind::Failure))
                .map(|header| header.call)
                .collect();
            calls.sort_unstable();
            finals.sort_unstable();
            assert_eq!(finals, calls);
        }
    }
}

/// Length of the stream at which operations end.
pub(super) const MAX_STREAM: usize = 1 << 20;
