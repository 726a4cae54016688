//! Shared: one connection as threads share it. One of those that wait reads, and hands the others their answers.
//!
//! A thread that has started a call takes turns until its outcome is there. In a turn it writes what is queued, if nobody does, and then **leads**, if nobody does: it reads
//! once, without the lock, and hands out what came. Otherwise it sleeps. Whoever leaves wakes one of those that wait, if the lead is free: as long as a call is under way,
//! somebody reads.

use std::fmt;
use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use bytes::BufMut;
use rpc_core::CallFailure;
use rpc_core::stream::Hook;
use rpc_net::{Address, BlockingSocket, BusyPoll, DialErrorKind};

use super::parking::waker_of_this_thread;
use crate::calls::{Calls, Outgoing, Start, no_answer};
use crate::clock;
use crate::config::Settings;
use crate::connection::wake_all;
use crate::error::{ConnectError, Lost};
use crate::keep_alive::KeepAlive;
use crate::waiters::Outcome;
use crate::waiting::earlier;

/// A connection. It is closed when it has ended and nobody refers to it any more.
pub(super) struct Shared {
    address: Address,
    socket: BlockingSocket,
    state: Mutex<State>,
}

struct State {
    calls: Calls,
    /// The time as a thread last asked for it: when it began a call, or came back from where it had waited. Asking costs as much as a good part of a call does.
    now: Instant,
    /// Where a read lands. Gone while a thread leads.
    landing: Option<Box<Landing>>,
    /// Whether a thread writes without the lock, because the socket was full.
    writing: bool,
    /// Why the socket cannot be written to. What the server said before it closed may still be there to be read.
    broken: Option<io::Error>,
}

/// What became of a call.
#[derive(Debug)]
pub(super) enum Called {
    Ended(Outcome),
    /// The connection takes no calls any more. The call was not sent.
    Unusable,
}

/// How long a read or a write waits while the other direction has something to do: two sides that both send a lot must not wait for each other.
const STALL: Duration = Duration::from_millis(20);

/// How long a connection may have been idle before a call looks whether the server has closed it.
const IDLE: Duration = Duration::from_secs(1);

/// Pieces of the queue that one write takes along.
const SLICES: usize = 8;

/// What of the queue is copied to wait for room in the socket.
const PIECE: usize = 4 << 10;

impl Shared {
    /// Dials and shakes hands, until `deadline` at most.
    pub(super) fn connect(
        address: &Address,
        settings: &Settings,
        keep_alive: Option<Arc<KeepAlive>>,
        deadline: Option<Instant>,
    ) -> Result<Self, ConnectError> {
        let after = settings.connect_timeout;
        let left = deadline.map(|deadline| deadline.saturating_duration_since(clock::now()));
        let socket = BlockingSocket::connect(address, left.map_or(after, |left| left.min(after)));
        let socket = socket.map_err(|error| {
            if error.kind() != DialErrorKind::TimedOut {
                return ConnectError::Dial(error);
            }
            ConnectError::Timeout {
                address: address.clone(),
                after,
            }
        })?;
        // What the kernel makes of it is its affair; the connection works with any.
        let _ = socket.set_receive_buffer(settings.receive_buffer);
        let lost = |lost| ConnectError::from_lost(address.clone(), lost);
        socket
            .set_write_timeout(Some(STALL))
            .map_err(|error| lost(Lost::Socket(error)))?;
        let shared = Self {
            address: address.clone(),
            socket,
            state: Mutex::new(State {
                calls: Calls::new(settings.limits, keep_alive),
                now: clock::now(),
                landing: Some(Box::new(Landing::new(settings.busy_poll))),
                writing: false,
                broken: None,
            }),
        };
        shared.greet(deadline).map_err(lost)?;
        Ok(shared)
    }

    fn greet(&self, deadline: Option<Instant>) -> Result<(), Lost> {
        let mut state = self.lock();
        // A preface fits into any socket; what goes wrong shows when the answer is read.
        state.write_or_break(&self.socket);
        while !state.calls.greeted {
            if deadline.is_some_and(|deadline| deadline <= state.now) {
                return Err(Lost::Silent);
            }
            let Some(landing) = state.landing.take() else {
                break;
            };
            let result;
            (state, result) = self.lead(state, landing, deadline);
            result?;
        }
        Ok(())
    }

    /// Makes a call: writes it, and reads or waits until its outcome is there.
    pub(super) fn call(&self, call: &mut Outgoing) -> Called {
        let waker = waker_of_this_thread();
        let mut woken = Vec::new();
        let mut state = self.lock();
        state.now = clock::now();
        let mut state = self.look_after_idling(state);
        let mut ticket = None;
        let key = loop {
            let now = state.now;
            match state
                .calls
                .start(call, ticket.take(), &waker, no_hook, now, &mut woken)
            {
                Start::Started(key) => break key,
                Start::Sent => {
                    self.leave(self.write_all(state, call.deadline), woken);
                    return Called::Ended(Ok(no_answer()));
                }
                Start::Waiting(place) => {
                    ticket = Some(place);
                    state = self.turn(state, call.deadline);
                }
                Start::Failed(failure) => return self.fail(state, failure, woken),
                Start::Unusable => {
                    self.leave(state, woken);
                    return Called::Unusable;
                }
            }
        };
        loop {
            state = self.turn(state, call.deadline);
            if let Poll::Ready(outcome) = state.calls.poll(&key, &waker) {
                self.leave(state, woken);
                return Called::Ended(outcome);
            }
        }
    }

    /// Whether the server takes no further calls on this connection.
    pub(super) fn is_draining(&self) -> bool {
        self.lock().calls.connection.is_draining()
    }

    /// Whether it is over.
    pub(super) fn has_ended(&self) -> bool {
        self.lock().calls.has_ended()
    }

    /// The longest call that the server accepts.
    pub(super) fn max_body(&self) -> u32 {
        self.lock().calls.connection.max_body()
    }

    /// Nothing in this crate panics while it holds the lock; if it did, the state would still be the best there is.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the lock after the thread has waited.
    fn lock_again(&self) -> MutexGuard<'_, State> {
        let now = clock::now();
        let mut state = self.lock();
        // Another may have come later and been quicker.
        state.now = now.max(state.now);
        state
    }

    /// Does one thing that brings calls on: writes, reads, or sleeps until somebody else has.
    fn turn<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        deadline: Option<Instant>,
    ) -> MutexGuard<'a, State> {
        if !state.write_or_break(&self.socket) {
            return self.write_when_there_is_room(state);
        }
        match state.landing.take() {
            Some(landing) => self.lead(state, landing, None).0,
            None => self.sleep(state, deadline),
        }
    }

    /// Reads once, until `deadline` or until something is due, and hands out what came. To have the landing is to lead; it is put back at the end.
    fn lead<'a>(
        &'a self,
        state: MutexGuard<'a, State>,
        mut landing: Box<Landing>,
        deadline: Option<Instant>,
    ) -> (MutexGuard<'a, State>, Result<(), Lost>) {
        let due = earlier(state.calls.deadline(), deadline);
        let mut left = due.map(|due| due.saturating_duration_since(state.now));
        if state.broken.is_some() || state.has_unsent() {
            left = Some(left.map_or(STALL, |left| left.min(STALL)));
        }
        drop(state);
        let read = landing.read(&self.socket, left);
        let mut state = self.lock_again();
        let now = state.now;
        let Landing { memory, woken, .. } = &mut *landing;
        let mut result = match read {
            Ok(0) => {
                state.calls.connection.handle_eof();
                state.calls.handle_events(now, woken)
            }
            Ok(len) => state.take(memory.get(..len).unwrap_or_default(), woken),
            Err(error) if is_transient(&error) => match state.broken.take() {
                Some(error) => Err(Lost::Socket(error)),
                None => state.expire(woken),
            },
            Err(error) => Err(Lost::Socket(error)),
        };
        if result.is_ok() && state.calls.connection.is_finished() {
            result = Err(state.calls.farewell());
        }
        if let Err(lost) = result {
            result = Err(self.end(&mut state, lost, woken));
        }
        if !woken.is_empty() {
            drop(state);
            wake_all(woken);
            state = self.lock_again();
        }
        state.landing = Some(landing);
        (state, result)
    }

    /// Waits until the socket takes a piece of the queue, and looks after the other direction: the server may be waiting for that.
    fn write_when_there_is_room<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let mut piece = [0; PIECE];
        let len = state.copy_front(&mut piece);
        state.writing = true;
        drop(state);
        let written = self.socket.write(piece.get(..len).unwrap_or_default());
        let readable = self.socket.has_something_to_read().unwrap_or(true);
        let mut state = self.lock_again();
        state.writing = false;
        match written {
            // What is committed leaves in order, so it is what the queue still begins with.
            Ok(len) => state.calls.connection.advance(len),
            Err(error) if is_transient(&error) => {}
            Err(error) => state.broken = Some(error),
        }
        if readable && let Some(landing) = state.landing.take() {
            return self.lead(state, landing, None).0;
        }
        if state.calls.deadline().is_some_and(|due| due <= state.now) {
            return self.expire(state);
        }
        state
    }

    /// Writes what is queued, unless another thread does; until `deadline` at most.
    fn write_all<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        deadline: Option<Instant>,
    ) -> MutexGuard<'a, State> {
        while !state.write_or_break(&self.socket) {
            if deadline.is_some_and(|deadline| deadline <= state.now) {
                break;
            }
            state = self.write_when_there_is_room(state);
        }
        // Nobody else may come to see why.
        let landing = match state.broken {
            Some(_) => state.landing.take(),
            None => None,
        };
        match landing {
            Some(landing) => self.lead(state, landing, None).0,
            None => state,
        }
    }

    /// Sleeps until somebody wakes this thread, because it has its outcome or is to lead.
    fn sleep<'a>(&'a self, state: MutexGuard<'a, State>, deadline: Option<Instant>) -> MutexGuard<'a, State> {
        let now = state.now;
        drop(state);
        let Some(deadline) = deadline else {
            thread::park();
            return self.lock_again();
        };
        thread::park_timeout(deadline.saturating_duration_since(now));
        let state = self.lock_again();
        if deadline <= state.now {
            return self.expire(state);
        }
        state
    }

    fn expire<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let mut woken = Vec::new();
        if let Err(lost) = state.expire(&mut woken) {
            self.end(&mut state, lost, &mut woken);
        }
        drop(state);
        wake_all(&mut woken);
        self.lock_again()
    }

    /// Ends a call that was not sent.
    fn fail(&self, mut state: MutexGuard<'_, State>, failure: CallFailure, mut woken: Vec<Waker>) -> Called {
        // A grant that was not used goes to the next.
        state.calls.settle(&mut woken);
        self.leave(state, woken);
        Called::Ended(Err(failure))
    }

    /// Leaves the connection to the others, and wakes one of them if there is something to do that nobody does.
    fn leave(&self, mut state: MutexGuard<'_, State>, mut woken: Vec<Waker>) {
        // A cancel, or a pong. What finds no room goes along with the next call.
        state.write_or_break(&self.socket);
        let next = state.next_in_line();
        drop(state);
        wake_all(&mut woken);
        if let Some(next) = next {
            next.wake();
        }
    }

    /// After a while without calls, reads what has come meanwhile: pings, a goodbye, or the end.
    fn look_after_idling<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        if state.calls.connection.waiting() > 0 || state.now < state.calls.heard() + IDLE {
            return state;
        }
        while !state.calls.has_ended() && self.socket.has_something_to_read().unwrap_or(true) {
            let Some(landing) = state.landing.take() else {
                break;
            };
            state = self.lead(state, landing, None).0;
        }
        state
    }

    /// Ends the connection: every call gets its outcome. Returns why it has ended.
    fn end(&self, state: &mut State, lost: Lost, woken: &mut Vec<Waker>) -> Lost {
        let lost = match (lost, state.broken.take()) {
            (lost @ Lost::Connection(_), _) | (lost, None) => lost,
            // That was seen first.
            (_, Some(error)) => Lost::Socket(error),
        };
        if state.calls.has_ended() {
            return lost;
        }
        if let Lost::Connection(_) = lost {
            // A goaway is queued that tells the server why. It gets as much of it as the socket takes; an error changes nothing.
            state.write_or_break(&self.socket);
        }
        let _ = self.socket.shutdown();
        state.calls.end(&self.address, &lost, woken);
        lost
    }
}

impl State {
    fn has_unsent(&self) -> bool {
        !self.calls.connection.send_queue().is_empty() && !self.calls.has_ended()
    }

    /// Writes what is queued, if nobody else does and the socket can be written to, as far as it takes it. Whether that leaves nothing to do for this thread.
    fn write_or_break(&mut self, socket: &BlockingSocket) -> bool {
        if self.writing || self.broken.is_some() || !self.has_unsent() {
            return true;
        }
        let connection = &mut self.calls.connection;
        while !connection.send_queue().is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let count = connection.io_slices(&mut slices);
            match socket.try_write_vectored(slices.get(..count).unwrap_or_default()) {
                Ok(len) => connection.advance(len),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.broken = Some(error);
                    return true;
                }
            }
        }
        true
    }

    /// Copies what the queue begins with, and returns how much.
    fn copy_front(&self, mut piece: &mut [u8]) -> usize {
        let room = piece.len();
        let mut slices = [IoSlice::new(&[]); SLICES];
        let count = self.calls.connection.io_slices(&mut slices);
        for slice in slices.iter().take(count) {
            let len = slice.len().min(piece.remaining_mut());
            piece.put_slice(slice.get(..len).unwrap_or_default());
        }
        room - piece.len()
    }

    /// Takes what was read, and hands out what has arrived with it.
    fn take(&mut self, mut bytes: &[u8], woken: &mut Vec<Waker>) -> Result<(), Lost> {
        loop {
            let mut room = self.calls.connection.recv_buffer();
            let (first, rest) = bytes.split_at(room.remaining_mut().min(bytes.len()));
            room.put_slice(first);
            bytes = rest;
            self.calls.handle_events(self.now, woken)?;
            if bytes.is_empty() || !self.calls.connection.wants_read() {
                return Ok(());
            }
        }
    }

    /// Ends what is due.
    fn expire(&mut self, woken: &mut Vec<Waker>) -> Result<(), Lost> {
        self.calls.handle_timeout(woken)?;
        self.calls.handle_due(woken)
    }

    /// Who is to be woken because nobody reads, or nobody writes what is queued.
    fn next_in_line(&self) -> Option<Waker> {
        let idle = self.landing.is_some() || !self.writing && self.has_unsent();
        idle.then(|| self.calls.anyone_waiting()).flatten()
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// Where reads land, initialised once: the standard library reads into nothing else. What came is copied from here to where it stays.
struct Landing {
    memory: Box<[u8]>,
    busy_poll: BusyPoll,
    /// The read timeout in force.
    armed: Option<Duration>,
    /// Whether the last read ran into it.
    timed_out: bool,
    /// Who is to be woken. Empty between reads; its memory is used again.
    woken: Vec<Waker>,
}

/// Length of a read: a chunk, its header and the next one's.
const READ: usize = (64 << 10) + 32;

impl Landing {
    /// Reads once, and waits for `left` at most.
    fn read(&mut self, socket: &BlockingSocket, left: Option<Duration>) -> io::Result<usize> {
        if left.is_some_and(|left| left.is_zero()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        // A read tells what is wrong with the socket.
        let is_there = || socket.has_something_to_read().unwrap_or(true);
        self.busy_poll.look_until(left.unwrap_or(Duration::MAX), is_there);
        let armed = next_timeout(self.armed, left, self.timed_out);
        if armed != self.armed {
            socket.set_read_timeout(armed)?;
            self.armed = armed;
        }
        let read = socket.read(&mut self.memory);
        self.timed_out = read
            .as_ref()
            .is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
        read
    }
}

impl Landing {
    fn new(busy_poll: Duration) -> Self {
        Self {
            memory: vec![0; READ].into_boxed_slice(),
            busy_poll: BusyPoll::new(busy_poll),
            armed: None,
            timed_out: false,
            woken: Vec::new(),
        }
    }
}

/// The read timeout for a read that may wait for `left`. Changing it costs a system call, so one that is shorter stays until a read runs into it, and a new one is
/// shorter than it would have to be: it fits the next call, too, whose time is about the same.
fn next_timeout(armed: Option<Duration>, left: Option<Duration>, timed_out: bool) -> Option<Duration> {
    // The kernel takes zero for none.
    let least = Duration::from_micros(1);
    match (armed, left) {
        (armed, Some(left)) if timed_out => {
            let exact = Some(left.max(least));
            if armed == exact { armed } else { exact }
        }
        (Some(armed), Some(left)) if armed <= left => Some(armed),
        (_, Some(left)) => Some((left / 4 * 3).max(least)),
        (_, None) if timed_out => None,
        (armed, None) => armed,
    }
}

fn is_transient(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

/// Calls with channels are not started here.
fn no_hook(_: rpc_core::CallId) -> Arc<dyn Hook> {
    struct Nothing;
    impl Hook for Nothing {
        fn notify(&self) {}
    }
    Arc::new(Nothing)
}

/// Threads share it.
const _: () = {
    const fn assert_shareable<T: Send + Sync>() {}
    assert_shareable::<Arc<Shared>>();
};

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_read_timeout_is_left_alone_while_it_will_do() {
        let left = |millis| Some(Duration::from_millis(millis));
        let armed = next_timeout(None, left(1000), false);
        assert_eq!(armed, left(750));
        // The next calls, with a little less time, or a lot more, or no end.
        for next in [left(999), left(760), left(30_000), None] {
            assert_eq!(next_timeout(armed, next, false), armed);
        }
        // One with less.
        assert_eq!(next_timeout(armed, left(100), false), left(75));
    }

    #[test]
    fn a_read_that_ran_into_its_timeout_gets_what_is_left() {
        assert_eq!(
            next_timeout(Some(SECOND), Some(3 * SECOND), true),
            Some(3 * SECOND)
        );
        assert_eq!(
            next_timeout(Some(SECOND), Some(SECOND / 3), true),
            Some(SECOND / 3)
        );
        assert_eq!(next_timeout(Some(SECOND), None, true), None);
    }
}
