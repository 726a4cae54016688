//! Shared: one connection as its callers and its driver share it, a socket and the protocol's state behind one lock.

use std::fmt;
use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Instant;

use bytes::Bytes;
use rpc_core::connection::{ClientConnection, ClientEvent, NewCall, Sent};
use rpc_core::error::{ConnectionError, StartError};
use rpc_core::stream::CallChannels;
use rpc_core::{
    Answer, CallFailure, CallId, Code, FailureKind, FrameBuf, Limits, Metadata, MethodDescriptor,
};
use rpc_net::{Address, Socket};

use crate::channels::ChannelTable;
use crate::clock;
use crate::error::Lost;
use crate::keep_alive::{KeepAlive, Silence};
use crate::load::Load;
use crate::waiters::{Key, Outcome, Removed, Waiters};
use crate::waiting::{Ticket, Turn, WaitQueue, earlier};

/// A connection.
///
/// The lock is held for short: to start a call, to read and handle what one read brought, to write what is queued. Reads and writes never
/// wait. No waker is woken under the lock.
pub(crate) struct Shared {
    address: Address,
    state: Mutex<State>,
}

/// What the lock protects.
pub(crate) struct State {
    /// Gone once the connection has ended, whoever still refers to it.
    socket: Option<Socket>,
    pub(crate) connection: ClientConnection,
    waiters: Waiters,
    channels: ChannelTable,
    queue: WaitQueue,
    silence: Silence,
    /// Where callers read how busy the connection is, as long as it takes calls and there are others to choose from.
    load: Option<Arc<Load>>,
    /// The driver's waker, once it has been polled.
    driver: Option<Waker>,
    /// Whether the driver was woken and has not looked yet: callers wake it once, however many they are.
    notified: bool,
    /// When the driver's timer rings. Later than the first deadline only while the driver is notified.
    pub(crate) armed: Option<Instant>,
    pub(crate) greeted: bool,
    /// What the server said when it began to drain.
    goodbye: Option<(Code, String)>,
    /// Whether no channel refers to the connection any more: it ends when its calls have.
    closing: bool,
    /// Whether it has ended: every call has its outcome, none is started.
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

impl Shared {
    pub(crate) fn new(
        socket: Socket,
        address: Address,
        limits: Limits,
        keep_alive: Option<Arc<KeepAlive>>,
    ) -> Self {
        let now = clock::now();
        let state = State {
            socket: Some(socket),
            connection: ClientConnection::new(limits, now),
            waiters: Waiters::default(),
            channels: ChannelTable::new(limits.stream_credit),
            silence: Silence::new(keep_alive, now),
            queue: WaitQueue::default(),
            load: None,
            driver: None,
            notified: false,
            armed: None,
            greeted: false,
            goodbye: None,
            closing: false,
            ended: false,
        };
        Self {
            address,
            state: Mutex::new(state),
        }
    }

    /// Nothing in this crate panics while it holds the lock; if it did, the state would still be the best there is.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a call, or queues it for a slot. `ticket` is the call's place in the queue, if it has one.
    ///
    /// A call that is alone is written to the socket on the spot; else the driver is woken, and its next write carries all that have
    /// gathered until then.
    pub(crate) fn start(
        self: &Arc<Self>,
        call: &mut Outgoing,
        ticket: Option<Ticket>,
        waker: &Waker,
    ) -> Start {
        let mut woken = None;
        let mut granted = Vec::new();
        let mut state = self.lock();
        let alone = state.connection.waiting() == 0 && state.connection.send_queue().is_empty();
        let start = state.start(self, call, ticket, waker, &mut granted);
        match start {
            // What the socket does not take, and its errors, are the driver's.
            Start::Started(_) | Start::Sent if alone && matches!(state.write(), Ok(Written::All)) => {}
            Start::Started(_) | Start::Sent => woken = state.notify_driver(),
            Start::Failed(_) | Start::Unusable | Start::Waiting(_) => {}
        }
        // A grant that was not used goes to the next.
        state.settle(&mut granted);
        if state.is_timer_late() {
            woken = woken.or_else(|| state.notify_driver());
        }
        drop(state);
        wake_all(&mut granted);
        if let Some(driver) = woken {
            driver.wake();
        }
        start
    }

    /// Fetches the outcome of a call that was started.
    pub(crate) fn poll(&self, key: &Key, waker: &Waker) -> Poll<Outcome> {
        self.lock().waiters.poll(key, waker)
    }

    /// Gives up a call that was started and whose outcome was not fetched.
    ///
    /// The outcome may have arrived in the meantime, and is dropped then: the server has finished, so no cancel is sent. Otherwise the cancel
    /// is queued, and the slot stays busy until the server confirms (P-30).
    pub(crate) fn give_up(&self, key: &Key) {
        let mut state = self.lock();
        let removed = state.waiters.remove(key);
        let mut woken = None;
        let mut ends = Vec::new();
        if let Removed::Waiting(call) = removed {
            state.connection.cancel(call);
            let failure = CallFailure::local(FailureKind::Cancelled, true, "call was dropped");
            state.channels.failed(call, &failure, &mut ends);
            // A call of which nothing was sent leaves its slot at once.
            state.settle(&mut ends);
            // Besides writing the cancel, the driver may find that this was the last call of a connection that is closing.
            woken = state.notify_driver();
        }
        drop(state);
        drop(removed);
        wake_all(&mut ends);
        if let Some(driver) = woken {
            driver.wake();
        }
    }

    /// Leaves the queue for a slot. If one had been granted already, it goes to the next.
    pub(crate) fn leave(&self, ticket: &Ticket) {
        let mut granted = Vec::new();
        let mut state = self.lock();
        state.queue.leave(ticket);
        state.settle(&mut granted);
        drop(state);
        wake_all(&mut granted);
    }

    /// Wakes those who wait for a slot, so that they look for one elsewhere. They keep their places.
    pub(crate) fn wake_queued(&self) {
        let mut woken = Vec::new();
        self.lock().queue.all(&mut woken);
        wake_all(&mut woken);
    }

    /// Tells from now on, until it takes no more calls, how busy the connection is.
    pub(crate) fn count(&self, load: Arc<Load>) {
        let mut state = self.lock();
        state.load = Some(load);
        state.tell_load();
    }

    /// Takes note that no channel refers to the connection any more. It ends when its calls have.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closing = true;
        let woken = state.notify_driver();
        drop(state);
        if let Some(driver) = woken {
            driver.wake();
        }
    }

    /// Takes note that the channels of a call have something for the server.
    pub(crate) fn notify_channels(&self, call: CallId) {
        let mut state = self.lock();
        state.channels.note(call);
        let woken = state.notify_driver();
        drop(state);
        if let Some(driver) = woken {
            driver.wake();
        }
    }

    /// Whether the server takes no further calls on this connection.
    pub(crate) fn is_draining(&self) -> bool {
        self.lock().connection.is_draining()
    }

    /// The longest call that the server accepts.
    pub(crate) fn max_body(&self) -> u32 {
        self.lock().connection.max_body()
    }

    /// Ends the connection: every call gets its outcome, here or on its next poll.
    pub(crate) fn end(&self, lost: &Lost, woken: &mut Vec<Waker>) {
        self.lock().end(&self.address, lost, woken);
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// How much of the queue a write has emptied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Written {
    All,
    /// The socket takes no more for the time being.
    Part,
    /// The socket may take more, but others have waited long enough.
    Enough,
}

/// Writes of one turn: bounds what a long body does to others who need the connection, or its thread.
const WRITES_PER_TURN: u32 = 1;

/// Pieces of the queue that one write takes along.
const SLICES: usize = 32;

impl State {
    /// Takes note of who drives. What callers did until then, the driver sees in this turn.
    pub(crate) fn attach_driver(&mut self, waker: &Waker) {
        self.notified = false;
        match &mut self.driver {
            Some(driver) => driver.clone_from(waker),
            None => self.driver = Some(waker.clone()),
        }
    }

    /// Reads once, into the room that the connection has for it.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Self {
            socket: Some(socket),
            connection,
            ..
        } = self
        else {
            return Poll::Ready(Err(closed()));
        };
        loop {
            ready!(socket.poll_read_ready(cx))?;
            match socket.try_read_buf(&mut connection.recv_buffer()) {
                Err(error) if is_transient(&error) => {}
                result => return Poll::Ready(result),
            }
        }
    }

    /// Writes what is queued as far as a turn goes, and what channels have as there is room for it.
    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        woken: &mut Vec<Waker>,
    ) -> Poll<io::Result<()>> {
        let Self {
            channels, connection, ..
        } = self;
        channels.flush(connection, woken);
        while self.write()? == Written::Part {
            if let Some(socket) = &self.socket {
                ready!(socket.poll_write_ready(cx))?;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Whether channels wait for a turn to hand over more.
    pub(crate) fn has_more_to_flush(&self) -> bool {
        self.channels.is_flush_due(&self.connection)
    }

    /// Writes what is queued, as far as the socket takes it and a turn goes.
    fn write(&mut self) -> io::Result<Written> {
        let Self {
            socket: Some(socket),
            connection,
            ..
        } = self
        else {
            return Err(closed());
        };
        let mut writes = 0;
        while !connection.send_queue().is_empty() {
            if writes == WRITES_PER_TURN {
                return Ok(Written::Enough);
            }
            writes += 1;
            let written = {
                let mut slices = [IoSlice::new(&[]); SLICES];
                let count = connection.io_slices(&mut slices);
                socket.try_write_vectored(slices.get(..count).unwrap_or_default())
            };
            match written {
                Ok(len) => connection.advance(len),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Written::Part),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Written::All)
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

    /// Hands out everything that has just arrived.
    pub(crate) fn handle_events(&mut self, woken: &mut Vec<Waker>) -> Result<(), Lost> {
        self.silence.heard(clock::now());
        self.handle_due(woken)
    }

    /// Hands out everything that is due or has arrived.
    pub(crate) fn handle_due(&mut self, woken: &mut Vec<Waker>) -> Result<(), Lost> {
        let now = clock::now();
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
        self.settle(woken);
        result
    }

    /// Whether nothing is left to do.
    pub(crate) fn is_finished(&self) -> bool {
        let idle = self.connection.is_idle() && self.connection.send_queue().is_empty();
        self.closing && idle || self.connection.is_finished()
    }

    /// Why the connection has ended in good order.
    pub(crate) fn farewell(&self) -> Lost {
        match self.goodbye.clone() {
            Some((code, text)) => Lost::Connection(ConnectionError::Goaway { code, text }),
            None => Lost::PeerFinished,
        }
    }

    fn start(
        &mut self,
        shared: &Arc<Shared>,
        call: &mut Outgoing,
        ticket: Option<Ticket>,
        waker: &Waker,
        woken: &mut Vec<Waker>,
    ) -> Start {
        if self.ended || self.connection.is_draining() {
            // The queue is dissolved, or about to be: the ticket need not be given back.
            return Start::Unusable;
        }
        let now = clock::now();
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
                        .attach(id, channels, shared, &self.connection, woken);
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
    pub(crate) fn settle(&mut self, woken: &mut Vec<Waker>) {
        while self.queue.waiting() > 0 && self.has_slot_to_give() {
            woken.extend(self.queue.grant());
        }
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

    fn handle_event(&mut self, event: ClientEvent, woken: &mut Vec<Waker>) -> Result<(), Lost> {
        let (call, outcome) = match event {
            ClientEvent::Reply {
                call,
                error,
                metadata,
                body,
            } => {
                let answer = Answer {
                    error,
                    body,
                    metadata,
                };
                (call, Ok(answer))
            }
            ClientEvent::Failure {
                call,
                code,
                text,
                metadata,
            } => (
                call,
                Err(CallFailure::from_peer(code, text).with_metadata(metadata)),
            ),
            ClientEvent::Channel(event) => {
                self.channels.on_event(event, woken);
                return Ok(());
            }
            ClientEvent::Expired(call, sent) => {
                let (may_have_run, text) = match sent {
                    Sent::NotSent => (false, "time ran out before the call had left"),
                    Sent::MaybeSent => (true, "no answer in time"),
                };
                let kind = FailureKind::DeadlineExceeded;
                (call, Err(CallFailure::local(kind, may_have_run, text)))
            }
            ClientEvent::Refused(call) => {
                let text = "server was closing the connection and did not take the call";
                (call, Err(CallFailure::local(FailureKind::Refused, false, text)))
            }
            ClientEvent::Greeted => {
                self.greeted = true;
                return Ok(());
            }
            ClientEvent::Goaway { code, text, .. } => {
                if code == Code::CALM {
                    self.silence.calm_down();
                }
                self.goodbye = Some((code, text));
                // Calls that were not started go to another connection.
                self.queue.dissolve(woken);
                return Ok(());
            }
            ClientEvent::PeerFinished => return Err(Lost::PeerFinished),
            // Slots that are free again are granted when all events are handled. Nothing here sends pings; events of a later version of
            // the connection are none of a caller's.
            ClientEvent::Released | ClientEvent::Pong(_) | _ => return Ok(()),
        };
        self.complete(call, outcome, woken);
        Ok(())
    }

    fn complete(&mut self, call: CallId, outcome: Outcome, woken: &mut Vec<Waker>) {
        match &outcome {
            Ok(answer) => self.channels.returned(call, answer.error, woken),
            Err(failure) => self.channels.failed(call, failure, woken),
        }
        // Without a waiter there is nobody to wake: its owner gave up before the event was handled, which cancelled the call.
        woken.extend(self.waiters.complete(call, outcome));
    }

    fn end(&mut self, address: &Address, lost: &Lost, woken: &mut Vec<Waker>) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        if let Lost::Connection(_) = lost {
            // A goaway is queued that tells the server why. It gets as much of it as the socket takes; an error changes nothing.
            let _ = self.write();
        }
        if let Some(socket) = self.socket.take() {
            let _ = socket.shutdown_write();
        }
        for (call, sent) in self.connection.abandon_all() {
            let text = format!("{address}: {lost}");
            let failure = match sent {
                Sent::NotSent => CallFailure::local(FailureKind::NotSent, false, text),
                Sent::MaybeSent => CallFailure::local(FailureKind::ConnectionLost, true, text),
            };
            self.complete(call, Err(failure), woken);
        }
        self.queue.dissolve(woken);
        self.tell_load();
        self.connection.release_memory();
    }

    /// The driver's waker, unless it was woken and has not looked yet. Whoever gets it has to wake it.
    fn notify_driver(&mut self) -> Option<Waker> {
        if std::mem::replace(&mut self.notified, true) {
            return None;
        }
        self.driver.clone()
    }

    /// Whether something is due before the driver's timer rings.
    fn is_timer_late(&self) -> bool {
        self.deadline()
            .is_some_and(|deadline| self.armed.is_none_or(|armed| deadline < armed))
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
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

/// Wakes everybody and keeps the list's memory.
pub(crate) fn wake_all(woken: &mut Vec<Waker>) {
    for waker in woken.drain(..) {
        waker.wake();
    }
}

fn is_transient(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "socket is closed")
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

/// Driver and callers are on different threads.
const _: () = {
    const fn assert_shareable<T: Send + Sync>() {}
    assert_shareable::<Arc<Shared>>();
};
