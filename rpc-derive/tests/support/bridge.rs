//! Bridge: both sides of the channels of one call, connected directly, and the handler on a thread of its own.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use bytes::Bytes;
use rpc_core::context::CallControl;
use rpc_core::incoming::Completed;
use rpc_core::stream::{CallChannels, ChannelSink, Hook};
use rpc_core::{Answer, CallFailure, Code, Dispatch, FailureKind, FrameBuf, Metadata};

use super::{MAX_BODY, aligned, assert_spawnable, incoming, outcome};

/// What each side may have under way on a channel.
const CREDIT: u32 = 64 << 10;

/// A call whose handler runs on another thread.
pub(crate) struct Running(Arc<Bridge>);

/// One call: its channels, and how it ends.
pub(crate) struct Bridge {
    caller: Arc<CallChannels>,
    handler: Arc<CallChannels>,
    control: Arc<CallControl>,
    /// Held while something crosses, so that what one side says arrives in its order.
    crossing: Mutex<()>,
    end: Mutex<End>,
}

#[derive(Default)]
struct End {
    answer: Option<Result<Answer, CallFailure>>,
    cancelled: bool,
    caller: Option<Waker>,
    handler: Option<Waker>,
}

/// Starts a call with channels.
pub(crate) fn start<D: Dispatch>(
    dispatch: &D,
    method: usize,
    arguments: Bytes,
    caller: Arc<CallChannels>,
) -> Running {
    let descriptor = &dispatch.descriptor().methods[method];
    let handler = CallChannels::for_handler(descriptor).expect("the method has channels");
    assert_eq!(caller.outbound_count(), handler.inbound_count());
    assert_eq!(caller.inbound_count(), handler.outbound_count());
    let control = Arc::new(super::control());
    let call = incoming(method, arguments, Arc::clone(&control), handler.for_user());
    let bridge = Arc::new(Bridge {
        caller,
        handler,
        control,
        crossing: Mutex::default(),
        end: Mutex::default(),
    });
    let hook: Arc<dyn Hook> = Arc::new(Crossing(Arc::downgrade(&bridge)));
    let mut woken = Vec::new();
    for side in [&bridge.caller, &bridge.handler] {
        side.attach(&hook, CREDIT, MAX_BODY, CREDIT, &mut woken);
    }
    wake(woken);
    bridge.cross();
    let handling = assert_spawnable(dispatch.dispatch(call));
    let running = Arc::clone(&bridge);
    let _ = std::thread::spawn(move || running.run(handling));
    Running(bridge)
}

impl Bridge {
    /// Runs the handler until it is done or nobody waits for it.
    fn run(&self, handling: impl Future<Output = Completed>) {
        let completed = {
            let mut handling = pin!(handling);
            block_on(std::future::poll_fn(|cx| {
                let mut end = self.end();
                if end.cancelled {
                    return Poll::Ready(None);
                }
                end.handler = Some(cx.waker().clone());
                drop(end);
                handling.as_mut().poll(cx).map(Some)
            }))
        };
        let Some(completed) = completed else { return };
        self.cross();
        let answer = outcome(completed);
        let mut woken = Vec::new();
        for side in [&self.caller, &self.handler] {
            match &answer {
                Ok(answer) => side.returned(answer.error, &mut woken),
                Err(failure) => side.failed(failure, &mut woken),
            }
        }
        let mut end = self.end();
        end.answer = Some(answer);
        woken.extend(end.caller.take());
        drop(end);
        wake(woken);
    }

    fn end(&self) -> MutexGuard<'_, End> {
        self.end.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes everything to the other side, until neither has anything more to say.
    fn cross(&self) {
        let mut woken = Vec::new();
        {
            let _crossing = self.crossing.lock().unwrap_or_else(PoisonError::into_inner);
            loop {
                let left = self.one_way(&self.caller, &self.handler, &mut woken);
                let back = self.one_way(&self.handler, &self.caller, &mut woken);
                if !left && !back {
                    break;
                }
            }
        }
        wake(woken);
    }

    /// Whether anything was to be taken.
    fn one_way(&self, from: &CallChannels, to: &CallChannels, woken: &mut Vec<Waker>) -> bool {
        // Collected first: while a channel is flushed its lock is held, and the other side's is not to be taken within.
        let mut bag = Bag::default();
        let is_left = from.flush(&mut bag, woken);
        assert!(!is_left, "a bag is never full");
        let was_any = !bag.0.is_empty();
        for message in bag.0 {
            let wakers = match message {
                Message::Item(channel, body, packed) => [to.item(channel, body, packed), None],
                Message::End(channel, code, metadata) => [to.ended(channel, code, metadata), None],
                Message::Grant(channel, bytes) => [to.granted(channel, bytes), None],
                Message::Stop(channel) => [
                    to.stopped(channel),
                    from.ended(channel, Code::CANCELLED, Metadata::default()),
                ],
            };
            woken.extend(wakers.into_iter().flatten());
        }
        was_any
    }
}

impl Running {
    pub(crate) fn poll(&mut self, cx: &Context<'_>) -> Poll<Result<Answer, CallFailure>> {
        let mut end = self.0.end();
        match end.answer.take() {
            Some(answer) => Poll::Ready(answer),
            None => {
                end.caller = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

/// Cancels the call.
impl Drop for Running {
    fn drop(&mut self) {
        let mut woken = Vec::new();
        {
            let mut end = self.0.end();
            end.cancelled = true;
            woken.extend(end.handler.take());
        }
        self.0.control.cancel();
        let failure = CallFailure::local(FailureKind::Cancelled, true, "the caller dropped the call");
        for side in [&self.0.caller, &self.0.handler] {
            side.failed(&failure, &mut woken);
        }
        wake(woken);
    }
}

/// By what channels tell that there is something to take. It is weak, as they are part of the bridge.
struct Crossing(Weak<Bridge>);

impl Hook for Crossing {
    fn notify(&self) {
        if let Some(bridge) = self.0.upgrade() {
            bridge.cross();
        }
    }
}

enum Message {
    Item(u16, Bytes, bool),
    End(u16, Code, Metadata),
    Stop(u16),
    Grant(u16, u32),
}

#[derive(Default)]
struct Bag(Vec<Message>);

impl ChannelSink for Bag {
    fn is_full(&self) -> bool {
        false
    }

    fn item(&mut self, channel: u16, frame: &mut FrameBuf, packed: bool) {
        frame.flatten();
        let body = aligned(frame.body());
        frame.clear();
        self.0.push(Message::Item(channel, body, packed));
    }

    fn end(&mut self, channel: u16, code: Code, metadata: &Metadata) {
        self.0.push(Message::End(channel, code, metadata.clone()));
    }

    fn stop(&mut self, channel: u16) {
        self.0.push(Message::Stop(channel));
    }

    fn grant(&mut self, channel: u16, bytes: u32) -> u32 {
        self.0.push(Message::Grant(channel, bytes));
        0
    }
}

fn wake(wakers: Vec<Waker>) {
    wakers.into_iter().for_each(Waker::wake);
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs a future on this thread, which sleeps while the future waits.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut cx = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return output;
        }
        std::thread::park();
    }
}
