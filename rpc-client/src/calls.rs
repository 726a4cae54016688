//! Calls: the calls of one connection and what the server says about them, whoever moves the bytes.

use std::fmt;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rpc_core::connection::{ClientConnection, ClientEvent, NewCall, Sent};
use rpc_core::error::{ConnectionError, StartError};
use rpc_core::stream::{CallChannels, Hook};
use rpc_core::{
    Answer, CallFailure, CallId, CallOptions, Code, FailureKind, FrameBuf, Limits, Metadata,
    MethodDescriptor, OutgoingCall,
};
use rpc_net::Address;

use crate::channels::ChannelTable;
use crate::clock;
use crate::error::Lost;
use crate::keep_alive::{KeepAlive, Silence};
use crate::load::Load;
use crate::waiters::{Key, Outcome, Removed, Waiters};
use crate::waiting::{Ticket, Turn, WaitQueue, earlier};

/// The protocol's state for one connection, and who waits for what of it.
///
/// Nothing here waits or wakes anybody: wakers are collected, for whoever has let go of the lock.
pub(crate) struct Calls {
    pub(crate) connection: ClientConnection,
    waiters: Waiters,
    channels: ChannelTable,
    queue: WaitQueue,
    silence: Silence,
    /// Where callers read how busy the connection is, as long as it takes calls and there are others to choose from.
    load: Option<Arc<Load>>,
    pub(crate) greeted: bool,
    /// How many calls ended together when some last did.
    ended_together: u32,
    /// What the server said when it began to drain.
    goodbye: Option<(Code, String)>,
    /// Whether the connection has ended: every call has its outcome, none is started.
    ended: bool,
}

/// A call that is not sent yet.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) method: &'static MethodDescriptor,
    pub(crate) frame: FrameBuf,
    pub(crate) deadline: Option<Instant>,
    pub(crate) metadata: Metadata,
    pub(crate) channels: Option<Arc<CallChannels>>,
}

/// Connections that a call tries. One that has just greeted and takes no calls is followed by another that has to do better.
pub(crate) const MAX_REFUSALS: usize = 3;

impl Outgoing {
    /// A call whose time begins to count.
    pub(crate) fn new(call: OutgoingCall, call_timeout: Option<Duration>) -> Self {
        Self {
            method: call.method,
            frame: call.frame,
            deadline: deadline_of(call.options, call_timeout),
            metadata: call.metadata,
            channels: call.channels,
        }
    }

    /// Whether the call may go to another connection: the server was closing this one and has said that it did not take the call (P-51), and the call is still there to be
    /// sent. What is longer than a small frame was handed over, and a channel may have been used.
    pub(crate) fn may_move(&self, failure: &CallFailure) -> bool {
        is_refused_by_goodbye(failure) && self.is_kept()
    }

    /// Whether the call is still there to be sent again.
    pub(crate) fn is_kept(&self) -> bool {
        self.frame.body_len() > 0 && self.channels.is_none()
    }
}

/// Whether a server that was closing the connection has said that it did not take a call.
pub(crate) fn is_refused_by_goodbye(failure: &CallFailure) -> bool {
    failure.kind() == FailureKind::Refused && failure.code().is_none_or(|code| code == Code::DRAINING)
}

/// When a call has to be over that is begun now.
pub(crate) fn deadline_of(mut options: CallOptions, call_timeout: Option<Duration>) -> Option<Instant> {
    if options.timeout.is_none() && options.deadline.is_none() {
        options.timeout = call_timeout;
    }
    match options {
        // Asking the clock is not free, and most calls that have no deadline are in a hurry.
        CallOptions {
            timeout: None,
            deadline,
            ..
        } => deadline,
        options => options.deadline_from(clock::now()),
    }
}

/// What became of the attempt to start a call.
#[derive(Debug)]
pub(crate) enum Start {
    Failed(CallFailure),
    Started(Key),
    /// The call is one-way and has ended for its caller.
    Sent,
    /// The connection takes no calls any more. The call was not sent.
    Unusable,
    /// The call waits for a slot.
    Waiting(Ticket),
}

impl Calls {
    pub(crate) fn new(limits: Limits, keep_alive: Option<Arc<KeepAlive>>) -> Self {
        let now = clock::now();
        Self {
            connection: ClientConnection::new(limits, now),
            waiters: Waiters::default(),
            channels: ChannelTable::new(limits.stream_credit),
            silence: Silence::new(keep_alive, now),
            queue: WaitQueue::default(),
            load: None,
            greeted: false,
            ended_together: 0,
            goodbye: None,
            ended: false,
        }
    }

    /// Starts a call, or queues it for a slot. `ticket` is the call's place in the queue, if it has one. `hook` makes what the channels of the call, if it has some, tell
    /// that they have something for the server.
    pub(crate) fn start(
        &mut self,
        call: &mut Outgoing,
        ticket: Option<Ticket>,
        waker: &Waker,
        hook: impl FnOnce(CallId) -> Arc<dyn Hook>,
        now: Instant,
        woken: &mut Vec<Waker>,
    ) -> Start {
        if self.ended || self.connection.is_draining() {
            // The queue is dissolved, or about to be: the ticket need not be given back.
            return Start::Unusable;
        }
        if let Some(ticket) = ticket {
            match self.queue.poll(ticket, waker) {
                Turn::Wait(ticket) => return Start::Waiting(ticket),
                Turn::Expired => return Start::Failed(expired_waiting()),
                Turn::Start => {}
            }
        } else if !self.may_overtake_nobody() {
            if call.deadline.is_some_and(|deadline| deadline <= now) {
                return Start::Failed(expired_unsent());
            }
            return Start::Waiting(self.queue.join(waker, call.deadline));
        }
        if self.connection.waiting() == 0 {
            // A connection that was idle has not been silent.
            self.silence.heard(now);
        }
        let count = |count: Option<usize>| count.and_then(|count| u16::try_from(count).ok());
        let channels = call.channels.as_ref();
        let new = NewCall {
            deadline: call.deadline,
            oneway: call.method.oneway,
            metadata: &call.metadata,
            sends: count(channels.map(|channels| channels.outbound_count())).unwrap_or(0),
            receives: count(channels.map(|channels| channels.inbound_count())).unwrap_or(0),
            ..NewCall::of(call.method.id)
        };
        match self.connection.start_call(&new, &mut call.frame, now) {
            Ok(_) if call.method.oneway => Start::Sent,
            Ok(id) => {
                if let Some(channels) = &call.channels {
                    self.channels
                        .attach(id, channels, &hook(id), &self.connection, woken);
                }
                Start::Started(self.waiters.insert(id, waker))
            }
            Err(StartError::Closed | StartError::Draining) => Start::Unusable,
            Err(StartError::Saturated { .. }) => Start::Waiting(self.queue.join(waker, call.deadline)),
            Err(StartError::Expired) => Start::Failed(expired_unsent()),
            Err(error) => Start::Failed(CallFailure::local(
                FailureKind::LocalLimit,
                false,
                error.to_string(),
            )),
        }
    }

    /// Whether something may be due sooner once the call is started: the call itself, or a sign of a server that owes nothing so far.
    pub(crate) fn is_timed(&self, call: &Outgoing) -> bool {
        call.deadline.is_some() || self.connection.waiting() == 0
    }

    /// What time it is, as far as starting the call depends on it: asking the clock is not free, and most calls have no deadline.
    pub(crate) fn now_for(&self, call: &Outgoing) -> Instant {
        if self.is_timed(call) {
            clock::now()
        } else {
            self.silence.last_heard()
        }
    }

    /// Fetches the outcome of a call that was started.
    pub(crate) fn poll(&mut self, key: &Key, waker: &Waker) -> Poll<Outcome> {
        self.waiters.poll(key, waker)
    }

    /// Gives up a call that was started and whose outcome was not fetched. What is returned is better dropped without a lock.
    ///
    /// The outcome may have arrived in the meantime, and is dropped then: the server has finished, so no cancel is sent. Otherwise the cancel
    /// is queued, and the slot stays busy until the server confirms (P-30).
    pub(crate) fn give_up(&mut self, key: &Key, woken: &mut Vec<Waker>) -> Removed {
        let removed = self.waiters.remove(key);
        if let Removed::Waiting(call) = removed {
            self.connection.cancel(call);
            let failure = CallFailure::local(FailureKind::Cancelled, true, "call was dropped");
            self.channels.failed(call, &failure, woken);
            // A call of which nothing was sent leaves its slot at once.
            self.settle(woken);
        }
        removed
    }

    /// Leaves the queue for a slot. If one had been granted already, it goes to the next.
    pub(crate) fn leave(&mut self, ticket: &Ticket, woken: &mut Vec<Waker>) {
        self.queue.leave(ticket);
        self.settle(woken);
    }

    /// Takes note that the channels of a call have something for the server.
    pub(crate) fn note_channels(&mut self, call: CallId) {
        self.channels.note(call);
    }

    /// Fetches what channels have for the server, as there is room for it.
    pub(crate) fn flush_channels(&mut self, woken: &mut Vec<Waker>) {
        self.channels.flush(&mut self.connection, woken);
    }

    /// Whether something is queued, or channels wait for a turn to hand over more.
    pub(crate) fn has_more_to_write(&self) -> bool {
        !self.connection.send_queue().is_empty() || self.channels.is_flush_due(&self.connection)
    }

    /// Somebody who waits for an answer, or for a slot.
    pub(crate) fn anyone_waiting(&self) -> Option<Waker> {
        if self.connection.waiting() == 0 && self.queue.waiting() == 0 {
            return None;
        }
        let waker = self.waiters.anyone().or_else(|| self.queue.anyone());
        waker.cloned()
    }

    /// When the server was last heard, or began to owe something.
    pub(crate) fn heard(&self) -> Instant {
        self.silence.last_heard()
    }

    /// Whether the connection has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Ends the connection for everybody who waits, after what was to be written was. Done once.
    pub(crate) fn end(&mut self, address: &Address, lost: &Lost, woken: &mut Vec<Waker>) {
        self.ended = true;
        for (call, sent) in self.connection.abandon_all() {
            let text = format!("{address}: {lost}");
            let failure = match sent {
                Sent::NotSent => CallFailure::local(FailureKind::NotSent, false, text),
                Sent::MaybeSent => CallFailure::local(FailureKind::ConnectionLost, true, text),
            };
            self.failed(call, failure, woken);
        }
        self.queue.dissolve(woken);
        self.tell_load();
        self.connection.release_memory();
    }

    /// When something is due next.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let silence = self.silence.deadline(self.connection.waiting() > 0);
        earlier(
            earlier(self.connection.deadline(), self.queue.deadline()),
            silence,
        )
    }

    /// Ends what is due.
    pub(crate) fn handle_timeout(&mut self, woken: &mut Vec<Waker>) -> Result<(), Lost> {
        let now = clock::now();
        self.queue.expire(now, woken);
        self.connection.handle_timeout(now);
        if self.silence.is_due(now, self.connection.waiting() > 0) {
            if self.silence.is_asked() {
                return Err(Lost::Silent);
            }
            self.silence.ask();
            self.connection.ping(KEEP_ALIVE);
        }
        Ok(())
    }

    /// Hands out everything that has arrived, which was at `now`.
    pub(crate) fn handle_events(&mut self, now: Instant, woken: &mut Vec<Waker>) -> Result<(), Lost> {
        self.silence.heard(now);
        self.poll_events(now, woken)
    }

    /// Hands out everything that is due or has arrived.
    pub(crate) fn handle_due(&mut self, woken: &mut Vec<Waker>) -> Result<(), Lost> {
        self.poll_events(clock::now(), woken)
    }

    fn poll_events(&mut self, now: Instant, woken: &mut Vec<Waker>) -> Result<(), Lost> {
        let before = self.connection.waiting();
        let result = loop {
            match self.connection.poll_event(now) {
                Ok(Some(event)) => {
                    if let Err(lost) = self.handle_event(event, woken) {
                        break Err(lost);
                    }
                }
                Ok(None) => break Ok(()),
                Err(error) => break Err(Lost::Connection(error)),
            }
        };
        let ended = before.saturating_sub(self.connection.waiting());
        if ended > 0 {
            self.ended_together = u32::try_from(ended).unwrap_or(u32::MAX);
        }
        self.settle(woken);
        result
    }

    /// Whether a call that is started now is likely to be the only one for a while: none is in flight, nothing is queued, and the last one did not end together with others, whose callers may
    /// be about to call again.
    pub(crate) fn is_alone(&self) -> bool {
        self.connection.waiting() == 0 && self.connection.send_queue().is_empty() && self.ended_together <= 1
    }

    /// Whether frames that are queued are likely to be followed by others, of callers that are ready to run.
    pub(crate) fn may_gather(&self) -> bool {
        self.connection.waiting() > 1 || self.ended_together > 1
    }

    /// Why the connection has ended in good order.
    pub(crate) fn farewell(&self) -> Lost {
        match self.goodbye.clone() {
            Some((code, text)) => Lost::Connection(ConnectionError::Goaway { code, text }),
            None => Lost::PeerFinished,
        }
    }

    /// Whether there is a slot for a newcomer, beyond those that are granted to calls which came before.
    fn may_overtake_nobody(&self) -> bool {
        self.queue.waiting() == 0 && self.has_slot_to_give()
    }

    fn has_slot_to_give(&self) -> bool {
        let taken = self.connection.busy() + self.queue.granted();
        self.connection.has_room()
            && u32::try_from(taken).is_ok_and(|taken| taken < self.connection.capacity())
    }

    /// Draws the conclusions from what was done: grants free slots to those who wait, and tells how busy the connection is.
    #[inline]
    pub(crate) fn settle(&mut self, woken: &mut Vec<Waker>) {
        if self.queue.waiting() > 0 || self.load.is_some() {
            self.settle_now(woken);
        }
    }

    fn settle_now(&mut self, woken: &mut Vec<Waker>) {
        while self.queue.waiting() > 0 && self.has_slot_to_give() {
            woken.extend(self.queue.grant());
        }
        self.tell_load();
    }

    /// Wakers of those who wait for a slot. They keep their places.
    pub(crate) fn queued(&self, woken: &mut Vec<Waker>) {
        self.queue.all(woken);
    }

    /// Tells from now on, until it takes no more calls, how busy the connection is.
    pub(crate) fn count(&mut self, load: Arc<Load>) {
        self.load = Some(load);
        self.tell_load();
    }

    fn tell_load(&mut self) {
        let Some(load) = &self.load else { return };
        if self.ended || self.connection.is_draining() {
            load.set_gone();
            // From now on it is that of the next connection.
            self.load = None;
            return;
        }
        let queued = u64::try_from(self.connection.send_queue().len()).unwrap_or(u64::MAX);
        let bytes = queued.saturating_add(self.connection.incoming_len());
        load.set_up(bytes, self.connection.busy(), !self.may_overtake_nobody());
    }

    /// A call that nobody waits for any more wakes nobody: its owner gave up before the event was handled, which cancelled it.
    fn handle_event(&mut self, event: ClientEvent, woken: &mut Vec<Waker>) -> Result<(), Lost> {
        match event {
            ClientEvent::Reply {
                call,
                error,
                metadata,
                body,
            } => {
                self.channels.returned(call, error, woken);
                let answer = Answer {
                    error,
                    body,
                    metadata,
                };
                woken.extend(self.waiters.complete(call, Ok(answer)));
            }
            ClientEvent::Failure {
                call,
                code,
                text,
                metadata,
            } => {
                let failure = CallFailure::from_peer(code, text).with_metadata(metadata);
                self.failed(call, failure, woken);
            }
            ClientEvent::Channel(event) => self.channels.on_event(event, woken),
            ClientEvent::Expired(call, sent) => {
                let (may_have_run, text) = match sent {
                    Sent::NotSent => (false, "time ran out before the call had left"),
                    Sent::MaybeSent => (true, "no answer in time"),
                };
                let kind = FailureKind::DeadlineExceeded;
                self.failed(call, CallFailure::local(kind, may_have_run, text), woken);
            }
            ClientEvent::Refused(call) => {
                let text = "server was closing the connection and did not take the call";
                self.failed(call, CallFailure::local(FailureKind::Refused, false, text), woken);
            }
            ClientEvent::Greeted => self.greeted = true,
            ClientEvent::Goaway { code, text, .. } => {
                if code == Code::CALM {
                    self.silence.calm_down();
                }
                self.goodbye = Some((code, text));
                // Calls that were not started go to another connection.
                self.queue.dissolve(woken);
            }
            ClientEvent::PeerFinished => return Err(Lost::PeerFinished),
            // Slots that are free again are granted when all events are handled. Nothing here sends pings; events of a later version of
            // the connection are none of a caller's.
            ClientEvent::Released | ClientEvent::Pong(_) | _ => {}
        }
        Ok(())
    }

    fn failed(&mut self, call: CallId, failure: CallFailure, woken: &mut Vec<Waker>) {
        self.channels.failed(call, &failure, woken);
        woken.extend(self.waiters.complete(call, Err(failure)));
    }
}

impl fmt::Debug for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Calls")
            .field("connection", &self.connection)
            .finish_non_exhaustive()
    }
}

/// The answer to a one-way call, which has none.
pub(crate) fn no_answer() -> Answer {
    Answer {
        error: false,
        body: Bytes::new(),
        metadata: Metadata::new(),
    }
}

/// The number of keep-alive pings.
const KEEP_ALIVE: u32 = 1;

/// A call that found no connection that takes it.
pub(crate) fn refused_too_often(address: &Address) -> CallFailure {
    let text = format!("{address}: connections end before they take a call");
    CallFailure::local(FailureKind::NotSent, false, text)
}

/// A call that ended while it waited for a slot.
fn expired_waiting() -> CallFailure {
    CallFailure::local(
        FailureKind::DeadlineExceeded,
        false,
        "time ran out while the call waited for others to end",
    )
}

/// A call that was started when it was too late.
fn expired_unsent() -> CallFailure {
    CallFailure::local(
        FailureKind::DeadlineExceeded,
        false,
        "time had run out before the call was sent",
    )
}
