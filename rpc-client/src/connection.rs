//! Shared: one connection as its callers and its driver share it, a socket and the protocol's state behind one lock.

use std::fmt;
use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Instant;

use rpc_core::connection::{ClientConnection, ClientEvent, Sent};
use rpc_core::error::{ConnectionError, StartError};
use rpc_core::{Answer, CallFailure, CallId, Code, FailureKind, FrameBuf, Limits, MethodId};
use rpc_net::{Address, Socket};

use crate::clock;
use crate::error::Lost;
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
    queue: WaitQueue,
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
    pub(crate) method: MethodId,
    pub(crate) frame: FrameBuf,
    pub(crate) deadline: Option<Instant>,
}

/// What became of the attempt to start a call.
#[derive(Debug)]
pub(crate) enum Start {
    Failed(CallFailure),
    Started(Key),
    /// The connection takes no calls any more. The call was not sent.
    Unusable,
    /// The call waits for a slot.
    Waiting(Ticket),
}

impl Shared {
    pub(crate) fn new(socket: Socket, address: Address, limits: Limits) -> Self {
        let state = State {
            socket: Some(socket),
            connection: ClientConnection::new(limits, clock::now()),
            waiters: Waiters::default(),
            queue: WaitQueue::default(),
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
    pub(crate) fn start(&self, call: &mut Outgoing, ticket: Option<Ticket>, waker: &Waker) -> Start {
        let mut woken = None;
        let mut granted = Vec::new();
        let mut state = self.lock();
        let alone = state.connection.waiting() == 0 && state.connection.send_queue().is_empty();
        let start = state.start(call, ticket, waker);
        match start {
            // What the socket does not take, and its errors, are the driver's.
            Start::Started(_) if alone && matches!(state.write(), Ok(Written::All)) => {}
            Start::Started(_) => woken = state.notify_driver(),
            // A grant that was not used goes to the next.
            Start::Failed(_) => state.grant_slots(&mut granted),
            Start::Unusable | Start::Waiting(_) => {}
        }
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
        if let Removed::Waiting(call) = removed {
            state.connection.cancel(call);
            // Besides writing the cancel, the driver may find that this was the last call of a connection that is closing.
            woken = state.notify_driver();
        }
        drop(state);
        drop(removed);
        if let Some(driver) = woken {
            driver.wake();
        }
    }

    /// Leaves the queue for a slot. If one had been granted already, it goes to the next.
    pub(crate) fn leave(&self, ticket: &Ticket) {
        let mut granted = Vec::new();
        let mut state = self.lock();
        state.queue.leave(ticket);
        state.grant_slots(&mut granted);
        drop(state);
        wake_all(&mut granted);
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
}

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

    /// Writes all that is queued.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.write()? == Written::Part {
            if let Some(socket) = &self.socket {
                ready!(socket.poll_write_ready(cx))?;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Writes what is queued, as far as the socket takes it.
    fn write(&mut self) -> io::Result<Written> {
        let Self {
            socket: Some(socket),
            connection,
            ..
        } = self
        else {
            return Err(closed());
        };
        while !connection.send_queue().is_empty() {
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
        earlier(self.connection.deadline(), self.queue.deadline())
    }

    /// Ends what is due.
    pub(crate) fn handle_timeout(&mut self, woken: &mut Vec<Waker>) {
        let now = clock::now();
        self.queue.expire(now, woken);
        self.connection.handle_timeout(now);
    }

    /// Hands out everything that has arrived.
    pub(crate) fn handle_events(&mut self, woken: &mut Vec<Waker>) -> Result<(), Lost> {
        let result = loop {
            match self.connection.poll_event() {
                Ok(Some(event)) => {
                    if let Err(lost) = self.handle_event(event, woken) {
                        break Err(lost);
                    }
                }
                Ok(None) => break Ok(()),
                Err(error) => break Err(Lost::Connection(error)),
            }
        };
        self.grant_slots(woken);
        result
    }

    /// Whether nothing is left to do.
    pub(crate) fn is_finished(&self) -> bool {
        let idle = self.connection.waiting() == 0 && self.connection.send_queue().is_empty();
        self.closing && idle || self.connection.is_finished()
    }

    /// Why the connection has ended in good order.
    pub(crate) fn farewell(&self) -> Lost {
        match self.goodbye.clone() {
            Some((code, text)) => Lost::Connection(ConnectionError::Goaway { code, text }),
            None => Lost::PeerFinished,
        }
    }

    fn start(&mut self, call: &mut Outgoing, ticket: Option<Ticket>, waker: &Waker) -> Start {
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
        match self
            .connection
            .start_call(call.method, &mut call.frame, call.deadline, false, now)
        {
            Ok(id) => Start::Started(self.waiters.insert(id, waker)),
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
        u32::try_from(taken).is_ok_and(|taken| taken < self.connection.capacity())
    }

    /// Grants free slots to those who wait.
    fn grant_slots(&mut self, woken: &mut Vec<Waker>) {
        while self.queue.waiting() > 0 && self.has_slot_to_give() {
            woken.extend(self.queue.grant());
        }
    }

    fn handle_event(&mut self, event: ClientEvent, woken: &mut Vec<Waker>) -> Result<(), Lost> {
        let (call, outcome) = match event {
            ClientEvent::Reply {
                call, error, body, ..
            } => (call, Ok(Answer { error, body })),
            ClientEvent::Failure { call, code, text } => (call, Err(CallFailure::from_peer(code, text))),
            ClientEvent::Expired(call) => (
                call,
                Err(CallFailure::local(
                    FailureKind::DeadlineExceeded,
                    true,
                    "no answer in time",
                )),
            ),
            ClientEvent::Refused(call) => {
                let text = "server was closing the connection and did not take the call";
                (call, Err(CallFailure::local(FailureKind::Refused, false, text)))
            }
            ClientEvent::Greeted => {
                self.greeted = true;
                return Ok(());
            }
            ClientEvent::Goaway { code, text, .. } => {
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
