//! ClientConnection: the rules of the side that starts calls.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;

use self::channels::channel_event;
use crate::code::Code;
use crate::connection::body::{read_text, split_answer};
use crate::connection::channels::{Channels, Fault};
use crate::connection::deadlines::{Earliest, earlier};
use crate::connection::drive_methods;
use crate::connection::event::{ChannelSignal, ClientEvent, Sent};
use crate::connection::link::{Incoming, Link, LinkEvent};
use crate::error::{ConnectionError, ProtocolError};
use crate::header::{Flags, FrameHeader, Kind};
use crate::id::CallId;
use crate::limits::Limits;
use crate::preface::Side;
use crate::send_queue::{Aborted, Progress};

mod channels;
mod start;

pub use start::NewCall;

/// The client's end of a connection. Driven as [the module](crate::connection) says.
///
/// Every call that [`start_call`](Self::start_call) began ends for its owner exactly once: by one of the events `Reply`, `Failure`, `Expired` and
/// `Refused`, by [`cancel`](Self::cancel), or by [`abandon_all`](Self::abandon_all). A one-way call has ended for its owner when it was started.
#[derive(Debug)]
pub struct ClientConnection {
    link: Link,
    /// By call id; grown as ids are used, up to the limit.
    slots: Vec<Slot>,
    /// Ids below `slots.len()` that are free; the last one is used next.
    free: Vec<CallId>,
    /// Slots whose calls have not ended for the owner.
    waiting: usize,
    /// One-way calls that the server has not ended.
    oneway: usize,
    /// Calls of which something was sent.
    begun: u64,
    earliest: Earliest,
    /// By how much the windows of all channels are longer than they were.
    widened: usize,
    /// Slots in state `ExpiryDue` or `RefusalDue`, and such that were when they were put here.
    due: VecDeque<CallId>,
    /// Channels that were opened before the server's preface came, whose owner is not told yet that it allows more.
    raised: Vec<(CallId, u16)>,
}

#[derive(Debug)]
struct Slot {
    state: State,
    deadline: Option<Instant>,
    /// Calls that were begun before this one: what a goaway counts. None of which was begun, the largest number.
    order: u64,
    /// Where the call's frames end in the stream; the largest number until that is known.
    end: u64,
    /// Whether the client's final frame was sent (P-30).
    is_client_done: bool,
    channels: Option<Box<Channels>>,
    /// What of the server arrives in chunks.
    incoming: Option<Arriving>,
}

/// The first frame of a body that arrives in chunks.
#[derive(Clone, Copy, Debug)]
struct Arriving {
    kind: Kind,
    flags: Flags,
    channel: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Free,
    Waiting,
    /// The deadline has passed; the owner is not told yet. Whether anything of the call was sent.
    ExpiryDue(Sent),
    /// A goaway did not take the call; the owner is not told yet.
    RefusalDue,
    /// Over for the owner; the slot is busy until the server's final frame (P-30).
    Abandoned,
    /// Likewise, of a call whose end nobody waits for.
    Oneway,
}

/// The place in the order of calls of which nothing was sent.
const NOT_BEGUN: u64 = u64::MAX;

impl ClientConnection {
    /// A connection that was opened at `now`. The preface is queued, and calls may follow it at once (P-06).
    ///
    /// The limits have to pass [`Limits::check`]; `max_calls` bounds what the server allows.
    pub fn new(limits: Limits, now: Instant) -> Self {
        Self {
            link: Link::new(Side::Client, limits, now),
            slots: Vec::new(),
            free: Vec::new(),
            waiting: 0,
            oneway: 0,
            begun: 0,
            earliest: Earliest::default(),
            widened: 0,
            due: VecDeque::new(),
            raised: Vec::new(),
        }
    }

    drive_methods!();

    /// Takes note that `len` bytes were written.
    pub fn advance(&mut self, len: usize) {
        self.link.send.advance(len);
        self.take_progress();
    }

    /// The next event, if there is one. `now` is when the bytes were read.
    ///
    /// # Errors
    ///
    /// [`ConnectionError`] is final: [`abandon_all`](Self::abandon_all) tells which calls are still to be ended, and how.
    pub fn poll_event(&mut self, now: Instant) -> Result<Option<ClientEvent>, ConnectionError> {
        let polled = self.poll(now);
        if let Err(error) = polled {
            return Err(self.link.fail(error));
        }
        polled
    }

    /// When [`handle_timeout`](Self::handle_timeout) has to be called next. It may turn out that nothing is due yet.
    pub fn deadline(&self) -> Option<Instant> {
        if self.link.is_closed() {
            return None;
        }
        earlier(self.link.deadline(), self.earliest.get())
    }

    /// Gives up the calls that are due at `now`; [`poll_event`](Self::poll_event) tells.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.link.handle_timeout(now);
        if self.link.is_closed() || !self.earliest.take_due(now) {
            return;
        }
        for (slot, id) in self.slots.iter_mut().zip(0..) {
            match slot.deadline {
                Some(deadline) if slot.state == State::Waiting && deadline <= now => {
                    let call = CallId(id);
                    let sent = withdraw(&mut self.link, slot, call);
                    slot.state = State::ExpiryDue(sent);
                    self.due.push_back(call);
                }
                deadline if slot.state == State::Waiting => self.earliest.lower(deadline),
                Some(_) | None => {}
            }
        }
    }

    /// Gives up a call that waits: it has ended for the owner. Its slot is free when the server has confirmed that it stopped (P-30), or at once if nothing of it
    /// was sent.
    pub fn cancel(&mut self, call: CallId) {
        let Some(slot) = self.slots.get_mut(call.index()) else {
            return;
        };
        match slot.state {
            State::Free | State::Abandoned | State::Oneway => return,
            State::Waiting => {
                withdraw(&mut self.link, slot, call);
            }
            State::ExpiryDue(_) | State::RefusalDue => {}
        }
        self.abandon(call);
    }

    /// A call is over for its owner.
    fn abandon(&mut self, call: CallId) {
        let Some(slot) = self.slots.get_mut(call.index()) else {
            return;
        };
        self.waiting -= 1;
        slot.state = State::Abandoned;
        if slot.order == NOT_BEGUN && !self.link.send.is_waiting(call) {
            self.release(call);
        }
    }

    /// Says goodbye: no further calls are started. With any code but `ok` the connection is over once the queue is written.
    pub fn goaway(&mut self, code: Code, text: &str) {
        self.link.goaway(code, text);
    }

    /// Ends all calls that wait, for a connection that is lost, and tells of each whether it may have run.
    pub fn abandon_all(&mut self) -> impl Iterator<Item = (CallId, Sent)> + use<> {
        let transmitted = self.link.send.transmitted();
        self.free = Vec::new();
        self.due.clear();
        self.raised.clear();
        (self.waiting, self.oneway, self.widened) = (0, 0, 0);
        let slots = std::mem::take(&mut self.slots);
        slots
            .into_iter()
            .zip(0..)
            .filter_map(move |(slot, id)| match slot.state {
                State::Free | State::Abandoned | State::Oneway => None,
                State::RefusalDue => Some((CallId(id), Sent::NotSent)),
                State::Waiting | State::ExpiryDue(_) if slot.end > transmitted => {
                    Some((CallId(id), Sent::NotSent))
                }
                State::Waiting | State::ExpiryDue(_) => Some((CallId(id), Sent::MaybeSent)),
            })
    }

    /// Calls that may be in flight at a time: 16 until the server's preface has arrived.
    pub fn capacity(&self) -> u32 {
        let server = self
            .link
            .peer()
            .map_or(Limits::GUARANTEED_CALLS, |preface| preface.max_calls);
        server.min(self.link.limits.max_calls)
    }

    /// Whether a call could be started: there is a slot for it, and not too much is queued already.
    pub fn has_free_slot(&self) -> bool {
        self.has_room() && u32::try_from(self.busy()).is_ok_and(|busy| busy < self.capacity())
    }

    /// Whether what is queued leaves room for a call. The reader does not wait for the writer, so those who write have to; but not for a long body, which lets
    /// others pass.
    pub fn has_room(&self) -> bool {
        let queue = &self.link.send;
        queue.is_calm() || queue.committed_len() <= self.link.limits.max_held
    }

    /// Calls that have not ended for their owner.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Slots that are busy: calls that wait, one-way calls, and given-up ones that the server has not ended.
    pub fn busy(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Bytes of bodies that have begun to arrive in chunks and are still to come.
    pub fn incoming_len(&self) -> u64 {
        self.link.recv.missing()
    }

    /// Whether every call has ended, one-way calls at the server.
    pub fn is_idle(&self) -> bool {
        self.waiting == 0 && self.oneway == 0
    }

    /// The longest body of a call or item that can be sent, prelude included, in bytes.
    pub fn max_body(&self) -> u32 {
        self.link.body_limit()
    }

    /// Whether to read on.
    pub fn wants_read(&self) -> bool {
        self.link.wants_read()
    }

    /// Whether no further call can be started on this connection.
    pub fn is_draining(&self) -> bool {
        self.link.is_closed() || self.link.is_draining() || self.link.is_drained()
    }

    /// Whether nothing is left to do: the socket can be closed.
    pub fn is_finished(&self) -> bool {
        let over = self.link.is_draining() && self.is_idle();
        self.link.is_drained() || self.link.send.is_empty() && (self.link.is_closed() || over)
    }

    fn poll(&mut self, now: Instant) -> Result<Option<ClientEvent>, ConnectionError> {
        if let Some(event) = self.next_due().or_else(|| self.next_raised()) {
            return Ok(Some(event));
        }
        while let Some(incoming) = self.link.next(now)? {
            let polled = match incoming {
                Incoming::Frame(header) => self.on_frame(&header, now),
                Incoming::Event(event) => self.on_link_event(event),
            };
            if !matches!(polled, Ok(None)) {
                return polled;
            }
        }
        Ok(None)
    }

    fn on_link_event(&mut self, event: LinkEvent) -> Result<Option<ClientEvent>, ConnectionError> {
        match event {
            LinkEvent::Greeted => {
                self.raise_credit();
                Ok(Some(ClientEvent::Greeted))
            }
            LinkEvent::Goaway { code, taken, text } => {
                self.refuse_from(taken);
                Ok(Some(ClientEvent::Goaway { code, taken, text }))
            }
            LinkEvent::Pong(number) => Ok(Some(ClientEvent::Pong(number))),
            LinkEvent::Ended => Ok(Some(ClientEvent::PeerFinished)),
            LinkEvent::Dropped(call) => self.on_dropped(call),
            LinkEvent::Body { call, body } => self.on_body(call, body),
        }
    }

    fn on_frame(
        &mut self,
        header: &FrameHeader,
        now: Instant,
    ) -> Result<Option<ClientEvent>, ConnectionError> {
        let body = self.link.recv.take_body(header);
        match header.kind {
            Kind::Reply | Kind::Failure => self.on_final(header, body),
            Kind::Item => Ok(self.on_item(header, body)?),
            Kind::End => Ok(self.on_end(header, body)?),
            Kind::Credit => self.on_credit(header, now),
            Kind::Stop => Ok(self.on_stop(header)?),
            // The link lets nothing else pass.
            kind @ (Kind::Call
            | Kind::Cancel
            | Kind::Chunk
            | Kind::Ping
            | Kind::Pong
            | Kind::Goaway
            | Kind::Extension(_)) => Err(ProtocolError::WrongDirection { kind }.into()),
        }
    }

    /// A reply or failure, or the beginning of a reply.
    fn on_final(
        &mut self,
        header: &FrameHeader,
        body: Bytes,
    ) -> Result<Option<ClientEvent>, ConnectionError> {
        let FrameHeader {
            kind, call, flags, ..
        } = *header;
        let slot = begun_slot(&mut self.slots, kind, call)?;
        if flags.contains(Flags::CHUNKED) {
            slot.incoming = Some(Arriving {
                kind,
                flags,
                channel: 0,
            });
            let is_wanted = slot.state == State::Waiting;
            self.link.recv.begin(call, &body, header.aux);
            if !is_wanted {
                self.link.recv.discard(call);
            }
            return Ok(None);
        }
        if slot.incoming.take().is_some() {
            if kind == Kind::Reply {
                return Err(ProtocolError::Interleaved { kind, call }.into());
            }
            self.link.recv.abandon(call);
        }
        self.end(header, body)
    }

    /// The server's final frame, whole.
    fn end(&mut self, header: &FrameHeader, body: Bytes) -> Result<Option<ClientEvent>, ConnectionError> {
        let FrameHeader {
            kind, call, flags, ..
        } = *header;
        // What is malformed is malformed, whether or not somebody waits for it.
        let (metadata, body) = split_answer(header, body)?;
        let state = begun_slot(&mut self.slots, kind, call)?.state;
        self.finish_client_side(call);
        self.release(call);
        match state {
            State::Oneway => {
                self.oneway -= 1;
                return Ok(Some(ClientEvent::Released));
            }
            State::Abandoned | State::Free => return Ok(Some(ClientEvent::Released)),
            // The owner is told of what is due before the next frame is looked at.
            State::Waiting | State::ExpiryDue(_) | State::RefusalDue => self.waiting -= 1,
        }
        if kind == Kind::Reply {
            let error = flags.contains(Flags::ERROR);
            return Ok(Some(ClientEvent::Reply {
                call,
                error,
                metadata,
                body,
            }));
        }
        Ok(Some(ClientEvent::Failure {
            call,
            code: Code::from_number(header.aux),
            text: read_text(&body),
            metadata,
        }))
    }

    /// P-30: the server has sent its final frame; if this side has not, a cancel is it.
    fn finish_client_side(&mut self, call: CallId) {
        let Some(slot) = self.slots.get_mut(call.index()) else {
            return;
        };
        if !std::mem::replace(&mut slot.is_client_done, true) && !self.link.is_closed() {
            self.link.send.abort(call);
            self.link
                .send
                .push_control(FrameHeader::new(Kind::Cancel, call), &[]);
        }
    }

    /// A body that came in chunks is complete.
    fn on_body(&mut self, call: CallId, body: Bytes) -> Result<Option<ClientEvent>, ConnectionError> {
        let Some(slot) = self.slots.get_mut(call.index()) else {
            return Ok(None);
        };
        let Some(Arriving { kind, flags, channel }) = slot.incoming.take() else {
            return Ok(None);
        };
        if kind == Kind::Reply {
            let header = FrameHeader {
                flags,
                ..FrameHeader::new(kind, call)
            };
            return self.end(&header, body);
        }
        if slot.state != State::Waiting {
            return Ok(None);
        }
        let packed = flags.contains(Flags::PACKED);
        let what = ChannelSignal::Item { body, packed };
        Ok(Some(channel_event(call, channel, what)))
    }

    /// A body that was not wanted any more has come to its end: if it was a reply, the call has, too.
    fn on_dropped(&mut self, call: CallId) -> Result<Option<ClientEvent>, ConnectionError> {
        let slot = self.slots.get_mut(call.index());
        match slot.and_then(|slot| slot.incoming.take()) {
            Some(Arriving {
                kind: Kind::Reply, ..
            }) => self.end(&FrameHeader::new(Kind::Reply, call), Bytes::new()),
            Some(_) | None => Ok(None),
        }
    }

    /// P-51: calls behind the first `taken` have not run. Their slots stay busy, as the server may still answer them with `draining`.
    fn refuse_from(&mut self, taken: u64) {
        for (slot, id) in self.slots.iter_mut().zip(0..) {
            if slot.state == State::Waiting && slot.order >= taken {
                let call = CallId(id);
                slot.state = State::RefusalDue;
                self.due.push_back(call);
                if self.link.send.abort(call) == Aborted::Partly {
                    self.link
                        .send
                        .push_control(FrameHeader::new(Kind::Cancel, call), &[]);
                    slot.is_client_done = true;
                }
            }
        }
    }

    fn next_due(&mut self) -> Option<ClientEvent> {
        while let Some(call) = self.due.pop_front() {
            // The owner may have cancelled the call in the meantime.
            let Some(slot) = self.slots.get_mut(call.index()) else {
                continue;
            };
            let event = match slot.state {
                State::ExpiryDue(sent) => ClientEvent::Expired(call, sent),
                State::RefusalDue => ClientEvent::Refused(call),
                State::Free | State::Waiting | State::Abandoned | State::Oneway => continue,
            };
            self.abandon(call);
            return Some(event);
        }
        None
    }

    /// Takes note of how far frames have come that could not leave at once.
    fn take_progress(&mut self) {
        while let Some(progress) = self.link.send.take_progress() {
            match progress {
                Progress::Begun(call, Kind::Call) => {
                    let order = self.begun;
                    self.begun += 1;
                    if let Some(slot) = self.slots.get_mut(call.index()) {
                        slot.order = order;
                    }
                }
                Progress::Finished {
                    call,
                    kind: Kind::Call,
                    end,
                } => {
                    if let Some(slot) = self.slots.get_mut(call.index()) {
                        slot.end = end;
                        slot.is_client_done |= slot.channels.is_none();
                    }
                    self.note_channel_end(call);
                }
                Progress::Begun(..) => {}
                Progress::Finished { call, .. } => self.note_channel_end(call),
            }
        }
    }

    fn release(&mut self, call: CallId) {
        if let Some(slot) = self.slots.get_mut(call.index()) {
            self.widened -= slot.channels.as_ref().map_or(0, |channels| channels.widened());
            *slot = Slot::free();
            self.free.push(call);
        }
    }
}

impl Slot {
    const fn free() -> Self {
        Self {
            state: State::Free,
            deadline: None,
            order: 0,
            end: 0,
            is_client_done: true,
            channels: None,
            incoming: None,
        }
    }

    /// Does something with the channels; a call without any has no such channel.
    fn channel<R>(&mut self, act: impl FnOnce(&mut Channels) -> Result<R, Fault>) -> Result<R, Fault> {
        self.channels
            .as_deref_mut()
            .map_or(Err(Fault::NoSuchChannel), act)
    }
}

/// P-34: the slot of a frame, which has to be of a call that the server can know.
fn begun_slot(slots: &mut [Slot], kind: Kind, call: CallId) -> Result<&mut Slot, ProtocolError> {
    slots
        .get_mut(call.index())
        .filter(|slot| slot.state != State::Free && slot.order != NOT_BEGUN)
        .ok_or(ProtocolError::NotCalled { kind, call })
}

/// Takes back what of a call is not sent, and asks the server to stop it if anything is. Whether something was.
fn withdraw(link: &mut Link, slot: &mut Slot, call: CallId) -> Sent {
    if link.is_closed() {
        return Sent::MaybeSent;
    }
    link.send.abort(call);
    link.recv.discard(call);
    if slot.order == NOT_BEGUN {
        return Sent::NotSent;
    }
    slot.is_client_done = true;
    link.send.push_control(FrameHeader::new(Kind::Cancel, call), &[]);
    // P-17: what did not arrive whole is not run.
    if slot.end == u64::MAX {
        Sent::NotSent
    } else {
        Sent::MaybeSent
    }
}
