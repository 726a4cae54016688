//! Target `server_bytes`: a server's connection, an owner that does anything, and a client that sends anything.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::BytesMut;

use super::credit::{Credit, item_cost};
use super::input::Input;
use super::trace::{headers, play, receive, transmit};
use super::{script, start};
use crate::code::Code;
use crate::connection::{ChannelEvent, ServerConnection, ServerEvent};
use crate::error::ConnectionError;
use crate::frame_buf::FrameBuf;
use crate::header::{Flags, FrameHeader, Kind};
use crate::id::CallId;
use crate::limits::Limits;
use crate::metadata::Metadata;
use crate::preface::{PREFACE_LEN, Side};
use crate::send_queue::SendQueue;
use crate::stream::MAX_CHANNELS;

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
        stream_credit: Limits::GUARANTEED_BODY,
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

/// A call that waits for its end.
struct Running {
    /// Length of its body, and credit of its channels.
    held: usize,
    channels: Credit,
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
    /// Calls that wait for their end.
    running: BTreeMap<CallId, Running>,
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
        match input.byte() % 20 {
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
            15 => {
                self.now += Duration::from_secs(1);
                self.connection.handle_timeout(self.now);
            }
            16 => self.send_item(input),
            17 => self.end_channel(input),
            18 => self.receive_on(input),
            _ => self.owner(|connection| connection.drain("the owner wants it")),
        }
    }

    fn send_item(&mut self, input: &mut Input<'_>) {
        let call = self.some_call(input);
        let channel = usize::from(input.byte() % 2);
        let most = self.connection.max_reply() as usize;
        let len = input.len().min(most);
        let credit = self
            .running
            .get_mut(&call)
            .and_then(|call| call.channels.outbound.get_mut(channel));
        if let Some(Some(credit)) = credit.filter(|credit| credit.is_none_or(|credit| credit > 0)) {
            *credit -= item_cost(len);
        } else if self.running.contains_key(&call) {
            return;
        }
        let mut frame = FrameBuf::new();
        frame.extend(&vec![0xcd; len]);
        self.owner(|connection| connection.send_item(call, number(channel), &mut frame, len % 2 == 1));
        assert_eq!(frame.body_len(), 0, "the frame is left empty");
    }

    fn end_channel(&mut self, input: &mut Input<'_>) {
        let call = self.some_call(input);
        let channel = usize::from(input.byte() % 2);
        let code = Code::from_number(u32::from(input.byte() % 4));
        if let Some(credit) = self
            .running
            .get_mut(&call)
            .and_then(|call| call.channels.outbound.get_mut(channel))
        {
            *credit = None;
        }
        self.owner(|connection| connection.end_channel(call, number(channel), code, &Metadata::new()));
    }

    fn receive_on(&mut self, input: &mut Input<'_>) {
        let call = self.some_call(input);
        let channel = usize::from(input.byte() % 2);
        let bytes = u32::from(input.byte()) << 6;
        if bytes == 0 {
            return self.owner(|connection| connection.stop_channel(call, number(channel)));
        }
        let more = self.connection.widen(call, number(channel), self.now);
        let is_running = !self.stopping.contains(&call);
        let running = self.running.get_mut(&call).filter(|_| is_running);
        assert!(more == 0 || running.is_some());
        let bytes = bytes + more;
        if let Some(Running { held, channels }) = running
            && let Some(Some(credit)) = channels.inbound.get_mut(channel)
        {
            *credit += i64::from(bytes);
            *held += more as usize;
        }
        self.owner(|connection| connection.grant(call, number(channel), bytes));
    }

    /// A command that may queue bytes, which the client has no part in.
    fn owner(&mut self, command: impl FnOnce(&mut ServerConnection)) {
        let before = total(self.connection.send_queue());
        command(&mut self.connection);
        self.own += with_chunks(total(self.connection.send_queue()).saturating_sub(before));
    }

    fn deliver(&mut self, limit: usize) {
        if self.ended || !self.connection.wants_read() {
            return;
        }
        let len = receive(&mut self.connection, &self.on_the_way, limit);
        self.received.extend_from_slice(&self.on_the_way.split_to(len));
        self.poll();
        // One read can bring no more than itself and what was incomplete before it.
        let most = self.limits.max_held + len + 3 * self.limits.max_body as usize + 64;
        assert!(self.running_held() <= most, "bodies beyond the limit are held");
    }

    fn running_held(&self) -> usize {
        self.running.values().map(|call| call.held).sum()
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
        let flags = if input.byte() & 1 == 1 {
            Flags::ERROR
        } else {
            Flags::NONE
        };
        self.owner(|connection| connection.reply(call, &mut frame, flags));
        assert_eq!(frame.body_len(), 0, "the frame is left empty");
        self.end(call);
    }

    fn fail(&mut self, input: &mut Input<'_>) {
        let call = self.some_call(input);
        let code = Code::from_number(input.byte().into());
        let text = "ä".repeat(input.len() % 9_000);
        self.owner(|connection| connection.fail(call, code, &text, &Metadata::new()));
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
                channels,
                ..
            } => {
                let metadata_len = metadata.encoded_len();
                assert!(call.0 < self.limits.max_calls && metadata_len <= self.limits.max_metadata as usize);
                assert!(arguments.is_empty() || arguments.as_ptr().addr().is_multiple_of(16));
                assert!(channels <= MAX_CHANNELS);
                self.take_call(
                    call,
                    16 + metadata_len.next_multiple_of(16) + arguments.len(),
                    channels,
                );
            }
            ServerEvent::Channel(ChannelEvent { call, channel, what }) => {
                assert!(!self.stopping.contains(&call), "call {call} is being stopped");
                let call = self.running.get_mut(&call).expect("an event of a running call");
                call.channels.take(usize::from(channel), &what);
            }
            ServerEvent::Breach { call, .. } | ServerEvent::Cancel(call) | ServerEvent::Expire(call) => {
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

    fn take_call(&mut self, call: CallId, len: usize, channels: u16) {
        let window = self.limits.stream_credit;
        let opened = u16::try_from(call.0 % 3).unwrap_or_default();
        self.connection.open(call, opened);
        let running = Running {
            held: len + usize::from(channels) * window as usize,
            channels: Credit::new((opened, self.connection.stream_credit()), (channels, window)),
        };
        let previous = self.running.insert(call, running);
        assert!(previous.is_none(), "call {call} is running already");
    }

    fn check(&self) {
        let connection = &self.connection;
        let queue = connection.send_queue();
        // Calls whose bodies are incomplete are in flight, too, and hold the credit of their channels.
        assert!(connection.in_flight() >= self.running.len());
        assert!(connection.held() >= self.running_held() + queue.len());
        assert_eq!(queue.transmitted(), self.sent.len() as u64);
        // P-02, and no amplification: a byte of the client is worth at most four, apart from one preface and one goaway.
        let caused = total(queue).saturating_sub(self.own);
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
            self.connection.fail(call, Code::CANCELLED, "", &Metadata::new());
        }
        self.connection.handle_eof();
        self.ended = true;
        self.poll();
        assert!(self.running.is_empty(), "no call comes with the end");
        let orderly = self.error.is_none() && !self.connection.is_closing();
        let sent = transmit(&mut self.connection, usize::MAX);
        self.sent.extend(sent);
        assert!(self.connection.is_finished() && self.connection.send_queue().is_empty());
        // Of a connection that was lost, calls may be left of which the owner never heard.
        let left = (self.connection.in_flight(), self.connection.held());
        assert!(!orderly || left == (0, 0), "{left:?}");
        let (answers, whole) = headers(self.sent.get(PREFACE_LEN..).unwrap_or_default());
        assert!(whole, "only whole frames are sent");
        let refused = [Kind::Call, Kind::Cancel];
        assert!(answers.iter().all(|header| !refused.contains(&header.kind)));
        if orderly && self.greeted {
            // P-43: exactly one final frame for each call frame, also for those that were refused.
            let (calls, whole) = headers(&self.received[PREFACE_LEN..]);
            assert!(whole);
            let mut calls: Vec<_> = calls
                .iter()
                .filter(|header| header.kind == Kind::Call)
                .map(|header| header.call)
                .collect();
            let mut finals = finals(&answers);
            calls.sort_unstable();
            finals.sort_unstable();
            assert_eq!(finals, calls);
        }
    }
}

/// The calls that were ended: a failure in the middle of a reply takes its place.
pub(super) fn finals(frames: &[FrameHeader]) -> Vec<CallId> {
    let mut finals = Vec::new();
    let mut incomplete = BTreeMap::new();
    for header in frames {
        let FrameHeader {
            kind, call, body_len, ..
        } = *header;
        let is_chunked = header.flags.contains(Flags::CHUNKED);
        match kind {
            Kind::Item if is_chunked => {
                incomplete.insert(call, (kind, header.aux - body_len));
            }
            Kind::Reply => {
                finals.push(call);
                if is_chunked {
                    incomplete.insert(call, (kind, header.aux - body_len));
                }
            }
            Kind::Chunk => {
                if let Some((_, missing)) = incomplete.get_mut(&call) {
                    *missing -= body_len;
                }
                incomplete.retain(|_, (_, missing)| *missing > 0);
            }
            Kind::Failure => match incomplete.remove(&call) {
                Some((Kind::Reply, _)) => {}
                _ => finals.push(call),
            },
            Kind::Item
            | Kind::End
            | Kind::Call
            | Kind::Credit
            | Kind::Cancel
            | Kind::Ping
            | Kind::Pong
            | Kind::Goaway
            | Kind::Stop
            | Kind::Extension(_) => {}
        }
    }
    finals
}

/// Everything that was ever queued, as far as it was not taken back.
pub(super) fn total(queue: &SendQueue) -> u64 {
    queue.transmitted() + queue.len() as u64
}

/// What a body comes to when it is cut.
pub(super) fn with_chunks(len: u64) -> u64 {
    len + (len / u64::from(Limits::GUARANTEED_BODY) + 2) * 32
}

pub(super) fn number(channel: usize) -> u16 {
    u16::try_from(channel).unwrap_or(u16::MAX)
}

/// Length of the stream at which operations end.
pub(super) const MAX_STREAM: usize = 1 << 20;
