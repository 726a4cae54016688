//! ServerConnection: the rules of the side that answers calls.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

use self::admission::Taken;
use self::channels::channel_event;
use self::memory::Pins;
use crate::budget::Cost;
use crate::code::{Code, Fault as Blame};
use crate::connection::body::{Prelude, cut_text, write_metadata};
use crate::connection::channels::Channels;
use crate::connection::deadlines::{Earliest, earlier};
use crate::connection::drive_methods;
use crate::connection::event::{ChannelSignal, ServerEvent};
use crate::connection::link::{Incoming, Link, LinkEvent};
use crate::error::{ConnectionError, ProtocolError};
use crate::frame_buf::FrameBuf;
use crate::header::{Flags, FrameHeader, Kind};
use crate::id::CallId;
use crate::limits::Limits;
use crate::metadata::Metadata;
use crate::preface::Side;
use crate::send_queue::{Aborted, Progress};

mod admission;
mod channels;
mod memory;

pub use memory::{LIGHT, Pressure};

/// The server's end of a connection. Driven as [the module](crate::connection) says.
#[derive(Debug)]
pub struct ServerConnection {
    link: Link,
    /// By call id; grown as ids are used, up to `max_calls`.
    slots: Vec<Slot>,
    /// Calls that the owner has not ended.
    in_flight: usize,
    /// Of these, calls with channels.
    streaming: usize,
    /// Length of the bodies of all running calls, and credit of their channels.
    held: usize,
    earliest: Earliest,
    /// Slots in state `ExpiryDue`, and such that were when they were put here.
    due: VecDeque<CallId>,
    /// Calls that failed by the client's fault and were not charged yet: that needs the time.
    bad_calls: u32,
    /// What the owner is to be told of the end of the client's bytes.
    later: VecDeque<ServerEvent>,
    draining: Draining,
    pressure: Pressure,
    pins: Pins,
}

/// How far saying goodbye has come (P-51).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Draining {
    No,
    /// The client was told that the end is near, and asked whether it has read so far.
    Announced,
    /// The client was told how many calls were taken.
    Told,
}

/// How much sooner than the server's a client's clock may ring.
const DUE_SOON: Duration = Duration::from_millis(50);

/// The number of the ping behind an announced goaway: none that an owner would choose by counting.
const DRAIN_PING: u32 = 0xd4a1_0000;

/// One call id.
///
/// ```text
///                ┌───────── chunks ─────────┐
///  Free ── call ─┴▶ Assembling ──────────── ▶ Running ──▶ ExpiryDue ──▶ Stopping
///                                              │ reply or failure of the owner
///                                              ├──▶ Replying, while its chunks leave
///                                              ├──▶ Answered, until the client's final frame has come
///                                              └──▶ Free
/// ```
#[derive(Debug, Default)]
struct Slot {
    state: State,
    deadline: Option<Instant>,
    /// What the call adds to `held`.
    held: usize,
    /// The segment of receive memory that its arguments are in.
    segment: Option<u64>,
    oneway: bool,
    /// Whether the client's final frame has come (P-30).
    is_client_done: bool,
    channels: Option<Box<Channels>>,
    /// The channel whose item arrives in chunks, and whether it is a run.
    item: Option<(u16, bool)>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Free,
    /// The call's body is incomplete.
    Assembling,
    Running,
    /// The deadline has passed; the owner is not told yet.
    ExpiryDue,
    /// The owner was asked to stop the call.
    Stopping,
    /// The reply is on its way, in chunks.
    Replying,
    /// The final frame was sent; what the client still sends is dropped.
    Answered,
}

impl ServerConnection {
    /// A connection that was accepted at `now`. Nothing is sent before the client has shown the magic (P-02).
    ///
    /// The limits have to pass [`Limits::check`].
    pub fn new(limits: Limits, now: Instant) -> Self {
        Self {
            link: Link::new(Side::Server, limits, now),
            slots: Vec::new(),
            in_flight: 0,
            streaming: 0,
            held: 0,
            earliest: Earliest::default(),
            due: VecDeque::new(),
            bad_calls: 0,
            later: VecDeque::new(),
            draining: Draining::No,
            pressure: Pressure::None,
            pins: Pins::default(),
        }
    }

    drive_methods!();

    /// Takes note that `len` bytes were written.
    pub fn advance(&mut self, len: usize) {
        self.link.send.advance(len);
        self.take_progress();
    }

    /// The next event, if there is one. `now` is when the bytes were read: deadlines count from it.
    ///
    /// # Errors
    ///
    /// [`ConnectionError`] is final. Running calls are to be stopped, they need no end; the goaway that tells the client is queued.
    pub fn poll_event(&mut self, now: Instant) -> Result<Option<ServerEvent>, ConnectionError> {
        self.poll(now).map_err(|error| self.link.fail(error))
    }

    /// Whether there may be an event before more bytes have come. Where there is none, [`poll_event`](Self::poll_event) need not be called.
    pub fn may_have_event(&self) -> bool {
        self.has_due() || self.link.may_have_more()
    }

    /// When [`handle_timeout`](Self::handle_timeout) has to be called next. It may turn out that nothing is due yet.
    pub fn deadline(&self) -> Option<Instant> {
        if self.link.is_closed() {
            return None;
        }
        earlier(self.link.deadline(), self.earliest.get())
    }

    /// Finds what is due at `now`; [`poll_event`](Self::poll_event) tells.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.link.handle_timeout(now);
        if !self.earliest.take_due(now) {
            return;
        }
        for (slot, id) in self.slots.iter_mut().zip(0..) {
            match slot.deadline {
                Some(deadline) if slot.state == State::Running && deadline <= now => {
                    slot.state = State::ExpiryDue;
                    self.due.push_back(CallId(id));
                }
                deadline if slot.state == State::Running => self.earliest.lower(deadline),
                Some(_) | None => {}
            }
        }
    }

    /// The next call whose deadline has passed: the owner stops it, as after [`ServerEvent::Expire`]. For an owner that takes no further frames for the time
    /// being, and so does not poll for events.
    pub fn poll_expired(&mut self) -> Option<CallId> {
        while let Some(call) = self.due.pop_front() {
            // The call may have ended in the meantime, and its slot may be another call's.
            if !self.link.is_closed()
                && let Some(slot) = self.slots.get_mut(call.index())
                && slot.state == State::ExpiryDue
            {
                slot.state = State::Stopping;
                return Some(call);
            }
        }
        None
    }

    /// Ends a call with the answer in `frame`, the method's value or its own error behind its metadata, and empties the frame.
    ///
    /// A reply above what the client accepts becomes a failure `reply_too_large`. A call that is not running is left alone.
    pub fn reply(&mut self, call: CallId, frame: &mut FrameBuf, flags: Flags) {
        let limit = self.link.body_limit();
        let len = frame.body_len();
        if u32::try_from(len).is_ok_and(|len| len <= limit) {
            // A call that was given up earns nothing back, or giving up would cost nothing.
            let is_wanted = self.running_mut(call).is_some();
            if self.end(call) {
                if is_wanted {
                    self.link.patience.earn();
                }
                let header = FrameHeader {
                    flags,
                    ..FrameHeader::new(Kind::Reply, call)
                };
                self.link.send.push(frame, header);
                self.note_reply(call);
                self.take_progress();
            }
        } else {
            let text = format!("reply of {len} bytes exceeds the client's limit of {limit}");
            self.fail(call, Code::REPLY_TOO_LARGE, &text, &Metadata::default());
        }
        frame.clear();
    }

    /// Ends a call without an answer of the method. The text is cut to 8,192 bytes. A call that is not running is left alone.
    ///
    /// The code `ok` is none for a failure (section 4) and is sent as `internal`.
    pub fn fail(&mut self, call: CallId, code: Code, text: &str, metadata: &Metadata) {
        if self.end(call) {
            self.bad_calls += u32::from(code.fault() == Blame::Client);
            if code == Code::DEADLINE || code == Code::EXPIRED {
                // The client's clock rings at the same time, and its cancel crosses this.
                self.link.patience.earn();
            }
            self.send_failure(call, code, text, metadata);
        }
    }

    /// Says goodbye. With `ok` or `draining`, running calls are finished and later ones answered with `draining`; with any other code the connection
    /// is over once the queue is written.
    pub fn goaway(&mut self, code: Code, text: &str) {
        self.draining = Draining::Told;
        self.link.goaway(code, text);
    }

    /// Says goodbye in two steps: announces it, takes the calls that are on their way, and tells how many were taken when the client has read the
    /// announcement, or when the owner says so with [`finish_drain`](Self::finish_drain). An honest client then has no call refused (P-51).
    pub fn drain(&mut self, text: &str) {
        if self.draining != Draining::No {
            return;
        }
        if self.link.peer().is_none() {
            return self.goaway(Code::DRAINING, text);
        }
        self.draining = Draining::Announced;
        self.link.announce_goaway(Code::DRAINING, text);
        self.link.ping_behind_goaway(DRAIN_PING);
    }

    /// Waits no longer for the client to have read that the server drains.
    pub fn finish_drain(&mut self) {
        if self.draining == Draining::Announced {
            self.goaway(Code::DRAINING, "");
        }
    }

    /// Whether the client was told how many calls were taken: later ones are answered with `draining`.
    pub fn is_drain_told(&self) -> bool {
        self.link.is_goaway_sent()
    }

    /// Calls that wait for their end.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Bytes that the connection holds for its peer: bodies of running calls, credit of their channels, and what is queued, but for the longest reply: one may be as
    /// long as the client likes.
    pub fn held(&self) -> usize {
        self.held + self.link.send.burden()
    }

    /// Whether the connection holds so much, or is so short of the server's memory, that it takes no further frames until some calls are done.
    ///
    /// Never while calls with channels are in flight, which may need what the client sends to come to their end: calls are refused, then.
    pub fn is_full(&self) -> bool {
        let max_held = self.link.limits.max_held;
        // What is queued altogether is quicker to tell than what of it counts.
        let may_be_full = self.streaming == 0 && self.held + self.link.send.len() > max_held;
        may_be_full && self.held() > max_held || self.is_paused()
    }

    /// Whether to read on: not while the connection is full, nor at its end.
    pub fn wants_read(&self) -> bool {
        self.link.wants_read() && !self.is_full()
    }

    /// The longest reply, and the longest item, that the client accepts, in bytes.
    pub fn max_reply(&self) -> u32 {
        self.link.body_limit()
    }

    /// Whether nothing is left to do: the socket can be closed.
    pub fn is_finished(&self) -> bool {
        let over = self.link.is_drained() || self.link.is_goaway_sent();
        self.link.send.is_empty() && (self.link.is_closed() || over && self.in_flight == 0)
    }

    fn poll(&mut self, now: Instant) -> Result<Option<ServerEvent>, ConnectionError> {
        if self.has_due()
            && let Some(event) = self.next_due(now)?
        {
            return Ok(Some(event));
        }
        while let Some(incoming) = self.link.next(now)? {
            let polled = match incoming {
                Incoming::Frame(header) => self.on_frame(&header, now),
                Incoming::Event(event) => self.on_link_event(event, now),
            };
            if !matches!(polled, Ok(None)) {
                return polled;
            }
        }
        Ok(None)
    }

    /// Whether there may be an event besides those that have arrived.
    #[inline]
    fn has_due(&self) -> bool {
        !self.due.is_empty() || !self.later.is_empty() || self.bad_calls > 0
    }

    #[cold]
    fn next_due(&mut self, now: Instant) -> Result<Option<ServerEvent>, ConnectionError> {
        if let Some(call) = self.poll_expired() {
            return Ok(Some(ServerEvent::Expire(call)));
        }
        for _ in 0..std::mem::take(&mut self.bad_calls) {
            self.link.charge(now, Cost::BadCall)?;
        }
        Ok(self.later.pop_front())
    }

    fn on_link_event(
        &mut self,
        event: LinkEvent,
        now: Instant,
    ) -> Result<Option<ServerEvent>, ConnectionError> {
        match event {
            LinkEvent::Greeted => Ok(Some(ServerEvent::Greeted)),
            LinkEvent::Goaway { code, text, .. } => Ok(Some(ServerEvent::Goaway { code, text })),
            LinkEvent::Pong(DRAIN_PING) => {
                self.finish_drain();
                Ok(None)
            }
            LinkEvent::Pong(number) => Ok(Some(ServerEvent::Pong(number))),
            LinkEvent::Ended => {
                self.on_ended();
                Ok(self.later.pop_front())
            }
            LinkEvent::Body { call, body } => self.on_body(call, body, now),
            LinkEvent::Dropped(call) => {
                self.on_dropped(call);
                Ok(None)
            }
        }
    }

    fn on_frame(
        &mut self,
        header: &FrameHeader,
        now: Instant,
    ) -> Result<Option<ServerEvent>, ConnectionError> {
        let body = self.link.recv.take_body(header);
        match header.kind {
            Kind::Call => self.on_call(header, body, now),
            Kind::Cancel => self.on_cancel(header.call, now),
            Kind::Item => self.on_item(header, body, now),
            Kind::End => self.on_end(header, body, now),
            Kind::Credit => self.on_credit(header, now),
            Kind::Stop => self.on_stop(header),
            // The link lets nothing else pass.
            kind @ (Kind::Reply
            | Kind::Failure
            | Kind::Chunk
            | Kind::Ping
            | Kind::Pong
            | Kind::Goaway
            | Kind::Extension(_)) => Err(ProtocolError::WrongDirection { kind }.into()),
        }
    }

    /// A body that came in chunks is complete: of a call, or of an item.
    fn on_body(
        &mut self,
        call: CallId,
        body: Bytes,
        now: Instant,
    ) -> Result<Option<ServerEvent>, ConnectionError> {
        let Some(slot) = self.slots.get_mut(call.index()) else {
            return Ok(None);
        };
        match slot.state {
            State::Assembling => {
                let (deadline, oneway) = (slot.deadline, slot.oneway);
                let prelude = Prelude::read(&body);
                self.in_flight -= 1;
                self.streaming -= usize::from(prelude.channels > 0);
                self.held -= slot.held;
                // What follows begins anew, or refuses.
                *slot = Slot::default();
                let taken = Taken {
                    call,
                    oneway,
                    deadline,
                    prelude,
                };
                if deadline.is_some_and(|deadline| deadline <= now) {
                    self.begin(&taken, State::Running, 0);
                    let text = "time ran out while the arguments arrived";
                    self.fail(call, Code::EXPIRED, text, &Metadata::default());
                    return Ok(None);
                }
                self.start(&taken, body, None)
            }
            State::Running | State::ExpiryDue => Ok(slot.item.take().map(|(channel, packed)| {
                let what = ChannelSignal::Item { body, packed };
                channel_event(call, channel, what)
            })),
            State::Free | State::Stopping | State::Replying | State::Answered => Ok(None),
        }
    }

    /// A body that was not wanted any more has come to its end.
    fn on_dropped(&mut self, call: CallId) {
        if let Some(slot) = self.slots.get_mut(call.index()) {
            slot.item = None;
            slot.is_client_done |= slot
                .channels
                .as_ref()
                .is_none_or(|channels| channels.is_inbound_over());
        }
        self.release(call);
    }

    /// P-52: the client sends nothing more. Channels that it has not ended never will be: their calls are given up.
    fn on_ended(&mut self) {
        for (slot, id) in self.slots.iter_mut().zip(0..) {
            let channels = slot.channels.as_ref();
            let is_over = channels.is_none_or(|channels| channels.is_inbound_over());
            slot.is_client_done = true;
            match slot.state {
                State::Running | State::ExpiryDue if !is_over => {
                    slot.state = State::Stopping;
                    self.later.push_back(ServerEvent::Cancel(CallId(id)));
                }
                State::Answered => *slot = Slot::default(),
                State::Free
                | State::Assembling
                | State::Running
                | State::ExpiryDue
                | State::Stopping
                | State::Replying => {}
            }
        }
        self.later.push_back(ServerEvent::PeerFinished);
    }

    /// P-32
    fn on_cancel(&mut self, call: CallId, now: Instant) -> Result<Option<ServerEvent>, ConnectionError> {
        let slot = self.slots.get(call.index());
        // A client that waits no longer than it said costs no more than it said.
        let is_due = |deadline: Instant| deadline <= now + DUE_SOON;
        if !slot.and_then(|slot| slot.deadline).is_some_and(is_due) {
            self.link.charge(now, Cost::Cancel)?;
        }
        let Some(slot) = self.slots.get_mut(call.index()) else {
            return Ok(None);
        };
        slot.is_client_done = true;
        slot.item = None;
        self.link.recv.abandon(call);
        match slot.state {
            // It crossed the final frame, or the handler is being stopped anyway.
            State::Free | State::Stopping => Ok(None),
            State::Answered => {
                self.release(call);
                Ok(None)
            }
            State::Assembling => {
                self.fail(
                    call,
                    Code::CANCELLED,
                    "cancelled by the caller",
                    &Metadata::default(),
                );
                Ok(None)
            }
            State::Replying => {
                if self.link.send.abort(call) != Aborted::None {
                    let text = "cancelled by the caller while the reply was sent";
                    self.send_failure(call, Code::CANCELLED, text, &Metadata::default());
                }
                if let Some(slot) = self.slots.get_mut(call.index()) {
                    slot.state = State::Answered;
                }
                self.release(call);
                Ok(None)
            }
            State::Running | State::ExpiryDue => {
                slot.state = State::Stopping;
                Ok(Some(ServerEvent::Cancel(call)))
            }
        }
    }

    /// The owner has ended a call: whether its final frame is to be sent.
    fn end(&mut self, call: CallId) -> bool {
        let Some(slot) = self.slots.get_mut(call.index()) else {
            return false;
        };
        match slot.state {
            State::Assembling | State::Running | State::ExpiryDue | State::Stopping => {}
            State::Free | State::Replying | State::Answered => return false,
        }
        self.held -= slot.held;
        self.in_flight -= 1;
        self.streaming -= usize::from(slot.channels.is_some());
        slot.state = State::Answered;
        if let Some(segment) = slot.segment.take() {
            self.pins.unpin(segment);
        }
        self.link.recv.discard(call);
        self.release(call);
        !self.link.is_closed()
    }

    /// Frees a slot whose both final frames have passed.
    fn release(&mut self, call: CallId) {
        if let Some(slot) = self.slots.get_mut(call.index())
            && slot.state == State::Answered
            && slot.is_client_done
        {
            *slot = Slot::default();
        }
    }

    /// A reply that leaves in chunks, or waits behind such an item, keeps its slot until it has left: until then it can be cancelled.
    fn note_reply(&mut self, call: CallId) {
        if !self.link.send.is_waiting(call) {
            return;
        }
        if let Some(slot) = self.slots.get_mut(call.index()) {
            if slot.state == State::Free {
                slot.is_client_done = true;
            }
            slot.state = State::Replying;
        }
    }

    /// Takes note of replies that have left whole.
    fn take_progress(&mut self) {
        while let Some(progress) = self.link.send.take_progress() {
            let Progress::Finished { call, .. } = progress else {
                continue;
            };
            if self.link.send.is_waiting(call) {
                continue;
            }
            if let Some(slot) = self.slots.get_mut(call.index())
                && slot.state == State::Replying
            {
                slot.state = State::Answered;
                self.release(call);
            }
        }
    }

    fn running_mut(&mut self, call: CallId) -> Option<&mut Slot> {
        self.slots.get_mut(call.index()).filter(|slot| slot.is_running())
    }

    fn send_failure(&mut self, call: CallId, code: Code, text: &str, metadata: &Metadata) {
        let code = if code == Code::OK { Code::INTERNAL } else { code };
        // What has not left of an item of this call never will.
        self.link.send.abort(call);
        let mut header = FrameHeader {
            aux: code.number(),
            ..FrameHeader::new(Kind::Failure, call)
        };
        if metadata.is_empty() {
            return self
                .link
                .send
                .push_control(header, cut_text(text, Limits::MAX_TEXT).as_bytes());
        }
        header.flags = Flags::METADATA;
        let mut body = FrameBuf::new();
        write_metadata(&mut body, metadata);
        // A failure is never cut into chunks.
        let frame = self
            .link
            .peer()
            .map_or(Limits::GUARANTEED_BODY, |preface| preface.max_frame);
        let room = (frame as usize).saturating_sub(body.body_len());
        body.extend(cut_text(text, room).as_bytes());
        self.link.send.push_control(header, body.body());
    }
}
