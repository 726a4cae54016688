//! Target `client_bytes`: a client's connection, an owner that does anything, and a server that sends anything.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::BytesMut;

use super::input::Input;
use super::server::{MAX_STREAM, anything, limits};
use super::trace::{headers, play, receive, transmit};
use super::{script, start};
use crate::code::Code;
use crate::connection::{ClientConnection, ClientEvent};
use crate::error::{ConnectionError, StartError};
use crate::frame_buf::FrameBuf;
use crate::header::Kind;
use crate::id::{CallId, MethodId};
use crate::limits::Limits;
use crate::preface::{PREFACE_LEN, Side};

/// A byte of settings, then operations; or with the highest bit of the settings a plan of chunks, then what the server sends.
pub(super) fn run(input: &mut Input<'_>) {
    let settings = input.byte();
    let limits = limits(settings);
    if settings & 0x80 != 0 {
        return chunking_does_not_matter(limits, settings, input);
    }
    let mut client = Model::new(limits);
    if settings & 0x40 == 0 {
        client
            .on_the_way
            .extend_from_slice(&script::preface(Side::Server, input));
    }
    while !input.is_empty() && client.received.len() + client.on_the_way.len() < MAX_STREAM {
        client.operate(input);
        client.poll();
        client.check();
    }
    client.finish();
}

/// P-18
fn chunking_does_not_matter(limits: Limits, settings: u8, input: &mut Input<'_>) {
    let plan: Vec<usize> = (0..4).map(|_| input.len()).collect();
    let mut stream = script::preface(Side::Server, input);
    while !input.is_empty() && stream.len() < MAX_STREAM {
        stream.extend(anything(input));
    }
    let now = start();
    let with_calls = || {
        let mut client = ClientConnection::new(limits, now);
        for _ in 0..settings % 16 {
            let started = client.start_call(MethodId(1), &mut FrameBuf::new(), None, false, now);
            assert!(started.is_ok(), "16 calls are guaranteed");
        }
        client
    };
    let cut = play(&mut with_calls(), &stream, &plan, now);
    let whole = play(&mut with_calls(), &stream, &[usize::MAX - 1], now);
    assert_eq!(cut, whole);
}

/// A client's connection, and what its owner and its server know of it.
struct Model {
    connection: ClientConnection,
    limits: Limits,
    now: Instant,
    /// What the server has sent and the connection has not received.
    on_the_way: BytesMut,
    received: Vec<u8>,
    sent: Vec<u8>,
    /// Calls that have not ended for their owner.
    /// Each with the number of calls that were started before it.
    waiting: BTreeMap<CallId, usize>,
    started: usize,
    /// How many of them the server has taken, since it said so.
    taken: u64,
    /// Replies and failures that ended a call for its owner or released its slot.
    finals: usize,
    error: Option<ConnectionError>,
    ended: bool,
    own: u64,
    greeted: bool,
}

impl Model {
    fn new(limits: Limits) -> Self {
        let now = start();
        Self {
            connection: ClientConnection::new(limits, now),
            limits,
            now,
            on_the_way: BytesMut::new(),
            received: Vec::new(),
            sent: Vec::new(),
            waiting: BTreeMap::new(),
            started: 0,
            taken: u64::MAX,
            finals: 0,
            error: None,
            ended: false,
            own: PREFACE_LEN as u64,
            greeted: false,
        }
    }

    fn operate(&mut self, input: &mut Input<'_>) {
        match input.byte() % 16 {
            0..=3 => self.on_the_way.extend_from_slice(&anything(input)),
            4 | 5 => self.deliver(input.len()),
            6 => self.deliver(usize::MAX),
            7..=9 => self.start_call(input),
            10 => {
                let index = input.index(self.waiting.len());
                let call = self.waiting.keys().nth(index).copied().unwrap_or(CallId(3));
                self.waiting.remove(&call);
                self.owner(|connection| connection.cancel(call));
            }
            11 => {
                self.now += Duration::from_micros(u64::from(input.byte()) << 8);
                let now = self.now;
                self.owner(|connection| connection.handle_timeout(now));
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
                let now = self.now;
                self.owner(|connection| connection.handle_timeout(now));
            }
        }
    }

    /// A command that may queue bytes, which the server has no part in.
    fn owner(&mut self, command: impl FnOnce(&mut ClientConnection)) {
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
    }

    fn start_call(&mut self, input: &mut Input<'_>) {
        let len = input.len();
        let mut frame = FrameBuf::new();
        frame.extend(&vec![0xcd; len]);
        let time_left = Duration::from_micros(u64::from(input.byte()) << 10);
        let deadline = (!time_left.is_zero()).then(|| self.now + time_left);
        let has_slot = self.connection.has_free_slot();
        let before = self.connection.send_queue().enqueued();
        match self
            .connection
            .start_call(MethodId(1), &mut frame, deadline, len % 2 == 1, self.now)
        {
            Ok(call) => {
                assert!(has_slot && call.0 < self.limits.max_calls);
                assert_eq!(
                    self.waiting.insert(call, self.started),
                    None,
                    "call {call} waits already"
                );
                self.started += 1;
            }
            Err(error) => {
                assert_eq!(frame.body_len(), len, "the frame is as it was");
                assert!(!matches!(error, StartError::Saturated { .. }) || !has_slot);
            }
        }
        self.own += self.connection.send_queue().enqueued() - before;
    }

    fn poll(&mut self) {
        loop {
            match self.connection.poll_event() {
                Ok(Some(event)) => self.take_event(&event),
                Ok(None) => return,
                Err(error) => {
                    assert_eq!(self.error.replace(error), None, "an error is the last event");
                    assert!(self.connection.is_closing());
                }
            }
        }
    }

    fn take_event(&mut self, event: &ClientEvent) {
        assert_eq!(self.error, None, "an error is the last event");
        match event {
            ClientEvent::Reply { call, body, .. } => {
                assert!(body.is_empty() || body.as_ptr().addr().is_multiple_of(16));
                self.finals += 1;
                self.end(*call);
            }
            ClientEvent::Failure { call, .. } => {
                self.finals += 1;
                self.end(*call);
            }
            ClientEvent::Expired(call) | ClientEvent::Refused(call) => self.end(*call),
            ClientEvent::Released => self.finals += 1,
            ClientEvent::Greeted => {
                assert!(!self.greeted);
                self.greeted = true;
            }
            ClientEvent::Goaway { taken, .. } => self.taken = *taken,
            ClientEvent::Pong(_) => assert!(self.greeted),
            ClientEvent::PeerFinished => assert!(self.ended),
        }
    }

    fn end(&mut self, call: CallId) {
        assert!(self.waiting.remove(&call).is_some(), "call {call} ended twice");
    }

    fn check(&self) {
        let connection = &self.connection;
        let queue = connection.send_queue();
        assert_eq!(connection.waiting(), self.waiting.len());
        assert!(connection.busy() >= connection.waiting());
        // P-51: the owner knows of all calls that were not taken.
        assert!(self.waiting.values().all(|order| (*order as u64) < self.taken));
        assert!(connection.busy() <= self.limits.max_calls as usize);
        assert_eq!(
            self.finals + connection.busy(),
            self.started,
            "a slot is free after its final frame, and only then"
        );
        assert_eq!(queue.transmitted(), self.sent.len() as u64);
        let caused = queue.enqueued() - self.own;
        assert!(
            caused <= self.received.len() as u64 + 512,
            "{caused} bytes for {}",
            self.received.len()
        );
        assert!(connection.deadline().is_none() || !connection.is_closing());
    }

    /// Ends everything, and looks at what the server was sent.
    fn finish(&mut self) {
        self.connection.handle_eof();
        self.ended = true;
        self.poll();
        self.check();
        let orderly = self.error.is_none() && !self.connection.is_closing();
        for (call, _) in self.connection.abandon_all() {
            self.end(call);
        }
        assert!(self.waiting.is_empty(), "every call ends");
        assert_eq!((self.connection.waiting(), self.connection.busy()), (0, 0));
        let sent = transmit(&mut self.connection, usize::MAX);
        self.sent.extend(sent);
        assert!(self.connection.is_finished() && self.connection.send_queue().is_empty());
        let (frames, whole) = headers(&self.sent[PREFACE_LEN..]);
        assert!(whole, "only whole frames are sent");
        let allowed = [Kind::Call, Kind::Cancel, Kind::Ping, Kind::Pong, Kind::Goaway];
        assert!(frames.iter().all(|header| allowed.contains(&header.kind)));
        assert_eq!(
            frames.iter().filter(|header| header.kind == Kind::Call).count(),
            self.started
        );
        if orderly && self.greeted {
            let (answers, whole) = headers(&self.received[PREFACE_LEN..]);
            assert!(whole);
            let finals = answers
                .iter()
                .filter(|header| matches!(header.kind, Kind::Reply | Kind::Failure));
            assert_eq!(
                finals.count(),
                self.finals,
                "every final frame has ended one call"
            );
        }
    }
}
