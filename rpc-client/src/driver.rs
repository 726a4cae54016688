//! Driver: the task of one connection, which moves bytes between its socket and its state.
//!
//! A turn writes what is queued, or else what has been queued by its end; it reads what is there and completes calls, and arms the timer. Callers wake the driver
//! when they have queued something; the socket and the timer do as well.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use rpc_net::{BusyPoll, Turns, yield_to_others};
use tokio::time::{Sleep, sleep_until};

use crate::calls::Calls;
use crate::clock;
use crate::connection::{Shared, wake_all};
use crate::error::Lost;
use crate::waiting::earlier;

/// The driver of a connection. As a future, it runs until the connection has ended. Dropping it ends the connection.
#[derive(Debug)]
pub(crate) struct Driver {
    shared: Arc<Shared>,
    /// Made when there is the first deadline, then reset.
    timer: Option<Pin<Box<Sleep>>>,
    /// Whether callers were given the chance to queue more before the next write.
    yielded: bool,
    /// Who is to be woken at the end of a step. Empty between steps; its memory is reused.
    woken: Vec<Waker>,
    /// Whether a read of this poll has woken somebody.
    has_woken: bool,
    busy_poll: BusyPoll,
    /// Of busy polling: what had come and gone when that was last looked at, and when it first was so. That clock cannot be paused.
    seen: Option<(Progress, Instant)>,
}

/// How far a connection is: when the server was last heard, or began to owe something, and how much was written.
type Progress = (Instant, u64);

/// What a turn leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// Nothing to do until somebody wakes the driver.
    Wait,
    /// There is more to do at once.
    Again,
    /// The connection has ended in good order.
    Finished,
}

/// What became of the attempt to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Write {
    /// As much was written as there was, or as goes into a turn.
    Done,
    /// The socket takes no more for the time being, and will wake the driver.
    Full,
    /// Callers have their chance to queue more before. The driver has asked for another turn.
    PutOff,
}

/// Reads of one turn: bounds what one connection does while others wait.
const READS_PER_TURN: u32 = 2;
/// Bytes of one turn, likewise; the last read may exceed it.
const BYTES_PER_TURN: usize = 128 << 10;
/// Bytes that are still read when the socket cannot be written to any more: what the kernel holds at most.
const LAST_BYTES: usize = 4 << 20;

impl Driver {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self {
            busy_poll: BusyPoll::new(shared.busy_poll()),
            shared,
            timer: None,
            yielded: false,
            woken: Vec::new(),
            has_woken: false,
            seen: None,
        }
    }

    /// Drives until the server has greeted.
    pub(crate) fn poll_greeted(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Lost>> {
        match self.turn(cx) {
            Err(lost) => Poll::Ready(Err(lost)),
            // The server has greeted and said goodbye in one breath.
            Ok(Turn::Finished) => Poll::Ready(Err(self.shared.lock().calls.farewell())),
            Ok(turn) => {
                if turn == Turn::Again {
                    yield_to_others(cx);
                }
                let is_greeted = self.shared.lock().calls.greeted;
                if is_greeted {
                    Poll::Ready(Ok(()))
                } else {
                    Poll::Pending
                }
            }
        }
    }

    /// Takes turns until one leaves nothing to do, or until others are to have theirs: those that were woken run on this thread.
    fn turns(&mut self, cx: &mut Context<'_>) -> Result<Turn, Lost> {
        let mut turns = Turns::default();
        self.has_woken = false;
        loop {
            let turn = self.turn(cx)?;
            if turn == Turn::Again && self.has_woken {
                yield_to_others(cx);
                self.yielded = true;
            } else if turn == Turn::Again && turns.go_on(cx) {
                continue;
            }
            return Ok(turn);
        }
    }

    /// Has the task look for answers before it sleeps, if something has come or gone a short while ago.
    fn look_out(&mut self, cx: &mut Context<'_>) {
        if !self.busy_poll.is_on() {
            return;
        }
        let state = self.shared.lock();
        let Calls { connection, .. } = &state.calls;
        let is_owed = connection.waiting() > 0;
        let progress = (state.calls.heard(), connection.send_queue().transmitted());
        drop(state);
        let now = Instant::now();
        let since = match self.seen {
            Some((seen, since)) if seen == progress => since,
            Some(_) | None => self.seen.insert((progress, now)).1,
        };
        if is_owed {
            self.busy_poll.look_again(since, cx);
        }
    }

    fn turn(&mut self, cx: &mut Context<'_>) -> Result<Turn, Lost> {
        let mut state = self.shared.lock();
        state.attach_driver(cx.waker());
        let is_queued = !state.calls.connection.send_queue().is_empty();
        drop(state);
        // Calls that follow the last answers leave before the next ones are looked at: the server works on them meanwhile.
        let written = if is_queued {
            Some(self.write(cx, false)?)
        } else {
            // Others have had their chance, and there is nothing of theirs.
            self.yielded = false;
            None
        };
        if written == Some(Write::PutOff) {
            return Ok(Turn::Wait);
        }
        let paused = self.read(cx)?;
        self.expire(cx)?;
        let written = match written {
            Some(written) => written,
            None => self.write(cx, paused)?,
        };
        let mut state = self.shared.lock();
        state.adapt_buffers();
        if state.is_finished() {
            return Ok(Turn::Finished);
        }
        // Nobody else would wake a driver that did not ask for more bytes.
        let reads_on = paused && state.calls.connection.wants_read();
        let writes_on = written == Write::Done && state.calls.has_more_to_write();
        Ok(if reads_on || writes_on {
            Turn::Again
        } else {
            Turn::Wait
        })
    }

    /// Reads until nothing is left, or enough for one turn, and completes calls. Whether it stopped without waiting for more.
    fn read(&mut self, cx: &mut Context<'_>) -> Result<bool, Lost> {
        let mut bytes_left = BYTES_PER_TURN;
        for _ in 0..READS_PER_TURN {
            if bytes_left == 0 {
                return Ok(true);
            }
            let mut state = self.shared.lock();
            if !state.calls.connection.wants_read() {
                return Ok(true);
            }
            match state.poll_read(cx) {
                Poll::Ready(Ok(0)) => state.calls.connection.handle_eof(),
                Poll::Ready(Ok(read)) => bytes_left = bytes_left.saturating_sub(read),
                Poll::Ready(Err(error)) => return Err(Lost::Socket(error)),
                Poll::Pending => return Ok(false),
            }
            let result = state.calls.handle_events(clock::now(), &mut self.woken);
            drop(state);
            self.has_woken |= !self.woken.is_empty();
            wake_all(&mut self.woken);
            result?;
        }
        Ok(true)
    }

    /// Ends what is due and sees to it that the timer rings for what is due next, or before.
    fn expire(&mut self, cx: &mut Context<'_>) -> Result<(), Lost> {
        let Self {
            shared, timer, woken, ..
        } = self;
        loop {
            let mut state = shared.lock();
            let Some(next) = earlier(state.armed, state.calls.deadline()) else {
                return Ok(());
            };
            // Deadlines that have gone are not worth a reset: the timer rings too early, then.
            let moved = state.armed.replace(next) != Some(next);
            if !poll_timer(timer, next, moved, cx) {
                return Ok(());
            }
            state.armed = None;
            let result = state.calls.handle_timeout(woken);
            let result = result.and_then(|()| state.calls.handle_due(woken));
            drop(state);
            wake_all(woken);
            result?;
        }
    }

    /// Writes what is queued, as far as a turn goes.
    ///
    /// With more than one call in flight, or after several have ended together, the first turn only asks for another one: callers that are
    /// ready to run queue their calls in between, and one write carries all. (A runtime with several workers runs the driver before them, as
    /// soon as the first has woken it.) A call that is alone would pay for that with its latency, so it does not wait. Neither does one while so much arrives
    /// that reading has `paused`: callers have their chance between such turns.
    fn write(&mut self, cx: &mut Context<'_>, paused: bool) -> Result<Write, Lost> {
        let mut state = self.shared.lock();
        if state.calls.may_gather()
            && !state.calls.connection.send_queue().is_empty()
            && !self.yielded
            && !paused
        {
            self.yielded = true;
            cx.waker().wake_by_ref();
            return Ok(Write::PutOff);
        }
        let written = state.poll_write(cx, &mut self.woken);
        // What was written has made room.
        state.calls.settle(&mut self.woken);
        drop(state);
        wake_all(&mut self.woken);
        match written {
            Poll::Ready(Ok(())) => {
                self.yielded = false;
                Ok(Write::Done)
            }
            Poll::Ready(Err(error)) => Err(self.last_words(error)),
            Poll::Pending => Ok(Write::Full),
        }
    }

    /// Finds out why the socket cannot be written to: a server that closes a connection often says why first, and answers to earlier calls may
    /// have arrived as well, even if the runtime has not looked since.
    fn last_words(&mut self, error: io::Error) -> Lost {
        let mut bytes_left = LAST_BYTES;
        while bytes_left > 0 {
            let mut state = self.shared.lock();
            if !state.calls.connection.wants_read() {
                break;
            }
            match state.read_unannounced() {
                Ok(0) => state.calls.connection.handle_eof(),
                Ok(read) => bytes_left = bytes_left.saturating_sub(read),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => break,
            }
            let result = state.calls.handle_events(clock::now(), &mut self.woken);
            drop(state);
            wake_all(&mut self.woken);
            match result {
                Ok(()) => {}
                Err(Lost::Connection(cause)) => return Lost::Connection(cause),
                Err(Lost::PeerFinished | Lost::Runtime | Lost::Silent | Lost::Socket(_)) => break,
            }
        }
        Lost::Socket(error)
    }

    fn end(&mut self, lost: &Lost) {
        self.shared.end(lost, &mut self.woken);
        wake_all(&mut self.woken);
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        if this.busy_poll.is_on() {
            this.busy_poll.looks(Instant::now());
        }
        match this.turns(cx) {
            Ok(Turn::Wait) => {
                this.look_out(cx);
                Poll::Pending
            }
            Ok(Turn::Again) => Poll::Pending,
            Ok(Turn::Finished) => {
                let farewell = this.shared.lock().calls.farewell();
                this.end(&farewell);
                Poll::Ready(())
            }
            Err(lost) => {
                this.end(&lost);
                Poll::Ready(())
            }
        }
    }
}

impl Drop for Driver {
    /// A driver that has not come to its end was dropped with its runtime, or before the handshake was complete. Nobody would ever complete
    /// the calls that wait.
    fn drop(&mut self) {
        self.end(&Lost::Runtime);
    }
}

/// Whether the timer rings, after it was set to `at` if it had to be moved.
fn poll_timer(timer: &mut Option<Pin<Box<Sleep>>>, at: Instant, moved: bool, cx: &mut Context<'_>) -> bool {
    let timer = match timer {
        Some(timer) => {
            if moved {
                timer.as_mut().reset(at.into());
            }
            timer
        }
        None => timer.insert(Box::pin(sleep_until(at.into()))),
    };
    timer.as_mut().poll(cx).is_ready()
}
