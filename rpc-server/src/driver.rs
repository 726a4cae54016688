//! Driver: one connection, from bytes to calls to bytes. The task that a connection is.
//!
//! A turn reads as much as there is, starts or runs on every handler that can run, and writes all answers at once:
//!
//! ```text
//! socket ─▶ connection ─▶ calls (handlers polled on the spot) ─▶ connection ─▶ socket
//! ```

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use rpc_core::connection::{ServerConnection, ServerEvent};
use rpc_core::error::ConnectionError;
use rpc_core::incoming::{Completed, Outcome};
use rpc_core::{CallId, Code, Peer};
use rpc_net::Socket;

use crate::acceptor::Admission;
use crate::calls::{Arrival, Calls};
use crate::ready::ReadyList;
use crate::shared::Shared;
use crate::shutdown::{Phase, Registration};
use crate::timer::Timer;

/// One connection of a server.
pub(crate) struct Driver {
    socket: Socket,
    connection: ServerConnection,
    calls: Calls,
    shared: Arc<Shared>,
    timer: Timer,
    admission: Admission,
    stage: Stage,
    /// Whether the peer was told that the server drains.
    said_goodbye: bool,
    /// When the peer, which has finished sending, is asked again whether it still exists.
    probe: Option<Probe>,
    /// How many copied bytes were reported so far.
    copied: u64,
    _registration: Registration,
}

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Reads calls and answers them.
    Open,
    /// Reads no more: the peer has finished sending, or the server drains and it has nothing left to say. Answers what is running.
    Finishing,
    /// Writes what is queued, then shuts down; at the latest at this time.
    Flushing { until: Instant },
    /// Has shut down its side and waits for the peer's end, so that the kernel does not throw away what was just written.
    Lingering { until: Instant },
}

/// The next question to a peer that has finished sending: a ping, to which a machine without that process answers with a reset.
#[derive(Clone, Copy, Debug)]
struct Probe {
    at: Instant,
    pause: Duration,
}

/// How a turn, or a connection, ended.
#[derive(Debug)]
enum Ended {
    /// In good order.
    Orderly,
    /// The socket broke.
    Broken,
}

/// Reads of one turn before its answers are written: bounds what one connection does while others wait.
const READS_PER_TURN: u32 = 4;
/// Calls of one turn, likewise.
const CALLS_PER_TURN: u32 = 512;
/// How long a connection that is being closed may take to flush, and then to linger.
const CLOSE_PATIENCE: Duration = Duration::from_secs(1);
/// How soon a peer that has finished sending is probed, and how seldom in the end.
const FIRST_PROBE: Duration = Duration::from_millis(40);
const LAST_PROBE: Duration = Duration::from_secs(1);

impl Driver {
    pub(crate) fn new(socket: Socket, admission: Admission, shared: &Arc<Shared>) -> Self {
        let ready = Arc::new(ReadyList::default());
        let registration = shared.shutdown.register(&ready);
        let peer: Arc<Peer> = Arc::new(crate::peer::describe(&socket));
        Self {
            connection: ServerConnection::new(shared.limits, Instant::now()),
            calls: Calls::new(shared, peer, &ready),
            socket,
            shared: Arc::clone(shared),
            timer: Timer::default(),
            admission,
            stage: Stage::Open,
            said_goodbye: false,
            probe: None,
            copied: 0,
            _registration: registration,
        }
    }

    /// Serves the connection to its end.
    pub(crate) async fn run(mut self) {
        let ended = poll_fn(|cx| self.poll(cx)).await;
        if matches!(ended, Ended::Broken) {
            self.shared.counters.connections_failed.add(1);
        }
        self.report_copies();
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Ended> {
        let now = Instant::now();
        match self.shared.shutdown.phase() {
            Phase::Serving => {}
            Phase::Draining => self.drain(now),
            Phase::Closed | Phase::Ended => return Poll::Ready(Ended::Orderly),
        }
        match self.turn(cx, now) {
            Ok(again) => {
                if again {
                    cx.waker().wake_by_ref();
                }
                Poll::Pending
            }
            Err(ended) => Poll::Ready(ended),
        }
    }

    /// One turn. Whether there is more to do at once.
    fn turn(&mut self, cx: &mut Context<'_>, now: Instant) -> Result<bool, Ended> {
        let Self {
            calls, connection, ..
        } = self;
        calls.run_woken(cx.waker(), |calls, call, completed| {
            answer(connection, calls, call, completed)
        });
        let mut again = self.expire(cx, now);
        if self.stage == Stage::Open {
            again |= self.read(cx, now)?;
        }
        self.leave_when_done(now);
        self.write(cx)?;
        if let Stage::Lingering { .. } = self.stage {
            self.linger(cx)?;
        }
        self.report_copies();
        Ok(again || self.arm(cx, now)?)
    }

    /// Reads until there is nothing more, or enough for one turn.
    fn read(&mut self, cx: &mut Context<'_>, now: Instant) -> Result<bool, Ended> {
        let mut calls_left = CALLS_PER_TURN;
        // What the last turn left in the buffer comes first.
        self.events(now, &mut calls_left);
        for _ in 0..READS_PER_TURN {
            if calls_left == 0 {
                return Ok(true);
            }
            if self.stage != Stage::Open || !self.connection.wants_read() {
                return Ok(false);
            }
            match self.receive(cx) {
                Poll::Pending => return Ok(false),
                Poll::Ready(Ok(0)) => {
                    self.finish_reading(now);
                    return Ok(false);
                }
                Poll::Ready(Ok(_)) => self.events(now, &mut calls_left),
                Poll::Ready(Err(_)) => return Err(Ended::Broken),
            }
        }
        Ok(true)
    }

    fn receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.socket.poll_read_ready(cx))?;
            match self.socket.try_read_buf(self.connection.recv_buffer()) {
                Err(error) if is_transient(&error) => {}
                result => return Poll::Ready(result),
            }
        }
    }

    /// Handles what the bytes so far mean.
    fn events(&mut self, now: Instant, calls_left: &mut u32) {
        while *calls_left > 0 {
            match self.connection.poll_event(now) {
                Ok(Some(event)) => {
                    *calls_left -= 1;
                    self.event(event);
                }
                Ok(None) => break,
                Err(error) => {
                    self.fail(&error, now);
                    break;
                }
            }
        }
        if self.admission.handshake.is_some() && self.connection.peer_preface().is_some() {
            self.admission.handshake = None;
        }
    }

    fn event(&mut self, event: ServerEvent) {
        match event {
            ServerEvent::Call {
                call,
                method,
                deadline,
                arguments,
                ..
            } => {
                self.shared.counters.calls.add(1);
                let Some(route) = self.shared.router.find(method) else {
                    let (code, text) = self.shared.router.unknown(method);
                    self.connection.fail(call, code, &text);
                    return;
                };
                let max_reply = self.connection.max_reply() as usize;
                if let Some(completed) = self.calls.start(Arrival {
                    call,
                    route,
                    deadline,
                    arguments,
                    max_reply,
                }) {
                    answer(&mut self.connection, &mut self.calls, call, completed);
                }
            }
            ServerEvent::Cancel(call) => self.stop(call, Code::CANCELLED, "cancelled by the caller"),
            ServerEvent::Expire(call) => {
                self.stop(call, Code::DEADLINE, "deadline passed while the method ran")
            }
            // Greeting is noticed by its result, the end of the peer's bytes by the read that finds it.
            ServerEvent::Greeted
            | ServerEvent::PeerFinished
            | ServerEvent::Pong(_)
            | ServerEvent::Goaway { .. } => {}
            _ => {}
        }
    }

    fn stop(&mut self, call: CallId, code: Code, text: &'static str) {
        if let Some(completed) = self.calls.stop(call, code, text) {
            answer(&mut self.connection, &mut self.calls, call, completed);
        }
    }

    /// The peer broke the rules: what tells it so is queued; nothing else is done for it.
    fn fail(&mut self, error: &ConnectionError, now: Instant) {
        let _ = error;
        self.shared.counters.connections_failed.add(1);
        self.calls.stop_all();
        self.stage = Stage::Flushing {
            until: now + CLOSE_PATIENCE,
        };
    }

    /// The peer has finished sending. It may still want its answers (P-52), or be gone: that shows when it is written to.
    fn finish_reading(&mut self, now: Instant) {
        if self.stage != Stage::Open {
            return;
        }
        self.connection.handle_eof();
        // What has arrived is read to its end, which may be in the middle of a frame.
        self.events(now, &mut u32::MAX.clone());
        if self.stage != Stage::Open {
            return;
        }
        self.stage = Stage::Finishing;
        if self.connection.in_flight() > 0 {
            self.connection.ping(0);
            self.probe = Some(Probe {
                at: now + FIRST_PROBE,
                pause: FIRST_PROBE,
            });
        }
    }

    /// The server drains: says so once, and takes no further calls.
    fn drain(&mut self, now: Instant) {
        if matches!(self.stage, Stage::Open) && !self.said_goodbye {
            if self.connection.peer_preface().is_none() {
                self.stage = Stage::Flushing { until: now };
                return;
            }
            self.said_goodbye = true;
            self.connection.goaway(Code::DRAINING, "server is shutting down");
        }
    }

    /// Moves on once every call that was taken has been answered.
    fn leave_when_done(&mut self, now: Instant) {
        let done = self.connection.in_flight() == 0;
        match self.stage {
            Stage::Finishing if done => {
                self.stage = Stage::Flushing {
                    until: now + CLOSE_PATIENCE,
                }
            }
            Stage::Open if done && self.said_goodbye => {
                self.stage = Stage::Flushing {
                    until: now + CLOSE_PATIENCE,
                };
            }
            Stage::Open | Stage::Finishing | Stage::Flushing { .. } | Stage::Lingering { .. } => {}
        }
    }

    /// Writes until nothing is queued or the socket takes no more.
    fn write(&mut self, cx: &mut Context<'_>) -> Result<(), Ended> {
        while !self.connection.send_queue().is_empty() {
            match self.transmit(cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Err(Ended::Broken),
            }
        }
        if let Stage::Flushing { until } = self.stage {
            if self.socket.shutdown_write().is_err() {
                return Err(Ended::Orderly);
            }
            self.stage = Stage::Lingering { until };
        }
        Ok(())
    }

    fn transmit(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.socket.poll_write_ready(cx))?;
        let mut slices = [io::IoSlice::new(&[]); 32];
        let count = self.connection.io_slices(&mut slices);
        match self
            .socket
            .try_write_vectored(slices.get(..count).unwrap_or_default())
        {
            Ok(0) => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            Ok(written) => {
                self.connection.advance(written);
                Poll::Ready(Ok(()))
            }
            Err(error) if is_transient(&error) => Poll::Ready(Ok(())),
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    /// Reads and discards until the peer has closed too.
    fn linger(&mut self, cx: &mut Context<'_>) -> Result<(), Ended> {
        let mut discarded = bytes::BytesMut::with_capacity(4_096);
        loop {
            discarded.clear();
            let Poll::Ready(ready) = self.socket.poll_read_ready(cx) else {
                return Ok(());
            };
            match ready.and_then(|()| self.socket.try_read_buf(&mut discarded)) {
                Err(error) if is_transient(&error) => {}
                Ok(0) | Err(_) => return Err(Ended::Orderly),
                Ok(_) => {}
            }
        }
    }

    /// Does what is due by now. Whether a turn at once is needed.
    fn expire(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        if !self.timer.has_fired(cx) {
            return false;
        }
        self.connection.handle_timeout(now);
        if self.stage != Stage::Open {
            // Reading polls the events of an open connection; here nobody else does.
            self.events(now, &mut CALLS_PER_TURN.clone());
        }
        if let Some(probe) = self.probe.filter(|probe| probe.at <= now) {
            if self.connection.in_flight() > 0 {
                self.connection.ping(0);
                let pause = (probe.pause * 2).min(LAST_PROBE);
                self.probe = Some(Probe {
                    at: now + pause,
                    pause,
                });
            } else {
                self.probe = None;
            }
        }
        false
    }

    /// Arms the timer for the next thing that is due, or ends a connection whose patience is over.
    fn arm(&mut self, cx: &mut Context<'_>, now: Instant) -> Result<bool, Ended> {
        let patience = match self.stage {
            Stage::Flushing { until } | Stage::Lingering { until } => Some(until),
            Stage::Open | Stage::Finishing => None,
        };
        if patience.is_some_and(|until| until <= now) {
            return Err(Ended::Orderly);
        }
        let due = [
            self.connection.deadline(),
            patience,
            self.probe.map(|probe| probe.at),
        ];
        Ok(self.timer.arm(cx, due.into_iter().flatten().min()))
    }

    fn report_copies(&mut self) {
        let copied = self.connection.copied_bytes();
        if copied != self.copied {
            self.shared.counters.bytes_copied.add(copied - self.copied);
            self.copied = copied;
        }
    }
}

/// Sends the answer to a call.
fn answer(connection: &mut ServerConnection, calls: &mut Calls, call: CallId, completed: Completed) {
    let Completed { mut frame, outcome } = completed;
    match outcome {
        Outcome::Reply { error } => connection.reply(call, &mut frame, error),
        Outcome::Failure(code, text) => connection.fail(call, code, &text),
    }
    calls.keep_frame(frame);
}

/// Whether an I/O error only means: try again.
fn is_transient(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}
