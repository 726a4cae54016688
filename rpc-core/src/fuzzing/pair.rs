//! Target `pair`: a client and a server that talk to each other over a slow way, with owners that do anything.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::{Buf as _, Bytes, BytesMut};

use super::input::Input;
use super::pair_channels::Lane;
use super::start;
use super::trace::{receive, transmit};
use crate::code::Code;
use crate::connection::{
    ChannelEvent, ChannelSignal, ClientConnection, ClientEvent, NewCall, Sent, ServerConnection, ServerEvent,
};
use crate::error::StartError;
use crate::frame_buf::FrameBuf;
use crate::header::Flags;
use crate::id::{CallId, MethodId};
use crate::limits::Limits;
use crate::metadata::Metadata;

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
    /// Calls that run at the server.
    running: BTreeMap<CallId, Running>,
    started: u32,
    oneway: u32,
    max_calls: u32,
    window: u32,
    client_finished: bool,
    lost: bool,
    /// Whether a goaway was sent by either side, and by the server.
    draining: bool,
    server_draining: bool,
    /// Calls that have arrived.
    arrivals: u64,
    /// What the client has heard of how many were taken.
    refused_from: u64,
}

/// A call by which the owner recognises what belongs to it.
#[derive(Clone, Debug)]
struct Call {
    mark: u8,
    len: usize,
    /// Where its frame ends in the client's stream, if that was known when it was started.
    end: Option<u64>,
    arrived: bool,
    /// What the client sends, and what it receives.
    up: Vec<Lane>,
    down: Vec<Lane>,
}

/// A call at the server.
#[derive(Debug)]
struct Running {
    mark: u8,
    up: Vec<Lane>,
    down: Vec<Lane>,
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
        let window = if settings & 4 == 0 { 16_384 } else { 40_000 };
        let limits = Limits {
            max_calls,
            max_body,
            max_frame: Limits::GUARANTEED_BODY,
            max_held: 400_000,
            stream_credit: window,
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
            oneway: 0,
            max_calls,
            window,
            client_finished: false,
            lost: false,
            draining: false,
            server_draining: false,
            arrivals: 0,
            refused_from: u64::MAX,
        }
    }

    fn operate(&mut self, input: &mut Input<'_>) {
        match input.byte() % 24 {
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
                    self.fail(call, Code::INTERNAL);
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
            15 => self.rarely(input.byte()),
            16 | 17 => self.client_sends(input),
            18 | 19 => self.server_sends(input),
            20 => self.client_ends(input),
            21 => self.server_ends(input),
            22 => self.client_receives(input),
            _ => self.server_receives(input),
        }
    }

    fn rarely(&mut self, what: u8) {
        match what % 10 {
            0 => self.client.ping(what.into()),
            1 => self.server.ping(what.into()),
            2 => {
                self.server.goaway(Code::DRAINING, "");
                self.says_goodbye();
            }
            3 => {
                self.client.goaway(Code::OK, "bye");
                self.draining = true;
            }
            4 => self.client.release_memory(),
            5 => self.server.release_memory(),
            6 => self.lose(),
            7 => {
                // P-52: the client sends nothing more, but waits for its answers. What is unfinished then is lost.
                if self.client.send_queue().committed_len() == self.client.send_queue().len() {
                    self.transmit_client(usize::MAX);
                    self.client_finished = true;
                }
            }
            8 => {
                self.server.drain("two steps");
                self.says_goodbye();
            }
            // Without a drain, nothing.
            _ => self.server.finish_drain(),
        }
    }

    fn says_goodbye(&mut self) {
        self.draining = true;
        self.server_draining |= self.server.is_drain_told();
        if self.server.is_closing() {
            // Nobody has greeted it, so it owes nothing to anybody and closes.
            self.lose();
        }
    }

    fn start_call(&mut self, input: &mut Input<'_>) {
        if self.client_finished {
            return;
        }
        let (len, timeout, shape) = (input.len(), input.byte(), input.byte());
        let [mark, ..] = self.started.to_le_bytes();
        let metadata = note(mark, shape);
        let new = NewCall {
            method: METHOD,
            deadline: (timeout > 0).then(|| self.client_now + Duration::from_millis(timeout.into())),
            oneway: timeout == 1,
            metadata: &metadata,
            sends: u16::from(shape % 3),
            receives: u16::from(shape / 3 % 3),
        };
        let mut frame = FrameBuf::new();
        frame.extend(&[0; 16]);
        frame.extend(&vec![mark; len]);
        let has_slot = self.client.has_free_slot() || !self.client.has_room();
        let before = self.client.send_queue().enqueued();
        match self.client.start_call(&new, &mut frame, self.client_now) {
            Ok(call) => {
                assert!(has_slot);
                self.started += 1;
                if new.oneway {
                    self.oneway += 1;
                    return;
                }
                let queue = self.client.send_queue();
                let lane = |window| Lane::new(mark, window);
                let call_is = Call {
                    mark,
                    len,
                    end: (queue.enqueued() > before && !queue.is_waiting(call)).then_some(queue.enqueued()),
                    arrived: false,
                    up: vec![lane(self.client.stream_credit()); new.sends.into()],
                    down: vec![lane(self.window); new.receives.into()],
                };
                let previous = self.waiting.insert(call, call_is);
                assert!(previous.is_none(), "a busy slot is not used again");
            }
            Err(StartError::Saturated { .. }) => assert!(!self.client.has_free_slot()),
            Err(StartError::TooLarge { .. } | StartError::NotGreeted { .. }) => assert!(len + 64 > 16_384),
            Err(StartError::Draining) => assert!(self.draining),
            Err(error @ (StartError::Closed | StartError::Expired)) => panic!("{error}"),
        }
    }

    /// The answer says by its bytes whose it is, and by its length whether it is an error.
    fn reply(&mut self, input: &mut Input<'_>) {
        let call = pick(&self.running, input);
        let len = input.len();
        if let Some(Running { mark, .. }) = self.running.remove(&call) {
            let mut frame = FrameBuf::new();
            frame.extend(&vec![!mark; len]);
            let flags = if len % 2 == 1 { Flags::ERROR } else { Flags::NONE };
            self.server.reply(call, &mut frame, flags);
        }
    }

    fn fail(&mut self, call: CallId, code: Code) {
        self.server
            .fail(call, code, "oops", &note(call.0.to_le_bytes()[0], 0));
    }

    fn client_sends(&mut self, input: &mut Input<'_>) {
        let (call, channel, len, packed) = choice(&self.waiting, input);
        let limit = self.client.max_body() as usize;
        if self.client_finished {
            return;
        }
        if let Some(lane) = self
            .waiting
            .get_mut(&call)
            .and_then(|call| call.up.get_mut(channel))
            && let Some(mut frame) = lane.send(len.min(limit), packed)
        {
            self.client.send_item(call, number(channel), &mut frame, packed);
            assert_eq!(frame.body_len(), 0, "the frame is left empty");
        }
    }

    fn server_sends(&mut self, input: &mut Input<'_>) {
        let (call, channel, len, packed) = choice(&self.running, input);
        let limit = self.server.max_reply() as usize;
        if let Some(lane) = self
            .running
            .get_mut(&call)
            .and_then(|call| call.down.get_mut(channel))
            && let Some(mut frame) = lane.send(len.min(limit), packed)
        {
            self.server.send_item(call, number(channel), &mut frame, packed);
            assert_eq!(frame.body_len(), 0, "the frame is left empty");
        }
    }

    fn client_ends(&mut self, input: &mut Input<'_>) {
        let (call, channel, len, aborts) = choice(&self.waiting, input);
        if self.client_finished {
            return;
        }
        if let Some(lane) = self
            .waiting
            .get_mut(&call)
            .and_then(|call| call.up.get_mut(channel))
        {
            let metadata = lane.end(len, aborts);
            let code = end_code(aborts);
            self.client.end_channel(call, number(channel), code, &metadata);
        }
    }

    fn server_ends(&mut self, input: &mut Input<'_>) {
        let (call, channel, len, aborts) = choice(&self.running, input);
        if let Some(lane) = self
            .running
            .get_mut(&call)
            .and_then(|call| call.down.get_mut(channel))
        {
            let metadata = lane.end(len, aborts);
            let code = end_code(aborts);
            self.server.end_channel(call, number(channel), code, &metadata);
        }
    }

    fn client_receives(&mut self, input: &mut Input<'_>) {
        let (call, channel, _, stops) = choice(&self.waiting, input);
        if self.client_finished {
            return;
        }
        if let Some(lane) = self
            .waiting
            .get_mut(&call)
            .and_then(|call| call.down.get_mut(channel))
        {
            if stops {
                self.client.stop_channel(call, number(channel));
            } else {
                let now = self.client_now;
                let bytes = lane.take_read(|| self.client.widen(call, number(channel), now));
                self.client.grant(call, number(channel), bytes);
            }
        }
    }

    fn server_receives(&mut self, input: &mut Input<'_>) {
        let (call, channel, _, stops) = choice(&self.running, input);
        if let Some(lane) = self
            .running
            .get_mut(&call)
            .and_then(|call| call.up.get_mut(channel))
        {
            if stops {
                self.server.stop_channel(call, number(channel));
            } else {
                let now = self.server_now;
                let bytes = lane.take_read(|| self.server.widen(call, number(channel), now));
                self.server.grant(call, number(channel), bytes);
            }
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
            if let Some(end) = known.end {
                let left = if end > transmitted {
                    Sent::NotSent
                } else {
                    Sent::MaybeSent
                };
                assert_eq!(sent, left);
            }
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
        while let Some(event) = self
            .client
            .poll_event(self.client_now)
            .expect("the server keeps the rules")
        {
            self.take_client_event(event);
        }
        self.server_draining |= self.server.is_drain_told();
    }

    fn take_server_event(&mut self, event: ServerEvent) {
        match event {
            ServerEvent::Call {
                call,
                method,
                arguments,
                metadata,
                channels,
                ..
            } => {
                assert_eq!(method, METHOD);
                let (mark, shape) = read_note(&metadata);
                assert!(arguments.iter().all(|byte| *byte == mark));
                assert_eq!(channels, u16::from(shape % 3));
                self.take_call(call, mark, arguments.len(), shape);
            }
            // Whoever is asked to stop does it at once.
            ServerEvent::Cancel(call) => self.stop(call, Code::CANCELLED),
            ServerEvent::Expire(call) => self.stop(call, Code::DEADLINE),
            ServerEvent::Breach { call, text, .. } => panic!("call {call}: {text}"),
            ServerEvent::Channel(ChannelEvent { call, channel, what }) => {
                let Running { up, down, .. } =
                    self.running.get_mut(&call).expect("an event of a running call");
                take_signal(up, down, channel, &what);
            }
            ServerEvent::Greeted
            | ServerEvent::Goaway { .. }
            | ServerEvent::Pong(_)
            | ServerEvent::PeerFinished => {}
        }
    }

    fn take_call(&mut self, call: CallId, mark: u8, len: usize, shape: u8) {
        self.arrivals += 1;
        if let Some(known) = self
            .waiting
            .get_mut(&call)
            .filter(|known| !known.arrived && known.mark == mark)
        {
            assert_eq!(len, known.len);
            known.arrived = true;
        }
        let receives = u16::from(shape / 3 % 3);
        self.server.open(call, receives);
        let lane = |window| Lane::new(mark, window);
        let running = Running {
            mark,
            up: vec![lane(self.window); usize::from(shape % 3)],
            down: vec![lane(self.server.stream_credit()); receives.into()],
        };
        let previous = self.running.insert(call, running);
        assert!(previous.is_none(), "call {call} is running already");
    }

    fn stop(&mut self, call: CallId, code: Code) {
        assert!(self.running.remove(&call).is_some(), "call {call} is not running");
        self.fail(call, code);
    }

    fn take_client_event(&mut self, event: ClientEvent) {
        match event {
            ClientEvent::Reply {
                call, error, body, ..
            } => self.end(call, Some((error, body))),
            ClientEvent::Failure {
                call, code, metadata, ..
            } => {
                let ran = self.waiting.get(&call).is_some_and(|known| known.arrived);
                assert!(ran || !code.may_have_run(), "call {call} did not arrive");
                let by_owner = [Code::INTERNAL, Code::CANCELLED, Code::DEADLINE].contains(&code) && ran;
                assert!(!by_owner || read_note(&metadata).0 == call.0.to_le_bytes()[0]);
                self.end(call, None);
            }
            ClientEvent::Expired(call, sent) => {
                let known = self.waiting.get(&call);
                assert!(sent == Sent::MaybeSent || known.is_some_and(|known| !known.arrived));
                self.end(call, None);
            }
            ClientEvent::Refused(call) => {
                assert!(
                    self.waiting.get(&call).is_some_and(|known| !known.arrived),
                    "call {call} has run"
                );
                self.end(call, None);
            }
            ClientEvent::Goaway { taken, .. } => {
                assert!(taken <= self.refused_from);
                self.refused_from = taken;
            }
            ClientEvent::Channel(ChannelEvent { call, channel, what }) => {
                let Call { up, down, .. } = self
                    .waiting
                    .get_mut(&call)
                    .expect("an event of a call that waits");
                take_signal(down, up, channel, &what);
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
            assert!(
                body.iter().all(|byte| *byte == !known.mark),
                "call {call} got the answer of another"
            );
        }
    }

    fn check(&self) {
        assert_eq!(self.client.waiting(), self.waiting.len());
        // Calls whose bodies are incomplete are in flight, too.
        assert!(self.server.in_flight() >= self.running.len());
        assert!(self.client.busy() <= self.max_calls as usize);
    }

    /// Lets everything arrive and answers what runs; then both are idle.
    fn settle(&mut self) {
        self.move_all();
        let mut rounds = 0;
        // Behind its end the client cannot cancel: slots that it gave up may stay busy.
        let released = |pair: &Self| pair.client_finished || pair.client.busy() == 0;
        while !self.waiting.is_empty() || !self.running.is_empty() || !released(self) {
            while let Some((call, Running { mark, .. })) = self.running.pop_first() {
                let mut frame = FrameBuf::new();
                frame.extend(&[!mark; 2]);
                self.server.reply(call, &mut frame, Flags::NONE);
            }
            self.move_all();
            rounds += 1;
            assert!(rounds < 64, "no progress");
        }
        self.move_all();
        self.check();
        assert_eq!((self.server.in_flight(), self.server.held()), (0, 0));
        assert!(self.to_server.is_empty() && self.to_client.is_empty());
        assert!(!self.server_draining || self.server.is_finished());
        assert!(!self.draining || self.client_finished || self.client.is_finished());
        assert!(self.client_finished || self.client.is_idle() && self.client.send_queue().is_empty());
    }
}

/// One of the calls; without any, one that does not exist: nothing may come of it.
fn pick<T>(calls: &BTreeMap<CallId, T>, input: &mut Input<'_>) -> CallId {
    let index = input.index(calls.len());
    calls.keys().nth(index).copied().unwrap_or(CallId(9))
}

/// One of the calls, a channel, a length, and a coin.
fn choice<T>(calls: &BTreeMap<CallId, T>, input: &mut Input<'_>) -> (CallId, usize, usize, bool) {
    let call = pick(calls, input);
    let byte = input.byte();
    (call, usize::from(byte % 2), input.len(), byte & 0x40 != 0)
}

fn number(channel: usize) -> u16 {
    u16::try_from(channel).unwrap_or(u16::MAX)
}

fn end_code(aborts: bool) -> Code {
    if aborts { Code::INTERNAL } else { Code::OK }
}

/// What the peer did on a channel: `inbound` are those on which it sends.
fn take_signal(inbound: &mut [Lane], outbound: &mut [Lane], channel: u16, what: &ChannelSignal) {
    let index = usize::from(channel);
    match what {
        ChannelSignal::Item { body, packed } => inbound[index].receive(body, *packed),
        ChannelSignal::End { code, metadata } => inbound[index].receive_end(*code, metadata),
        ChannelSignal::Credit(bytes) => outbound[index].granted(*bytes),
        ChannelSignal::Stop => outbound[index].stopped(),
    }
}

/// By what a call is recognised, and what it is like.
fn note(mark: u8, shape: u8) -> Metadata {
    let mut metadata = Metadata::new();
    assert_eq!(metadata.insert("note", [mark, shape]), Ok(()));
    metadata
}

fn read_note(metadata: &Metadata) -> (u8, u8) {
    match metadata.get("note") {
        Some([mark, shape]) => (*mark, *shape),
        _ => (0xff, 0),
    }
}

const METHOD: MethodId = MethodId(0x1234_5678_9abc_def0);
/// Operations after which everything is brought to its end.
const MAX_OPERATIONS: usize = 2_000;
