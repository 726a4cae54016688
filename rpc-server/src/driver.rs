//! Driver: one connection, from bytes to calls to bytes. The task that a connection is.
//!
//! A turn reads as much as there is, starts or runs on every handler that can run, and writes the answers together:
//!
//! ```text
//! socket ─▶ connection ─▶ calls (handlers polled on the spot) ─▶ connection ─▶ socket
//! ```

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rpc_core::connection::{ServerConnection, ServerEvent};
use rpc_core::header::Flags;
use rpc_core::incoming::{Completed, Outcome};
use rpc_core::{CallId, Code, Metadata, MethodId, Peer};
use rpc_net::{BulkOnly, BusyPoll, Socket, Turns};

use crate::acceptor::Admission;
use crate::calls::{Arrival, Calls};
use crate::lifecycle::{Due, Lifecycle};
use crate::memory::Share;
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
    lifecycle: Lifecycle,
    busy_poll: BusyPoll,
    memory: Share,
    ready: Arc<ReadyList>,
    /// Calls whose channels have something for the peer, or had when there was no room for it.
    flushing: VecDeque<usize>,
    /// When the peer is told how many of its calls were taken, whether or not it has read that the server drains.
    drain_until: Option<Instant>,
    /// Whether the peer was told that the server drains.
    said_goodbye: bool,
    /// Whether the peer's fault is counted already.
    failed: bool,
    /// When the peer, which has finished sending, is asked again whether it still exists.
    probe: Option<Probe>,
    /// How many copied bytes were reported so far.
    copied: u64,
    registration: Registration,
}

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Reads calls and answers them.
    Open,
    /// Has read all that the peer sends. Answers what is running.
    Finishing,
    /// Writes what is queued, then shuts down. Answers that are owed are waited for as long as the peer likes, the last words to a peer that broke the rules
    /// until then.
    Flushing { until: Option<Instant> },
    /// Has shut down its side and waits for the peer's end, so that the kernel does not throw away what was just written.
    Lingering { until: Instant },
}

/// A call as the connection read it.
struct NewCall {
    call: CallId,
    method: MethodId,
    deadline: Option<Instant>,
    metadata: Metadata,
    /// Channels on which the client sends.
    channels: u16,
    arguments: Bytes,
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
/// Bytes of one turn, likewise; the last read may exceed it.
const BYTES_PER_TURN: usize = 128 << 10;
/// Calls of one turn, likewise.
const CALLS_PER_TURN: u32 = 512;
/// Writes of one turn, likewise.
const WRITES_PER_TURN: u32 = 2;
/// Calls after which their answers are written although more calls have been read: the client works on them while the server works on the others. Fewer
/// would cost both sides more in system calls than it saves in waiting.
const CALLS_PER_WRITE: u64 = 64;
/// How long the last words to a peer that broke the rules may take, and how long a peer may take to close its side in the end.
const CLOSE_PATIENCE: Duration = Duration::from_secs(1);
/// How long a peer may take to read that the server drains, before calls of it are refused.
const DRAIN_PATIENCE: Duration = Duration::from_secs(1);
/// How soon a peer that has finished sending is probed, and how seldom in the end.
const FIRST_PROBE: Duration = Duration::from_millis(40);
const LAST_PROBE: Duration = Duration::from_secs(1);

/// Serves the connection to its end. Not an `async fn`: its future would have room for the driver twice, before and behind its first step.
impl Future for Driver {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let driver = self.get_mut();
        let ended = ready!(driver.poll_ended(cx));
        if matches!(ended, Ended::Broken) && !driver.failed {
            driver.shared.counters.connections_failed.add(1);
        }
        driver.report_copies();
        Poll::Ready(())
    }
}

impl Driver {
    pub(crate) fn new(mut socket: Socket, admission: Admission, shared: &Arc<Shared>) -> Self {
        let ready = Arc::new(ReadyList::default());
        let registration = shared.shutdown.register(&ready);
        let peer: Arc<Peer> = Arc::new(crate::peer::describe(&socket));
        // What the kernel makes of it is its affair; the connection works with any.
        let _ = socket.set_receive_buffer(shared.receive_buffer);
        let now = Instant::now();
        let mut connection = ServerConnection::new(shared.limits, now);
        connection.share_memory();
        Self {
            connection,
            calls: Calls::new(shared, peer, &ready),
            lifecycle: Lifecycle::new(shared.times, now),
            busy_poll: BusyPoll::new(shared.busy_poll),
            memory: Share::new(&shared.memory),
            ready,
            flushing: VecDeque::new(),
            drain_until: None,
            socket,
            shared: Arc::clone(shared),
            timer: Timer::default(),
            admission,
            stage: Stage::Open,
            said_goodbye: false,
            failed: false,
            probe: None,
            copied: 0,
            registration,
        }
    }

    fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<Ended> {
        let mut turns = Turns::default();
        let mut now = Instant::now();
        self.busy_poll.looks(now);
        loop {
            match self.turn(cx, now) {
                Ok(true) if turns.go_on(cx) => now = Instant::now(),
                Ok(true) => return Poll::Pending,
                Ok(false) => {
                    self.look_out(cx);
                    return Poll::Pending;
                }
                Err(ended) => return Poll::Ready(ended),
            }
        }
    }

    /// Has the task look for more before it sleeps.
    fn look_out(&mut self, cx: &mut Context<'_>) {
        if self.busy_poll.is_on() && self.stage == Stage::Open {
            self.busy_poll.look_again(self.lifecycle.last_active(), cx);
        }
    }

    /// One turn. Whether there is more to do at once.
    fn turn(&mut self, cx: &mut Context<'_>, now: Instant) -> Result<bool, Ended> {
        let transmitted_before = self.connection.send_queue().transmitted();
        let Self {
            calls, connection, ..
        } = self;
        let mut again = calls.run_woken(cx.waker(), |calls, call, completed| {
            answer(connection, calls, call, completed)
        });
        // Who is to be woken is known by now: a change of the phase after this look is not missed.
        let phase = self.shared.shutdown.phase();
        if phase >= Phase::Closed {
            return Err(Ended::Orderly);
        }
        if self.timer.has_fired(cx, now) {
            self.expire(now)?;
        }
        if self.stage == Stage::Open {
            again |= self.read(cx, now)?;
        }
        if phase == Phase::Draining {
            self.drain(now, "server is shutting down");
        }
        self.flush_channels(now);
        self.leave_when_done();
        let was_full = self.is_full();
        again |= self.write(cx, now)?;
        self.adapt_buffers();
        self.memory.report(self.connection.memory());
        let queue = self.connection.send_queue();
        let has_written = queue.transmitted() > transmitted_before;
        // Items that waited for room are fetched.
        again |= has_written && !self.flushing.is_empty() && self.connection.takes_items();
        let is_busy = self.connection.in_flight() > 0;
        self.lifecycle
            .listens(now, self.stage == Stage::Open && !self.connection.is_full());
        self.lifecycle.note(now, !queue.is_empty(), has_written, is_busy);
        // A connection that was full has not asked for more bytes, and frames that have arrived may wait in its buffer.
        again |= was_full && !self.is_full();
        if let Stage::Lingering { .. } = self.stage {
            self.linger(cx)?;
        }
        self.report_copies();
        again |= self.ready.leave();
        again |= self.arm(cx, now)?;
        if !again && self.connection.in_flight() == 0 {
            self.connection.rest(now);
        }
        Ok(again)
    }

    /// Whether the connection holds so much for its peer that it takes no further calls until some are done.
    fn is_full(&self) -> bool {
        self.connection.is_full()
    }

    /// Fetches what channels have for the peer, a frame of each in turn, and answers calls whose answers waited for that.
    fn flush_channels(&mut self, now: Instant) {
        self.ready.take_channels(&mut self.flushing);
        for _ in 0..self.flushing.len() {
            let Some(index) = self.flushing.pop_front() else {
                return;
            };
            let Ok(id) = u32::try_from(index) else { continue };
            let call = CallId(id);
            let Self {
                calls, connection, ..
            } = self;
            let (is_left, completed) = calls.flush(call, &mut connection.sink(call, now));
            if is_left {
                self.flushing.push_back(index);
            }
            if let Some(completed) = completed {
                answer(&mut self.connection, &mut self.calls, call, completed);
            }
        }
    }

    /// Reads until there is nothing more, or enough for one turn.
    fn read(&mut self, cx: &mut Context<'_>, now: Instant) -> Result<bool, Ended> {
        let mut calls_left = CALLS_PER_TURN;
        let mut bytes_left = BYTES_PER_TURN;
        for _ in 0..READS_PER_TURN {
            self.feel_pressure(cx, now);
            // What the last turn left in the buffer comes first, and what a lack of memory has ended.
            if self.connection.may_have_event() {
                self.events(cx, now, &mut calls_left);
            }
            if calls_left == 0 || bytes_left == 0 {
                return Ok(true);
            }
            if self.stage != Stage::Open || self.is_full() || !self.connection.wants_read() {
                return Ok(false);
            }
            match self.receive(cx) {
                Poll::Pending => return Ok(false),
                Poll::Ready(Ok(0)) => {
                    self.connection.handle_eof();
                    self.events(cx, now, &mut calls_left);
                    self.probe(now, FIRST_PROBE);
                }
                Poll::Ready(Ok(read)) => {
                    bytes_left = bytes_left.saturating_sub(read);
                    self.lifecycle.heard(now);
                    self.events(cx, now, &mut calls_left);
                }
                Poll::Ready(Err(_)) => return Err(Ended::Broken),
            }
        }
        Ok(true)
    }

    /// Tells the connection whether the server has memory left. Before every read: what connections take at the same time is then no more than one read of each reactor.
    fn feel_pressure(&mut self, cx: &Context<'_>, now: Instant) {
        self.memory.report(self.connection.memory());
        let pressure = self.memory.pressure(&self.connection, now, cx.waker());
        self.connection.set_pressure(pressure);
    }

    /// Reads first and asks whether there is something to read afterwards: handlers share the budget of the task with the questions, and one that uses it up
    /// must not keep its connection from reading the frame that cancels it.
    fn receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        loop {
            match self.socket.try_read_buf(&mut self.connection.recv_buffer()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(self.socket.poll_read_ready(cx))?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return Poll::Ready(result),
            }
        }
    }

    /// Handles what the bytes so far mean, as far as the connection has room for answers.
    fn events(&mut self, cx: &mut Context<'_>, now: Instant, calls_left: &mut u32) {
        let mut calls = 0;
        while *calls_left > 0 && !self.is_full() {
            match self.connection.poll_event(now) {
                Ok(Some(event)) => {
                    *calls_left -= 1;
                    let is_call = matches!(event, ServerEvent::Call { .. });
                    self.event(event);
                    calls += u64::from(is_call);
                    if is_call && calls.is_multiple_of(CALLS_PER_WRITE) {
                        self.write_early(cx);
                    }
                }
                Ok(None) => break,
                Err(_) => {
                    self.fail(now);
                    break;
                }
            }
        }
        if calls > 0 {
            // Once for all: the counter is everybody's.
            self.shared.counters.calls.add(calls);
        }
        if self.admission.handshake.is_some() && self.connection.peer_preface().is_some() {
            self.admission.handshake = None;
        }
    }

    /// Writes the answers so far, once; an error is met again by the turn's own write. Not where nothing more is to be done before that, and not where a long
    /// body is queued, which has its share of each turn.
    fn write_early(&mut self, cx: &mut Context<'_>) {
        let queue = self.connection.send_queue();
        let is_short = queue.committed_len() == queue.len();
        if is_short && !queue.is_empty() && self.connection.may_have_event() {
            let _ = self.transmit(cx);
        }
    }

    fn event(&mut self, event: ServerEvent) {
        match event {
            ServerEvent::Call {
                call,
                method,
                deadline,
                metadata,
                channels,
                arguments,
                ..
            } => self.start(NewCall {
                call,
                method,
                deadline,
                metadata,
                channels,
                arguments,
            }),
            ServerEvent::Channel(event) => self.calls.on_channel(event),
            ServerEvent::Breach { call, code, text } => self.stop(call, code, text),
            ServerEvent::Cancel(call) => self.stop(call, Code::CANCELLED, "cancelled by the caller"),
            ServerEvent::Expire(call) => self.stop_expired(call),
            // It may still want its answers (P-52).
            ServerEvent::PeerFinished => self.stage = Stage::Finishing,
            // Greeting is noticed by its result.
            ServerEvent::Greeted | ServerEvent::Pong(_) | ServerEvent::Goaway { .. } => {}
            _ => {}
        }
    }

    fn start(&mut self, new: NewCall) {
        let NewCall {
            call,
            method,
            deadline,
            metadata,
            channels,
            arguments,
        } = new;
        // The calls before it in this turn may have taken its time (P-35).
        if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            let text = "time ran out before the method was started";
            return self.connection.fail(call, Code::EXPIRED, text, &Metadata::new());
        }
        let router = &self.shared.router;
        let Some((route, method)) = router.find(method) else {
            let (code, text) = router.unknown(method);
            return self.connection.fail(call, code, &text, &Metadata::new());
        };
        if channels != method.handler_receives {
            let expected = method.handler_receives;
            let text = format!("call sends on {channels} channels, its method has {expected} for that");
            return self
                .connection
                .fail(call, Code::STREAM_STATE, &text, &Metadata::new());
        }
        if method.handler_sends > 0 {
            self.connection.open(call, method.handler_sends);
        }
        let arrival = Arrival {
            call,
            route,
            method,
            deadline,
            metadata,
            arguments,
            max_reply: self.connection.max_reply() as usize,
            credit: self.connection.stream_credit(),
        };
        let mut completed = None;
        self.calls.start(arrival, &mut completed);
        if let Some(completed) = completed {
            answer(&mut self.connection, &mut self.calls, call, completed);
        }
    }

    fn stop(&mut self, call: CallId, code: Code, text: &'static str) {
        if let Some(completed) = self.calls.stop(call, code, text) {
            answer(&mut self.connection, &mut self.calls, call, completed);
        }
    }

    fn stop_expired(&mut self, call: CallId) {
        self.stop(call, Code::DEADLINE, "deadline passed while the method ran");
    }

    /// The peer broke the rules: what tells it so is queued; nothing else is done for it.
    fn fail(&mut self, now: Instant) {
        self.failed = true;
        self.shared.counters.connections_failed.add(1);
        self.calls.stop_all();
        self.stage = Stage::Flushing {
            until: Some(now + CLOSE_PATIENCE),
        };
    }

    /// Asks a peer that has finished sending, and that calls still run for, whether it is there: nothing else would show that it is not.
    fn probe(&mut self, now: Instant, pause: Duration) {
        let is_open = matches!(self.stage, Stage::Open | Stage::Finishing);
        self.probe = (is_open && self.connection.in_flight() > 0).then(|| {
            // Bytes that wait to be written ask the same, and a peer that does not read gets no more of them.
            if self.connection.send_queue().is_empty() {
                self.connection.ping(0);
            }
            Probe {
                at: now + pause,
                pause,
            }
        });
    }

    /// The server drains: says so once, takes the calls that are on their way, and no further ones.
    fn drain(&mut self, now: Instant, text: &str) {
        if self.stage != Stage::Open || self.said_goodbye {
            return;
        }
        self.said_goodbye = true;
        self.lifecycle.retired();
        self.connection.drain(text);
        // At most half of the grace: a peer that never answers is told its count and closed before it would be cut off.
        self.drain_until = Some(now + DRAIN_PATIENCE.min(self.shared.times.grace / 2));
        if self.connection.peer_preface().is_none() {
            // Whoever has not greeted is owed nothing.
            self.stage = Stage::Flushing {
                until: Some(now + CLOSE_PATIENCE),
            };
        }
    }

    /// Moves on once every call that was taken has been answered.
    fn leave_when_done(&mut self) {
        let over = match self.stage {
            Stage::Open => self.said_goodbye && self.connection.is_drain_told(),
            Stage::Finishing => true,
            Stage::Flushing { .. } | Stage::Lingering { .. } => false,
        };
        if over && self.connection.in_flight() == 0 {
            self.stage = Stage::Flushing { until: None };
        }
    }

    /// Writes until nothing is queued or the socket takes no more. Whether it stopped before that, because it was enough for one turn.
    fn write(&mut self, cx: &mut Context<'_>, now: Instant) -> Result<bool, Ended> {
        for _ in 0..WRITES_PER_TURN {
            if self.connection.send_queue().is_empty() {
                return self.finish_writing(now).map(|()| false);
            }
            match self.transmit(cx) {
                Poll::Pending => return Ok(false),
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Err(Ended::Broken),
            }
        }
        Ok(true)
    }

    /// Nothing is queued: a connection that was waiting for that is shut down.
    fn finish_writing(&mut self, now: Instant) -> Result<(), Ended> {
        let Stage::Flushing { .. } = self.stage else {
            return Ok(());
        };
        // P-02: a stranger was told nothing, so nothing can get lost on its way.
        if self.connection.send_queue().enqueued() == 0 || self.socket.shutdown_write().is_err() {
            return Err(Ended::Orderly);
        }
        self.registration.settle();
        self.stage = Stage::Lingering {
            until: now + CLOSE_PATIENCE,
        };
        Ok(())
    }

    /// Writes once: first, and asks for room afterwards, as with reading.
    fn transmit(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut slices = [io::IoSlice::new(&[]); 32];
            let count = self.connection.io_slices(&mut slices);
            let slices = slices.get(..count).unwrap_or_default();
            match self.socket.try_write_vectored(slices) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(written) => {
                    self.connection.advance(written);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(self.socket.poll_write_ready(cx))?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Gives the kernel's buffers the length that is good for what is under way.
    fn adapt_buffers(&mut self) {
        let bulk = BulkOnly {
            sending: self.connection.sends_bulk_only(),
            receiving: self.connection.receives_bulk_only(),
        };
        // All works with any length.
        let _ = self.socket.adapt_buffers(bulk);
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

    /// Does what is due by now.
    fn expire(&mut self, now: Instant) -> Result<(), Ended> {
        self.connection.handle_timeout(now);
        if self.drain_until.take_if(|until| *until <= now).is_some() {
            self.connection.finish_drain();
        }
        while let Some(call) = self.connection.poll_expired() {
            self.stop_expired(call);
        }
        if let Some(Probe { pause, .. }) = self.probe.filter(|probe| probe.at <= now) {
            self.probe(now, (pause * 2).min(LAST_PROBE));
        }
        while let Some(due) = self.lifecycle.take_due(now) {
            match due {
                Due::Ping => self.connection.ping(KEEP_ALIVE),
                Due::Dead => return Err(Ended::Broken),
                Due::Retire(text) => self.drain(now, text),
                Due::CutOff => return Err(Ended::Orderly),
            }
        }
        Ok(())
    }

    /// Arms the timer for the next thing that is due, or ends a connection whose patience is over.
    fn arm(&mut self, cx: &mut Context<'_>, now: Instant) -> Result<bool, Ended> {
        let patience = match self.stage {
            Stage::Flushing { until } => until,
            Stage::Lingering { until } => Some(until),
            Stage::Open | Stage::Finishing => None,
        };
        if patience.is_some_and(|until| until <= now) {
            return Err(Ended::Orderly);
        }
        let due = [
            self.connection.deadline(),
            self.lifecycle.deadline(),
            self.drain_until,
            patience,
            self.memory.deadline().filter(|_| self.stage == Stage::Open),
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

/// The number of keep-alive pings; the others have 0.
const KEEP_ALIVE: u32 = 1;

/// Sends the answer to a call.
fn answer(connection: &mut ServerConnection, calls: &mut Calls, call: CallId, completed: Completed) {
    let Completed {
        mut frame,
        outcome,
        metadata,
    } = completed;
    match outcome {
        Outcome::Reply {
            error,
            metadata: has_metadata,
        } => {
            let error = if error { Flags::ERROR } else { Flags::NONE };
            let metadata = if has_metadata {
                Flags::METADATA
            } else {
                Flags::NONE
            };
            connection.reply(call, &mut frame, Flags(error.0 | metadata.0));
        }
        Outcome::Failure(code, text) => connection.fail(call, code, &text, &metadata),
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
