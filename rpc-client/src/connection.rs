//! Shared: one connection as its callers and its driver share it, a socket and the protocol's state behind one lock.

use std::fmt;
use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use rpc_core::CallId;
use rpc_core::stream::Hook;
use rpc_net::{Address, BulkOnly, Socket};

use crate::calls::{Calls, Outgoing, Start};
use crate::config::Settings;
use crate::error::Lost;
use crate::keep_alive::KeepAlive;
use crate::load::Load;
use crate::waiters::{Key, Outcome, Removed};
use crate::waiting::Ticket;

/// A connection.
///
/// The lock is held for short: to start a call, to read and handle what one read brought, to write what is queued. Reads and writes never
/// wait. No waker is woken under the lock.
pub(crate) struct Shared {
    address: Address,
    /// See [`ChannelBuilder::busy_poll`](crate::ChannelBuilder::busy_poll).
    busy_poll: Duration,
    state: Mutex<State>,
}

/// What the lock protects.
pub(crate) struct State {
    /// Gone once the connection has ended, whoever still refers to it.
    socket: Option<Socket>,
    pub(crate) calls: Calls,
    /// The driver's waker, once it has been polled.
    driver: Option<Waker>,
    /// Whether the driver was woken and has not looked yet: callers wake it once, however many they are.
    notified: bool,
    /// When the driver's timer rings. Later than the first deadline only while the driver is notified.
    pub(crate) armed: Option<Instant>,
    /// Whether no channel refers to the connection any more: it ends when its calls have.
    closing: bool,
}

impl Shared {
    pub(crate) fn new(
        socket: Socket,
        address: Address,
        settings: &Settings,
        keep_alive: Option<Arc<KeepAlive>>,
    ) -> Self {
        let state = State {
            socket: Some(socket),
            calls: Calls::new(settings.limits, keep_alive),
            driver: None,
            notified: false,
            armed: None,
            closing: false,
        };
        Self {
            address,
            busy_poll: settings.busy_poll,
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
        let alone = state.calls.is_alone();
        let hook = |id| ChannelHook::of(self, id);
        let is_timed = state.calls.is_timed(call);
        let now = state.calls.now_for(call);
        let start = state.calls.start(call, ticket, waker, hook, now, &mut granted);
        match start {
            // What the socket does not take, and its errors, are the driver's. So is looking for the answer.
            Start::Started(_) | Start::Sent
                if alone && matches!(state.write(), Ok(Written::All)) && self.busy_poll.is_zero() => {}
            Start::Started(_) | Start::Sent => woken = state.notify_driver(),
            Start::Failed(_) | Start::Unusable | Start::Waiting(_) => {}
        }
        // A grant that was not used goes to the next.
        state.calls.settle(&mut granted);
        if is_timed && state.is_timer_late() {
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
        self.lock().calls.poll(key, waker)
    }

    /// Gives up a call that was started and whose outcome was not fetched.
    pub(crate) fn give_up(&self, key: &Key) {
        let mut woken = None;
        let mut ends = Vec::new();
        let mut state = self.lock();
        let removed = state.calls.give_up(key, &mut ends);
        if let Removed::Waiting(_) = removed {
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
        self.lock().calls.leave(ticket, &mut granted);
        wake_all(&mut granted);
    }

    /// Wakes those who wait for a slot, so that they look for one elsewhere. They keep their places.
    pub(crate) fn wake_queued(&self) {
        let mut woken = Vec::new();
        self.lock().calls.queued(&mut woken);
        wake_all(&mut woken);
    }

    /// Tells from now on, until it takes no more calls, how busy the connection is.
    pub(crate) fn count(&self, load: Arc<Load>) {
        self.lock().calls.count(load);
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
        state.calls.note_channels(call);
        let woken = state.notify_driver();
        drop(state);
        if let Some(driver) = woken {
            driver.wake();
        }
    }

    /// How long the driver goes on looking for answers.
    pub(crate) fn busy_poll(&self) -> Duration {
        self.busy_poll
    }

    /// Whether the server takes no further calls on this connection.
    pub(crate) fn is_draining(&self) -> bool {
        self.lock().calls.connection.is_draining()
    }

    /// The longest call that the server accepts.
    pub(crate) fn max_body(&self) -> u32 {
        self.lock().calls.connection.max_body()
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
            calls,
            ..
        } = self
        else {
            return Poll::Ready(Err(closed()));
        };
        loop {
            ready!(socket.poll_read_ready(cx))?;
            match socket.try_read_buf(&mut calls.connection.recv_buffer()) {
                Err(error) if is_transient(&error) => {}
                result => return Poll::Ready(result),
            }
        }
    }

    /// Reads once what has arrived, whether or not the runtime knows of it.
    pub(crate) fn read_unannounced(&mut self) -> io::Result<usize> {
        let Self {
            socket: Some(socket),
            calls,
            ..
        } = self
        else {
            return Err(closed());
        };
        socket.try_read_unannounced(&mut calls.connection.recv_buffer())
    }

    /// Writes what is queued as far as a turn goes, and what channels have as there is room for it.
    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        woken: &mut Vec<Waker>,
    ) -> Poll<io::Result<()>> {
        self.calls.flush_channels(woken);
        while self.write()? == Written::Part {
            if let Some(socket) = &self.socket {
                ready!(socket.poll_write_ready(cx))?;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Writes what is queued, as far as the socket takes it and a turn goes.
    fn write(&mut self) -> io::Result<Written> {
        let Self {
            socket: Some(socket),
            calls: Calls { connection, .. },
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

    /// Gives the kernel's buffers the length that is good for what is under way.
    pub(crate) fn adapt_buffers(&mut self) {
        let connection = &self.calls.connection;
        let bulk = BulkOnly {
            sending: connection.sends_bulk_only(),
            receiving: connection.receives_bulk_only(),
        };
        if let Some(socket) = &mut self.socket {
            // All works with any length.
            let _ = socket.adapt_buffers(bulk);
        }
    }

    /// Whether nothing is left to do.
    pub(crate) fn is_finished(&self) -> bool {
        let connection = &self.calls.connection;
        let idle = connection.is_idle() && connection.send_queue().is_empty();
        self.closing && idle || connection.is_finished()
    }

    fn end(&mut self, address: &Address, lost: &Lost, woken: &mut Vec<Waker>) {
        if self.calls.has_ended() {
            return;
        }
        if let Lost::Connection(_) = lost {
            // A goaway is queued that tells the server why. It gets as much of it as the socket takes; an error changes nothing.
            let _ = self.write();
        }
        if let Some(socket) = self.socket.take() {
            let _ = socket.shutdown_write();
        }
        self.calls.end(address, lost, woken);
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
        self.calls
            .deadline()
            .is_some_and(|deadline| self.armed.is_none_or(|armed| deadline < armed))
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("calls", &self.calls)
            .finish_non_exhaustive()
    }
}

/// Tells a connection that the channels of a call have something for the server.
struct ChannelHook {
    shared: Arc<Shared>,
    call: CallId,
}

impl ChannelHook {
    fn of(shared: &Arc<Shared>, call: CallId) -> Arc<dyn Hook> {
        Arc::new(Self {
            shared: Arc::clone(shared),
            call,
        })
    }
}

impl Hook for ChannelHook {
    fn notify(&self) {
        self.shared.notify_channels(self.call);
    }
}

impl fmt::Debug for ChannelHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChannelHook")
            .field("call", &self.call)
            .finish_non_exhaustive()
    }
}

/// Wakes everybody and keeps the list's memory.
pub(crate) fn wake_all(woken: &mut Vec<Waker>) {
    if woken.is_empty() {
        return;
    }
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

/// Driver and callers are on different threads.
const _: () = {
    const fn assert_shareable<T: Send + Sync>() {}
    assert_shareable::<Arc<Shared>>();
};
