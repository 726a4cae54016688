//! ServerConnection: the rules of the side that answers calls.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::buffer::Frame;
use crate::code::Code;
use crate::connection::body::{MetadataError, Prelude, cut_text, take_metadata};
use crate::connection::deadlines::{Earliest, earlier};
use crate::connection::drive_methods;
use crate::connection::event::ServerEvent;
use crate::connection::link::{Incoming, Link};
use crate::error::{ConnectionError, ProtocolError};
use crate::frame_buf::FrameBuf;
use crate::header::{Flags, FrameHeader, Kind};
use crate::id::CallId;
use crate::limits::Limits;
use crate::preface::Side;

/// The server's end of a connection. Driven as [the module](crate::connection) says.
#[derive(Debug)]
pub struct ServerConnection {
    link: Link,
    /// By call id; grown as ids are used, up to `max_calls`.
    slots: Vec<Slot>,
    in_flight: usize,
    /// Length of the bodies of all running calls.
    held: usize,
    earliest: Earliest,
    /// Slots in state `ExpiryDue`, and such that were when they were put here.
    due: VecDeque<CallId>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    state: State,
    deadline: Option<Instant>,
    /// Length of the call's body.
    held: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Free,
    Running,
    /// The deadline has passed; the owner is not told yet.
    ExpiryDue,
    /// The owner was asked to stop the call.
    Stopping,
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
            held: 0,
            earliest: Earliest::default(),
            due: VecDeque::new(),
        }
    }

    drive_methods!();

    /// The next event, if there is one. `now` is when the bytes were read: deadlines count from it.
    ///
    /// # Errors
    ///
    /// [`ConnectionError`] is final. Running calls are to be stopped, they need no end; the goaway that tells the client is queued.
    pub fn poll_event(&mut self, now: Instant) -> Result<Option<ServerEvent>, ConnectionError> {
        if let Some(call) = self.poll_expired() {
            return Ok(Some(ServerEvent::Expire(call)));
        }
        while let Some(incoming) = self.link.next()? {
            let event = match incoming {
                Incoming::Greeted => Some(ServerEvent::Greeted),
                Incoming::Goaway { code, text, .. } => Some(ServerEvent::Goaway { code, text }),
                Incoming::Pong(number) => Some(ServerEvent::Pong(number)),
                Incoming::Ended => Some(ServerEvent::PeerFinished),
                Incoming::Frame(frame) if frame.header.kind == Kind::Cancel => {
                    self.on_cancel(frame.header.call)
                }
                Incoming::Frame(frame) => self
                    .on_call(frame, now)
                    .map_err(|error| self.link.fail(error.into()))?,
            };
            if event.is_some() {
                return Ok(event);
            }
        }
        Ok(None)
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

    /// Ends a call with the archive in `frame`, the method's value or its own error, and empties the frame.
    ///
    /// A reply above what the client accepts becomes a failure `reply_too_large`. A call that is not running is left alone.
    pub fn reply(&mut self, call: CallId, frame: &mut FrameBuf, error: bool) {
        let limit = self.link.body_limit();
        let len = frame.body_len();
        if u32::try_from(len).is_ok_and(|len| len <= limit) {
            if self.end(call) {
                let flags = if error { Flags::ERROR } else { Flags::NONE };
                self.link.send.push(
                    frame,
                    FrameHeader {
                        flags,
                        ..FrameHeader::new(Kind::Reply, call)
                    },
                );
            }
        } else {
            let text = format!("reply of {len} bytes exceeds the client's limit of {limit}");
            self.fail(call, Code::REPLY_TOO_LARGE, &text);
        }
        frame.clear();
    }

    /// Ends a call without an answer of the method. The text is cut to 8,192 bytes. A call that is not running is left alone.
    ///
    /// The code `ok` is none for a failure (section 4) and is sent as `internal`.
    pub fn fail(&mut self, call: CallId, code: Code, text: &str) {
        if self.end(call) {
            self.send_failure(call, code, text);
        }
    }

    /// Says goodbye. With `ok` or `draining`, running calls are finished and later ones answered with `draining`; with any other code the connection
    /// is over once the queue is written.
    pub fn goaway(&mut self, code: Code, text: &str) {
        self.link.goaway(code, text);
    }

    /// Calls that wait for their end.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Bytes that the connection holds for its peer: bodies of running calls, and what is queued.
    pub fn held(&self) -> usize {
        self.held + self.link.send.len()
    }

    /// Whether to read on: not while the connection holds more than its limit, nor at its end.
    pub fn wants_read(&self) -> bool {
        self.link.wants_read() && self.held() <= self.link.limits.max_held
    }

    /// The longest reply that the client accepts, in bytes.
    pub fn max_reply(&self) -> u32 {
        self.link.body_limit()
    }

    /// Whether nothing is left to do: the socket can be closed.
    pub fn is_finished(&self) -> bool {
        let over = self.link.is_drained() || self.link.is_goaway_sent();
        self.link.send.is_empty() && (self.link.is_closed() || over && self.in_flight == 0)
    }

    fn on_call(&mut self, frame: Frame, now: Instant) -> Result<Option<ServerEvent>, ProtocolError> {
        let Frame { header, mut body } = frame;
        let call = header.call;
        if self
            .slots
            .get(call.index())
            .is_some_and(|slot| slot.state != State::Free)
        {
            return Err(ProtocolError::CallIdBusy { call });
        }
        if self.link.is_goaway_sent() {
            self.send_failure(call, Code::DRAINING, "server is shutting down");
            return Ok(None);
        }
        self.link.taken += 1;
        let Limits {
            max_calls,
            max_metadata,
            ..
        } = self.link.limits;
        if call.0 >= max_calls {
            let text = format!("call id {call} is not below the limit of {max_calls} calls in flight");
            self.send_failure(call, Code::REFUSED, &text);
            return Ok(None);
        }
        let held = body.len();
        let prelude = Prelude::take(&mut body);
        let Prelude {
            method,
            time_left,
            metadata_len,
        } = prelude;
        if metadata_len > max_metadata {
            let text = format!("metadata of {metadata_len} bytes exceeds the limit of {max_metadata}");
            self.send_failure(call, Code::METADATA_TOO_LARGE, &text);
            return Ok(None);
        }
        let metadata = match take_metadata(&mut body, metadata_len) {
            Ok(metadata) => metadata,
            Err(MetadataError::BeyondBody) => {
                let text = format!("metadata of {metadata_len} bytes exceeds its frame");
                self.send_failure(call, Code::METADATA_TOO_LARGE, &text);
                return Ok(None);
            }
            Err(MetadataError::PaddingNotZero) => return Err(ProtocolError::MetadataMalformed { call }),
        };
        // P-35: zero is none. A time beyond what the clock can count never comes.
        let time_left = (time_left > 0).then(|| Duration::from_micros(time_left.into()));
        let deadline = time_left.and_then(|time_left| now.checked_add(time_left));
        self.begin(
            call,
            Slot {
                state: State::Running,
                deadline,
                held,
            },
        );
        let oneway = header.flags.contains(Flags::ONEWAY);
        Ok(Some(ServerEvent::Call {
            call,
            method,
            deadline,
            oneway,
            metadata,
            arguments: body,
        }))
    }

    /// P-32
    fn on_cancel(&mut self, call: CallId) -> Option<ServerEvent> {
        let slot = self.slots.get_mut(call.index())?;
        match slot.state {
            // It crossed the final frame, or the handler is being stopped anyway.
            State::Free | State::Stopping => None,
            State::Running | State::ExpiryDue => {
                slot.state = State::Stopping;
                Some(ServerEvent::Cancel(call))
            }
        }
    }

    /// Makes a slot busy; `call` is below the limit.
    fn begin(&mut self, call: CallId, slot: Slot) {
        let index = call.index();
        if index >= self.slots.len() {
            self.slots.resize(index + 1, Slot::default());
        }
        self.in_flight += 1;
        self.held += slot.held;
        self.earliest.lower(slot.deadline);
        if let Some(space) = self.slots.get_mut(index) {
            *space = slot;
        }
    }

    /// Makes a slot free and says whether its final frame is to be sent.
    fn end(&mut self, call: CallId) -> bool {
        let Some(slot) = self
            .slots
            .get_mut(call.index())
            .filter(|slot| slot.state != State::Free)
        else {
            return false;
        };
        let Slot { held, .. } = std::mem::take(slot);
        self.held -= held;
        self.in_flight -= 1;
        !self.link.is_closed()
    }

    fn send_failure(&mut self, call: CallId, code: Code, text: &str) {
        let code = if code == Code::OK { Code::INTERNAL } else { code };
        let header = FrameHeader {
            aux: code.number(),
            ..FrameHeader::new(Kind::Failure, call)
        };
        self.link.send.push_control(header, cut_text(text).as_bytes());
    }
}
