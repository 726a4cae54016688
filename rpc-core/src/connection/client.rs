//! ClientConnection: the rules of the side that starts calls.

use std::collections::VecDeque;
use std::time::Instant;

use crate::buffer::Frame;
use crate::code::Code;
use crate::connection::body::{PRELUDE_LEN, Prelude, read_text, split_answer, time_left};
use crate::connection::deadlines::{Earliest, earlier};
use crate::connection::drive_methods;
use crate::connection::event::{ClientEvent, Sent};
use crate::connection::link::{Incoming, Link};
use crate::error::{ConnectionError, ProtocolError, StartError};
use crate::frame_buf::FrameBuf;
use crate::header::{Flags, FrameHeader, Kind};
use crate::id::{CallId, MethodId};
use crate::limits::Limits;
use crate::preface::Side;

/// The client's end of a connection. Driven as [the module](crate::connection) says.
///
/// Every call that [`start_call`](Self::start_call) began ends for its owner exactly once: by one of the events `Reply`, `Failure`, `Expired` and
/// `Refused`, by [`cancel`](Self::cancel), or by [`abandon_all`](Self::abandon_all).
#[derive(Debug)]
pub struct ClientConnection {
    link: Link,
    /// By call id; grown as ids are used, up to the limit.
    slots: Vec<Slot>,
    /// Ids below `slots.len()` that are free; the last one is used next.
    free: Vec<CallId>,
    /// Slots whose calls have not ended for the owner.
    waiting: usize,
    /// Calls ever started.
    started: u64,
    earliest: Earliest,
    /// Slots in state `ExpiryDue` or `RefusalDue`, and such that were when they were put here.
    due: VecDeque<CallId>,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    state: State,
    deadline: Option<Instant>,
    /// Calls that were started before this one: what a goaway counts.
    order: u64,
    /// Where the call's frame ends in the stream.
    end: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Free,
    Waiting,
    /// The deadline has passed and a cancel was sent; the owner is not told yet.
    ExpiryDue,
    /// A goaway did not take the call; the owner is not told yet.
    RefusalDue,
    /// Over for the owner; the slot is busy until the server's final frame (P-30).
    Abandoned,
}

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
            started: 0,
            earliest: Earliest::default(),
            due: VecDeque::new(),
        }
    }

    drive_methods!();

    /// The next event, if there is one.
    ///
    /// # Errors
    ///
    /// [`ConnectionError`] is final: [`abandon_all`](Self::abandon_all) tells which calls are still to be ended, and how.
    pub fn poll_event(&mut self) -> Result<Option<ClientEvent>, ConnectionError> {
        if let Some(event) = self.next_due() {
            return Ok(Some(event));
        }
        let event = match self.link.next()? {
            None => return Ok(None),
            Some(Incoming::Greeted) => ClientEvent::Greeted,
            Some(Incoming::Goaway { code, taken, text }) => {
                self.refuse_from(taken);
                ClientEvent::Goaway { code, taken, text }
            }
            Some(Incoming::Pong(number)) => ClientEvent::Pong(number),
            Some(Incoming::Ended) => ClientEvent::PeerFinished,
            Some(Incoming::Frame(frame)) => self
                .on_final(frame)
                .map_err(|error| self.link.fail(error.into()))?,
        };
        Ok(Some(event))
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
                    slot.state = State::ExpiryDue;
                    self.due.push_back(CallId(id));
                    self.link
                        .send
                        .push_control(FrameHeader::new(Kind::Cancel, CallId(id)), &[]);
                }
                deadline if slot.state == State::Waiting => self.earliest.lower(deadline),
                Some(_) | None => {}
            }
        }
    }

    /// Starts a call and empties the frame, whose body is 16 bytes of space for the prelude and then the archive of the arguments.
    ///
    /// # Errors
    ///
    /// [`StartError`]: nothing is sent, and the frame is as it was.
    pub fn start_call(
        &mut self,
        method: MethodId,
        frame: &mut FrameBuf,
        deadline: Option<Instant>,
        oneway: bool,
        now: Instant,
    ) -> Result<CallId, StartError> {
        let time_left = match deadline {
            Some(deadline) => time_left(deadline, now).ok_or(StartError::Expired)?,
            None => 0,
        };
        self.check_start(frame.body_len())?;
        let call = self.take_slot()?;
        // Space that the caller left out could only be filled with a copy; it is made rather than trusted.
        let missing = PRELUDE_LEN.saturating_sub(frame.body_len());
        frame.extend([0; PRELUDE_LEN].get(..missing).unwrap_or_default());
        if let Some(space) = frame.body_mut().first_chunk_mut::<PRELUDE_LEN>() {
            *space = Prelude {
                method,
                time_left,
                metadata_len: 0,
            }
            .encode();
        }
        let flags = if oneway { Flags::ONEWAY } else { Flags::NONE };
        self.link.send.push(
            frame,
            FrameHeader {
                flags,
                ..FrameHeader::new(Kind::Call, call)
            },
        );
        let (order, end) = (self.started, self.link.send.enqueued());
        if let Some(slot) = self.slots.get_mut(call.index()) {
            *slot = Slot {
                state: State::Waiting,
                deadline,
                order,
                end,
            };
        }
        self.started += 1;
        self.waiting += 1;
        self.earliest.lower(deadline);
        Ok(call)
    }

    /// Gives up a call that waits: it has ended for the owner. Its slot is free when the server has confirmed that it stopped (P-30).
    pub fn cancel(&mut self, call: CallId) {
        let Some(slot) = self.slots.get_mut(call.index()) else {
            return;
        };
        match slot.state {
            State::Free | State::Abandoned => return,
            State::Waiting if !self.link.is_closed() => {
                self.link
                    .send
                    .push_control(FrameHeader::new(Kind::Cancel, call), &[]);
            }
            State::Waiting | State::ExpiryDue | State::RefusalDue => {}
        }
        slot.state = State::Abandoned;
        self.waiting -= 1;
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
        self.waiting = 0;
        let slots = std::mem::take(&mut self.slots);
        slots
            .into_iter()
            .zip(0..)
            .filter_map(move |(slot, id)| match slot.state {
                State::Free | State::Abandoned => None,
                State::RefusalDue => Some((CallId(id), Sent::NotSent)),
                State::Waiting | State::ExpiryDue if slot.end > transmitted => {
                    Some((CallId(id), Sent::NotSent))
                }
                State::Waiting | State::ExpiryDue => Some((CallId(id), Sent::MaybeSent)),
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

    /// Whether a call could be started, as far as slots are concerned.
    pub fn has_free_slot(&self) -> bool {
        u32::try_from(self.busy()).is_ok_and(|busy| busy < self.capacity())
    }

    /// Calls that have not ended for their owner.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Slots that are busy: calls that wait, and given-up ones that the server has not ended.
    pub fn busy(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// The longest body of a call that can be sent, prelude included, in bytes.
    pub fn max_body(&self) -> u32 {
        self.link.body_limit()
    }

    /// Whether to read on.
    pub fn wants_read(&self) -> bool {
        self.link.wants_read() && self.link.send.len() <= self.link.limits.max_held
    }

    /// Whether no further call can be started on this connection.
    pub fn is_draining(&self) -> bool {
        self.link.is_closed() || self.link.is_draining() || self.link.is_drained()
    }

    /// Whether nothing is left to do: the socket can be closed.
    pub fn is_finished(&self) -> bool {
        let over = self.link.is_draining() && self.waiting == 0;
        self.link.is_drained() || self.link.send.is_empty() && (self.link.is_closed() || over)
    }

    fn check_start(&self, len: usize) -> Result<(), StartError> {
        if self.link.is_closed() || self.link.is_drained() {
            return Err(StartError::Closed);
        }
        if self.link.is_draining() {
            return Err(StartError::Draining);
        }
        let limit = self.link.body_limit();
        match u32::try_from(len) {
            Ok(len) if len <= limit => Ok(()),
            _ if self.link.peer().is_none() => Err(StartError::NotGreeted { len, limit }),
            Ok(_) | Err(_) => Err(StartError::TooLarge { len, limit }),
        }
    }

    fn take_slot(&mut self) -> Result<CallId, StartError> {
        if let Some(call) = self.free.pop() {
            return Ok(call);
        }
        let limit = self.capacity();
        let id = u32::try_from(self.slots.len()).unwrap_or(u32::MAX);
        if id >= limit {
            return Err(StartError::Saturated { limit });
        }
        self.slots.push(Slot {
            state: State::Free,
            deadline: None,
            order: 0,
            end: 0,
        });
        Ok(CallId(id))
    }

    /// A reply or failure.
    fn on_final(&mut self, frame: Frame) -> Result<ClientEvent, ProtocolError> {
        let Frame { header, body } = frame;
        let FrameHeader { kind, call, .. } = header;
        // What is malformed is malformed, whether or not somebody waits for it.
        let (metadata, body) = split_answer(&header, body)?;
        let not_called = ProtocolError::NotCalled { kind, call };
        let slot = self.slots.get_mut(call.index()).ok_or(not_called)?;
        match slot.state {
            State::Free => return Err(not_called),
            State::Abandoned => {
                slot.state = State::Free;
                self.free.push(call);
                return Ok(ClientEvent::Released);
            }
            // The owner is told of what is due before the next frame is looked at.
            State::Waiting | State::ExpiryDue | State::RefusalDue => slot.state = State::Free,
        }
        self.free.push(call);
        self.waiting -= 1;
        if kind == Kind::Reply {
            let error = header.flags.contains(Flags::ERROR);
            return Ok(ClientEvent::Reply {
                call,
                error,
                metadata,
                body,
            });
        }
        Ok(ClientEvent::Failure {
            call,
            code: Code::from_number(header.aux),
            text: read_text(&body),
        })
    }

    /// P-51: calls behind the first `taken` have not run. Their slots stay busy, as the server may still answer them with `draining`.
    fn refuse_from(&mut self, taken: u64) {
        for (slot, id) in self.slots.iter_mut().zip(0..) {
            if slot.state == State::Waiting && slot.order >= taken {
                slot.state = State::RefusalDue;
                self.due.push_back(CallId(id));
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
                State::ExpiryDue => ClientEvent::Expired(call),
                State::RefusalDue => ClientEvent::Refused(call),
                State::Free | State::Waiting | State::Abandoned => continue,
            };
            slot.state = State::Abandoned;
            self.waiting -= 1;
            return Some(event);
        }
        None
    }
}
