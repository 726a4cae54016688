//! Running calls of one connection: starts handlers, runs them on, stops them, and hands their answers back.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context as TaskContext, Waker};
use std::time::Instant;

use bytes::Bytes;
use rpc_core::connection::{ChannelEvent, ChannelSignal};
use rpc_core::context::{CallControl, Scope};
use rpc_core::incoming::{Completed, IncomingCall, Outcome, Workers};
use rpc_core::stream::{CallChannels, ChannelSink, Hook};
use rpc_core::{CallFailure, CallId, Code, Context, FrameBuf, Metadata, MethodDescriptor, Peer};
use tokio::task::coop::has_budget_remaining;

use crate::ready::{CallWaker, ChannelHook, ReadyList};
use crate::router::{Route, Router};
use crate::shared::Shared;
use crate::slot::{HandlerSlot, Polled};

/// A call as the connection read it, with its route.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) call: CallId,
    pub(crate) route: Route,
    pub(crate) method: &'static MethodDescriptor,
    pub(crate) deadline: Option<Instant>,
    pub(crate) metadata: Metadata,
    pub(crate) arguments: Bytes,
    pub(crate) max_reply: usize,
    /// What the client lets the handler send on each channel.
    pub(crate) credit: u32,
}

/// The handlers of one connection.
pub(crate) struct Calls {
    shared: Arc<Shared>,
    workers: Arc<dyn Workers>,
    peer: Arc<Peer>,
    ready: Arc<ReadyList>,
    /// By call id.
    slots: Vec<CallSlot>,
    /// By service: memory of handlers that have ended.
    idle: Vec<Vec<Box<dyn HandlerSlot>>>,
    /// Memory of answers that were sent.
    frames: Vec<FrameBuf>,
    /// Capacity of `frames` together.
    kept: usize,
    /// Calls taken from the ready list that have not run yet.
    woken: VecDeque<usize>,
    /// Wakers of channel ends, for the end of a step.
    ends: Vec<Waker>,
}

/// What is known of one call id.
#[derive(Default)]
struct CallSlot {
    running: Option<Running>,
    waker: Option<CallWaker>,
    /// That of the call which runs, or of the last one.
    control: Option<Arc<CallControl>>,
    hook: Option<Arc<dyn Hook>>,
}

struct Running {
    handler: Box<dyn HandlerSlot>,
    service: usize,
    scope: Scope,
    channels: Option<Arc<CallChannels>>,
    /// The answer, while items of the handler are still to be sent before it.
    completed: Option<Box<Completed>>,
    /// Set when a job on the worker pool was asked to stop: its answer will be this failure.
    stopped: Option<(Code, &'static str)>,
}

/// How many handlers of a service are kept for further calls of a connection.
const MAX_IDLE: usize = 256;
/// How much memory of answers is kept for further calls of a connection, in bytes: a burst of large answers does not stay in memory for good.
const MAX_KEPT: usize = 256 << 10;

impl Calls {
    pub(crate) fn new(shared: &Arc<Shared>, peer: Arc<Peer>, ready: &Arc<ReadyList>) -> Self {
        let workers: Arc<dyn Workers> = shared.pool.queue();
        let idle = (0..shared.router.service_count()).map(|_| Vec::new()).collect();
        let ready = Arc::clone(ready);
        let shared = Arc::clone(shared);
        Self {
            shared,
            workers,
            peer,
            ready,
            slots: Vec::new(),
            idle,
            frames: Vec::new(),
            kept: 0,
            woken: VecDeque::new(),
            ends: Vec::new(),
        }
    }

    fn router(&self) -> &Router {
        &self.shared.router
    }

    /// Starts a call and polls its handler once, on the spot. `answer` is its answer, if there is one already.
    pub(crate) fn start(&mut self, arrival: Arrival, answer: &mut Option<Completed>) {
        let index = arrival.call.index();
        if self.slots.len() <= index {
            self.slots.resize_with(index + 1, CallSlot::default);
        }
        let service = arrival.route.service;
        let idle = self.idle.get_mut(service).and_then(Vec::pop);
        let handler = idle.or_else(|| self.router().new_slot(service));
        let (Some(mut handler), Some(control)) = (handler, self.fresh_control(index)) else {
            *answer = Some(Completed::failure(
                Code::UNKNOWN_METHOD,
                "service index out of range",
            ));
            return;
        };
        let channels = CallChannels::for_handler(arrival.method);
        if let Some(channels) = &channels {
            self.attach(index, channels, &arrival);
        }
        let context = Context::new(arrival.deadline, arrival.metadata, control).traced(arrival.method);
        let scope = context.scope();
        handler.start(IncomingCall {
            method: arrival.route.method,
            arguments: arrival.arguments,
            context,
            channels: channels.as_ref().map(CallChannels::for_user).unwrap_or_default(),
            reply: self.take_frame(),
            max_reply: arrival.max_reply,
        });
        let running = Running {
            handler,
            service,
            scope,
            channels,
            completed: None,
            stopped: None,
        };
        self.run(arrival.call, running, answer);
    }

    /// The control of the slot's last call made as new, or a new one while somebody still holds the old.
    fn fresh_control(&mut self, index: usize) -> Option<Arc<CallControl>> {
        let kept = &mut self.slots.get_mut(index)?.control;
        if let Some(control) = kept
            && let Some(control) = Arc::get_mut(control)
        {
            control.reset();
        } else {
            let (peer, workers) = (Arc::clone(&self.peer), Arc::clone(&self.workers));
            *kept = Some(Arc::new(CallControl::new(peer, workers)));
        }
        kept.clone()
    }

    /// Connects the channels of a call with this connection.
    fn attach(&mut self, index: usize, channels: &CallChannels, arrival: &Arrival) {
        let Some(slot) = self.slots.get_mut(index) else {
            return;
        };
        let list = &self.ready;
        let hook = slot.hook.get_or_insert_with(|| {
            Arc::new(ChannelHook {
                list: Arc::clone(list),
                call: index,
            })
        });
        let window = self.shared.limits.stream_credit;
        channels.attach(hook, arrival.credit, arrival.max_reply, window, &mut self.ends);
    }

    /// What the client did on a channel of a running call.
    pub(crate) fn on_channel(&mut self, event: ChannelEvent) {
        let ChannelEvent { call, channel, what } = event;
        let Some(channels) = self.channels(call) else {
            return;
        };
        // What waited for credit is to be fetched; and a call whose method has returned may have waited for items that nobody wants now.
        let is_flush_due = matches!(what, ChannelSignal::Credit(_) | ChannelSignal::Stop);
        let woken = match what {
            ChannelSignal::Item { body, packed } => channels.item(channel, body, packed),
            ChannelSignal::End { code, metadata } => channels.ended(channel, code, metadata),
            ChannelSignal::Stop => channels.stopped(channel),
            ChannelSignal::Credit(bytes) => channels.granted(channel, bytes),
        };
        if is_flush_due && let Some(hook) = self.slots.get(call.index()).and_then(|slot| slot.hook.as_ref()) {
            hook.notify();
        }
        if let Some(woken) = woken {
            woken.wake();
        }
    }

    fn channels(&self, call: CallId) -> Option<Arc<CallChannels>> {
        let running = self.slots.get(call.index())?.running.as_ref()?;
        running.channels.clone()
    }

    /// Hands what the channels of a call have for the client to `sink`. Whether something is left that waits for room; and the answer, if it has waited for
    /// items that have left now.
    pub(crate) fn flush(&mut self, call: CallId, sink: &mut dyn ChannelSink) -> (bool, Option<Completed>) {
        let Some(channels) = self.channels(call) else {
            return (false, None);
        };
        let is_left = channels.flush(sink, &mut self.ends);
        self.wake_ends();
        let Some(slot) = self.slots.get_mut(call.index()) else {
            return (is_left, None);
        };
        let is_done = slot
            .running
            .as_ref()
            .is_some_and(|running| running.completed.is_some() && !channels.has_unsent());
        if !is_done {
            return (is_left, None);
        }
        let Some(mut running) = slot.running.take() else {
            return (is_left, None);
        };
        let completed = running.completed.take().map(|completed| *completed);
        self.close(&running, completed.as_ref());
        self.keep_handler(running);
        (false, completed)
    }

    /// A call is over: its span and ends of its channels that somebody still holds are told.
    fn close(&mut self, running: &Running, completed: Option<&Completed>) {
        if let Some(completed) = completed {
            running.scope.record(&completed.outcome);
        }
        let Some(channels) = &running.channels else { return };
        match completed.map(|completed| &completed.outcome) {
            Some(Outcome::Reply { error, .. }) => channels.returned(*error, &mut self.ends),
            Some(Outcome::Failure(code, text)) => {
                channels.failed(&CallFailure::from_peer(*code, text.as_str()), &mut self.ends);
            }
            None => {
                let text = "connection of the call has ended";
                channels.failed(&CallFailure::from_peer(Code::CANCELLED, text), &mut self.ends);
            }
        }
        self.wake_ends();
    }

    fn wake_ends(&mut self) {
        for waker in self.ends.drain(..) {
            waker.wake();
        }
    }

    /// Runs on every handler that was woken since the last time. `answer` gets what ended. Whether some handlers have to wait for the next turn.
    ///
    /// A handler that never runs out of things to do uses up tokio's budget of the connection's task. Those behind it go first in the next turn: it comes
    /// again only after them.
    pub(crate) fn run_woken(
        &mut self,
        task: &Waker,
        mut answer: impl FnMut(&mut Self, CallId, Completed),
    ) -> bool {
        self.ready.take(task, &mut self.woken);
        while let Some(index) = self.woken.pop_front() {
            if let Some((call, running)) = self.take_woken(index) {
                let mut completed = None;
                self.run(call, running, &mut completed);
                if let Some(completed) = completed {
                    answer(self, call, completed);
                }
            }
            if !has_budget_remaining() {
                break;
            }
        }
        !self.woken.is_empty()
    }

    /// The handler in a slot that was woken. A wake-up of a call that has ended meanwhile finds nothing, or its successor, which is polled once too often.
    fn take_woken(&mut self, index: usize) -> Option<(CallId, Running)> {
        let slot = self.slots.get_mut(index)?;
        if let Some(waker) = &slot.waker {
            waker.clear();
        }
        Some((CallId(u32::try_from(index).ok()?), slot.running.take()?))
    }

    /// Polls a handler. What is not done is kept; `answer` is the answer of what is.
    fn run(&mut self, call: CallId, mut running: Running, answer: &mut Option<Completed>) {
        let index = call.index();
        let Some(slot) = self.slots.get_mut(index) else {
            return;
        };
        if running.completed.is_some() {
            // Woken by an end that it has left somewhere: what it waits for are its items.
            slot.running = Some(running);
            return;
        }
        let waker = slot
            .waker
            .get_or_insert_with(|| CallWaker::new(&self.ready, index));
        let mut cx = TaskContext::from_waker(waker.waker());
        let Running { handler, scope, .. } = &mut running;
        match scope.run(|| handler.poll(&mut cx, answer)) {
            Polled::Pending => {
                slot.running = Some(running);
                return;
            }
            Polled::Done => {
                if let Some(stopped) = running.stopped
                    && let Some(completed) = answer
                {
                    completed.outcome = outcome_of_stopped(stopped, &completed.outcome);
                }
            }
            Polled::Panicked => {
                self.shared.counters.handler_panics.add(1);
                *answer = slot.control.as_deref().map(Completed::panicked);
            }
        }
        self.complete(call, running, answer);
    }

    /// A handler has ended. Its answer stays here while items have to leave before it: those that it sent before it panicked, too.
    fn complete(&mut self, call: CallId, mut running: Running, answer: &mut Option<Completed>) {
        let is_stopped = running.stopped.is_some();
        let waits = running
            .channels
            .as_ref()
            .is_some_and(|channels| channels.has_unsent() && !is_stopped);
        if waits {
            running.completed = answer.take().map(Box::new);
            if let Some(slot) = self.slots.get_mut(call.index()) {
                slot.running = Some(running);
            }
            return;
        }
        self.close(&running, answer.as_ref());
        self.keep_handler(running);
    }

    /// Stops a call: drops the future of an `async` handler, tells a job on the worker pool. The failure to answer with, unless a job still runs: then its end
    /// is the call's end, because only then it has really stopped (P-32).
    pub(crate) fn stop(&mut self, call: CallId, code: Code, text: &'static str) -> Option<Completed> {
        let slot = self.slots.get_mut(call.index())?;
        let control = slot.control.as_deref()?;
        let mut running = slot.running.take()?;
        control.cancel();
        let failure = match code {
            Code::DEADLINE if control.is_held() => {
                Completed::failure(Code::EXPIRED, "time ran out before the method was started")
            }
            code => Completed::failure(code, text),
        };
        if control.is_on_worker() && running.completed.is_none() {
            // A thread that waits for a channel is woken by its end.
            let channels = running.channels.clone();
            running.stopped = Some((code, text));
            slot.running = Some(running);
            if let Some(channels) = channels {
                channels.failed(&CallFailure::from_peer(code, text), &mut self.ends);
                self.wake_ends();
            }
            return None;
        }
        running.handler.clear();
        self.close(&running, Some(&failure));
        self.keep_handler(running);
        Some(failure)
    }

    /// Stops every call, answering none: the connection is beyond answers.
    pub(crate) fn stop_all(&mut self) {
        for index in 0..self.slots.len() {
            let Some(slot) = self.slots.get_mut(index) else {
                continue;
            };
            let Some(mut running) = slot.running.take() else {
                continue;
            };
            if let Some(control) = &slot.control {
                control.cancel();
            }
            running.handler.clear();
            self.close(&running, None);
        }
    }

    /// Keeps the memory of an answer that was sent.
    pub(crate) fn keep_frame(&mut self, mut frame: FrameBuf) {
        if self.kept + frame.capacity() <= MAX_KEPT {
            frame.clear();
            self.kept += frame.capacity();
            self.frames.push(frame);
        }
    }

    fn take_frame(&mut self) -> FrameBuf {
        let frame = self.frames.pop().unwrap_or_default();
        self.kept = self.kept.saturating_sub(frame.capacity());
        frame
    }

    fn keep_handler(&mut self, running: Running) {
        if let Some(idle) = self
            .idle
            .get_mut(running.service)
            .filter(|idle| idle.len() < MAX_IDLE)
        {
            idle.push(running.handler);
        }
    }
}

/// How a job ends that was asked to stop. One that the worker did not begin is known not to have run (P-35).
fn outcome_of_stopped((code, text): (Code, &'static str), outcome: &Outcome) -> Outcome {
    match outcome {
        Outcome::Failure(Code::CANCELLED | Code::EXPIRED, _) if code == Code::DEADLINE => {
            Outcome::Failure(Code::EXPIRED, "time ran out in the worker queue".to_owned())
        }
        Outcome::Failure(..) | Outcome::Reply { .. } => Outcome::Failure(code, text.to_owned()),
    }
}

impl Drop for Calls {
    /// The connection is gone: every handler stops, jobs on the worker pool are told.
    fn drop(&mut self) {
        self.stop_all();
    }
}
