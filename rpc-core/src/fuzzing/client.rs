//! Target `client_bytes`: a client's connection, an owner that does anything, and a server that sends anything.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::BytesMut;

use super::credit::{Credit, item_cost};
use super::input::Input;
use super::server::{MAX_STREAM, anything, finals, limits, number, total, with_chunks};
use super::trace::{headers, play, receive, transmit};
use super::{script, start};
use crate::code::Code;
use crate::connection::{ChannelEvent, ClientConnection, ClientEvent, NewCall};
use crate::error::{ConnectionError, StartError};
use crate::frame_buf::FrameBuf;
use crate::header::Kind;
use crate::id::{CallId, MethodId};
use crate::limits::Limits;
use crate::metadata::Metadata;
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
            let started = client.start_call(&with_channels(settings), &mut FrameBuf::new(), now);
            assert!(started.is_ok(), "16 calls are guaranteed");
        }
        client
    };
    let cut = play(&mut with_calls(), &stream, &plan, now);
    let whole = play(&mut with_calls(), &stream, &[usize::MAX - 1], now);
    assert_eq!(cut, whole);
}

/// A call that has some channels.
fn with_channels(byte: u8) -> NewCall<'static> {
    NewCall {
        sends: u16::from(byte / 16 % 2),
        receives: u16::from(byte / 32 % 3),
        ..NewCall::of(MethodId(1))
    }
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
    waiting: BTreeMap<CallId, Credit>,
    started: usize,
    /// How many calls the server has taken, since it said so.
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
        match input.byte() % 20 {
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
            16 => self.send_item(input),
            17 => self.end_channel(input),
            18 => self.receive_on(input),
            _ => {
                self.now += Duration::from_secs(1);
                let now = self.now;
                self.owner(|connection| connection.handle_timeout(now));
            }
        }
    }

    /// A command that may queue bytes, which the server has no part in.
    fn owner(&mut self, command: impl FnOnce(&mut ClientConnection)) {
        let before = total(self.connection.send_queue());
        command(&mut self.connection);
        self.own += with_chunks(total(self.connection.send_queue()).saturating_sub(before));
    }

    fn some_channel(&self, input: &mut Input<'_>) -> (CallId, usize) {
        let index = input.index(self.waiting.len());
        let call = self.waiting.keys().nth(index).copied().unwrap_or(CallId(3));
        (call, usize::from(input.byte() % 2))
    }

    fn send_item(&mut self, input: &mut Input<'_>) {
        let (call, channel) = self.some_channel(input);
        let most = self.connection.max_body() as usize;
        let len = input.len().min(most);
        let credit = self
            .waiting
            .get_mut(&call)
            .and_then(|call| call.outbound.get_mut(channel));
        if let Some(Some(credit)) = credit.filter(|credit| credit.is_none_or(|credit| credit > 0)) {
            *credit -= item_cost(len);
        } else if self.waiting.contains_key(&call) {
            return;
        }
        let mut frame = FrameBuf::new();
        frame.extend(&vec![0xcd; len]);
        self.owner(|connection| connection.send_item(call, number(channel), &mut frame, len % 2 == 1));
        assert_eq!(frame.body_len(), 0, "the frame is left empty");
    }

    fn end_channel(&mut self, input: &mut Input<'_>) {
        let (call, channel) = self.some_channel(input);
        let code = Code::from_number(u32::from(input.byte() % 4));
        if let Some(credit) = self
            .waiting
            .get_mut(&call)
            .and_then(|call| call.outbound.get_mut(channel))
        {
            *credit = None;
        }
        self.owner(|connection| connection.end_channel(call, number(channel), code, &Metadata::new()));
    }

    fn receive_on(&mut self, input: &mut Input<'_>) {
        let (call, channel) = self.some_channel(input);
        let bytes = u32::from(input.byte()) << 6;
        if bytes == 0 {
            return self.owner(|connection| connection.stop_channel(call, number(channel)));
        }
        let more = self.connection.widen(call, number(channel), self.now);
        let bytes = bytes + more;
        match self
            .waiting
            .get_mut(&call)
            .and_then(|call| call.inbound.get_mut(channel))
        {
            Some(Some(credit)) => *credit += i64::from(bytes),
            Some(None) | None => assert_eq!(more, 0),
        }
        self.owner(|connection| connection.grant(call, number(channel), bytes));
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
        let new = NewCall {
            deadline,
            oneway: len % 2 == 1,
            ..with_channels(input.byte())
        };
        let has_slot = self.connection.has_free_slot() || !self.connection.has_room();
        let before = total(self.connection.send_queue());
        match self.connection.start_call(&new, &mut frame, self.now) {
            Ok(call) => {
                assert!(has_slot && call.0 < self.limits.max_calls);
                self.started += 1;
                let outbound = (new.sends, self.connection.stream_credit());
                let waiting = Credit::new(outbound, (new.receives, self.limits.stream_credit));
                if !new.oneway {
                    let previous = self.waiting.insert(call, waiting);
                    assert!(previous.is_none(), "call {call} waits already");
                }
            }
            Err(error) => {
                assert_eq!(frame.body_len(), len, "the frame is as it was");
                assert!(!matches!(error, StartError::Saturated { .. }) || !self.connection.has_free_slot());
            }
        }
        self.own += with_chunks(total(self.connection.send_queue()).saturating_sub(before));
    }

    fn poll(&mut self) {
        loop {
            match self.connection.poll_event(self.now) {
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
            ClientEvent::Failure { call, code, text, .. } => {
                // A server that breaks the rules of a channel has not ended the call.
                let by_this_side = text.starts_with("server sent ")
                    && [Code::STREAM_STATE, Code::FLOW_CONTROL].contains(code);
                self.finals += usize::from(!by_this_side);
                self.end(*call);
            }
            ClientEvent::Channel(ChannelEvent { call, channel, what }) => {
                let call = self.waiting.get_mut(call).expect("an event of a call that waits");
                call.take(usize::from(*channel), what);
            }
            ClientEvent::Expired(call, _) | ClientEvent::Refused(call) => self.end(*call),
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
        assert!(self.waiting.len() as u64 <= self.taken);
        assert!(connection.busy() <= self.limits.max_calls as usize);
        // Calls of which nothing was sent need none.
        assert!(
            self.finals + connection.busy() <= self.started,
            "a slot is free after its final frame, and only then"
        );
        assert_eq!(queue.transmitted(), self.sent.len() as u64);
        let caused = total(queue).saturating_sub(self.own);
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
        let refused = [Kind::Reply, Kind::Failure];
        assert!(frames.iter().all(|header| !refused.contains(&header.kind)));
        let calls = frames.iter().filter(|header| header.kind == Kind::Call);
        assert!(calls.count() <= self.started);
        if orderly && self.greeted {
            let (answers, whole) = headers(&self.received[PREFACE_LEN..]);
            assert!(whole);
            assert_eq!(
                finals(&answers).len(),
                self.finals,
                "every final frame has ended one call"
            );
        }
    }
}
