//! Inbound: the channel end that receives, as the transport fills it and its receiver empties it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use super::ITEM_OVERHEAD;
use super::call_channels::{ChannelSink, Hook};
use super::error::StreamError;
use super::run::Run;
use crate::metadata::Metadata;

/// The receiving end of one channel.
pub struct Inbound(Mutex<State>);

struct State {
    /// Bodies of item frames that were not read yet.
    bodies: VecDeque<Body>,
    /// What was read and not granted again.
    read: u64,
    /// What the peer may have under way; half of it is granted at a time.
    window: u32,
    end: Option<End>,
    /// Whether the receiver wants no more, and whether the transport knows.
    stopped: bool,
    stop_taken: bool,
    /// Whether the transport was told that there is something for it, and has not looked yet.
    notified: bool,
    /// Whether the receiver has let it look before it went on.
    let_go: bool,
    hook: Option<Arc<dyn Hook>>,
    receiver: Option<Waker>,
}

struct Body {
    bytes: Bytes,
    packed: bool,
}

/// How a channel ended.
#[derive(Clone, Debug)]
enum End {
    Finished(Metadata),
    Failed(StreamError),
}

/// What a receiver finds.
pub(crate) enum Next {
    Run(Run),
    /// The channel has ended in order.
    Finished(Metadata),
    Failed(StreamError),
}

impl Inbound {
    /// An end that waits for its transport.
    pub(crate) fn new() -> Self {
        Self(Mutex::new(State {
            bodies: VecDeque::new(),
            read: 0,
            window: 0,
            end: None,
            stopped: false,
            stop_taken: false,
            notified: false,
            let_go: false,
            hook: None,
            receiver: None,
        }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // The receiver's side.

    /// The next items, or the end, behind all items that came before it; keeps the waker if there is neither.
    pub(crate) fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Next> {
        let mut state = self.lock();
        if state.lets_go() {
            drop(state);
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if let Some(Body { bytes, packed }) = state.bodies.pop_front() {
            state.read += bytes.len() as u64 + u64::from(ITEM_OVERHEAD);
            // Half a window at a time: the sender goes on while the grant is on its way.
            let hook = if state.end.is_none() && state.read >= u64::from(state.window / 2) {
                state.notify()
            } else {
                None
            };
            drop(state);
            if let Some(hook) = hook {
                hook.notify();
            }
            if !packed {
                return Poll::Ready(Next::Run(Run::Single(bytes)));
            }
            return Poll::Ready(
                Run::packed(bytes).map_or_else(|error| Next::Failed(StreamError::Invalid(error)), Next::Run),
            );
        }
        match &state.end {
            Some(End::Finished(metadata)) => Poll::Ready(Next::Finished(metadata.clone())),
            Some(End::Failed(error)) => Poll::Ready(Next::Failed(error.clone())),
            None => {
                match &mut state.receiver {
                    Some(known) => known.clone_from(cx.waker()),
                    None => state.receiver = Some(cx.waker().clone()),
                }
                Poll::Pending
            }
        }
    }

    /// The receiver wants no more.
    pub(crate) fn stop(&self) {
        let mut state = self.lock();
        let bodies = std::mem::take(&mut state.bodies);
        if state.stopped || state.end.is_some() {
            return;
        }
        state.stopped = true;
        let hook = state.notify();
        drop(state);
        drop(bodies);
        if let Some(hook) = hook {
            hook.notify();
        }
    }

    // The transport's side. Wakers are returned, so that they can be woken outside of its locks.

    /// The call was started with that credit for the peer.
    pub(crate) fn attach(&self, hook: &Arc<dyn Hook>, window: u32) {
        let mut state = self.lock();
        state.hook = Some(Arc::clone(hook));
        state.window = window;
    }

    /// The body of an item frame, 16-aligned.
    pub(crate) fn item(&self, bytes: Bytes, packed: bool) -> Option<Waker> {
        let mut state = self.lock();
        if state.stopped || state.end.is_some() {
            return None;
        }
        state.bodies.push_back(Body { bytes, packed });
        state.receiver.take()
    }

    /// The peer has ended the channel in order.
    pub(crate) fn finish(&self, metadata: Metadata) -> Option<Waker> {
        self.end(End::Finished(metadata))
    }

    /// The channel has ended before its time.
    pub(crate) fn fail(&self, error: StreamError) -> Option<Waker> {
        self.end(End::Failed(error))
    }

    fn end(&self, end: End) -> Option<Waker> {
        let mut state = self.lock();
        state.end.get_or_insert(end);
        state.hook = None;
        state.receiver.take()
    }

    /// Tells the sink what the peer is to know: more credit, or that nothing more is wanted.
    pub(crate) fn flush(&self, channel: u16, sink: &mut dyn ChannelSink) {
        let mut state = self.lock();
        state.notified = false;
        state.let_go = false;
        if state.end.is_some() {
            return;
        }
        if state.stopped {
            if !std::mem::replace(&mut state.stop_taken, true) {
                sink.stop(channel);
            }
            return;
        }
        if state.read >= u64::from(state.window / 2) && state.read > 0 {
            let grant = u32::try_from(state.read).unwrap_or(u32::MAX);
            state.read -= u64::from(grant);
            let more = sink.grant(channel, grant);
            state.window = state.window.saturating_add(more);
        }
    }
}

impl State {
    /// Whether the receiver rests before it goes on, once: the transport may need its thread to tell the peer of what was read.
    ///
    /// A receiver that read all there is first would leave the peer without credit meanwhile, and then wait for it.
    fn lets_go(&mut self) -> bool {
        let rests = self.notified && !self.let_go && self.end.is_none() && !self.bodies.is_empty();
        self.let_go |= rests;
        rests
    }

    fn notify(&mut self) -> Option<Arc<dyn Hook>> {
        if self.notified {
            return None;
        }
        let hook = self.hook.clone()?;
        self.notified = true;
        Some(hook)
    }
}

impl std::fmt::Debug for Inbound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = self.lock();
        f.debug_struct("Inbound")
            .field("bodies", &state.bodies.len())
            .field("end", &state.end)
            .field("stopped", &state.stopped)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::Wake;

    use super::*;

    struct Transport;

    impl Hook for Transport {
        fn notify(&self) {}
    }

    #[derive(Default)]
    struct Grants {
        granted: Vec<u32>,
        /// What the window is longer by with the next grant.
        more: u32,
    }

    impl ChannelSink for Grants {
        fn is_full(&self) -> bool {
            false
        }

        fn item(&mut self, _: u16, _: &mut crate::frame_buf::FrameBuf, _: bool) {}
        fn end(&mut self, _: u16, _: crate::code::Code, _: &Metadata) {}
        fn stop(&mut self, _: u16) {}

        fn grant(&mut self, _: u16, bytes: u32) -> u32 {
            self.granted.push(bytes);
            std::mem::take(&mut self.more)
        }
    }

    const BODY: u32 = 200;
    const COST: u32 = BODY + ITEM_OVERHEAD;

    /// An end in which as many bodies wait, each of them half of the window.
    fn filled(bodies: usize) -> Inbound {
        let channel = Inbound::new();
        let hook: Arc<dyn Hook> = Arc::new(Transport);
        channel.attach(&hook, 2 * COST);
        for _ in 0..bodies {
            assert!(channel.item(Bytes::from(vec![0; BODY as usize]), false).is_none());
        }
        channel
    }

    /// Whether a body came, and whether the receiver was woken again.
    fn receive(channel: &Inbound) -> (bool, bool) {
        struct Woken(AtomicBool);
        impl Wake for Woken {
            fn wake(self: Arc<Self>) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let woken = Arc::new(Woken(AtomicBool::new(false)));
        let waker = Waker::from(Arc::clone(&woken));
        let came = match channel.poll_next(&mut Context::from_waker(&waker)) {
            Poll::Ready(Next::Run(_)) => true,
            Poll::Ready(Next::Finished(_) | Next::Failed(_)) => panic!("the channel has not ended"),
            Poll::Pending => false,
        };
        (came, woken.0.load(Ordering::Relaxed))
    }

    #[test]
    fn half_a_window_can_be_granted_before_the_other_half_is_read() {
        let channel = filled(2);
        assert_eq!(receive(&channel), (true, false));
        assert_eq!(receive(&channel), (false, true), "the transport has its chance");
        let mut grants = Grants::default();
        channel.flush(0, &mut grants);
        assert_eq!(receive(&channel), (true, false));
        channel.flush(0, &mut grants);
        assert_eq!(grants.granted, [COST, COST]);
    }

    #[test]
    fn a_receiver_rests_once_for_a_transport_that_does_not_come() {
        let channel = filled(3);
        assert_eq!(receive(&channel), (true, false));
        assert_eq!(receive(&channel), (false, true));
        assert_eq!(receive(&channel), (true, false));
        assert_eq!(receive(&channel), (true, false));
        let mut grants = Grants::default();
        channel.flush(0, &mut grants);
        assert_eq!(grants.granted, [3 * COST]);
    }

    #[test]
    fn a_window_that_became_longer_is_granted_in_longer_halves() {
        let channel = filled(4);
        let mut grants = Grants {
            more: 2 * COST,
            ..Grants::default()
        };
        let mut granted_after = |body: u32| {
            assert_eq!(receive(&channel), (true, false), "body {body}");
            channel.flush(0, &mut grants);
            grants.granted.len()
        };
        assert_eq!([1, 2, 3, 4].map(&mut granted_after), [1, 1, 2, 2]);
        assert_eq!(grants.granted, [COST, 2 * COST]);
    }

    #[test]
    fn nobody_rests_for_a_grant_that_is_of_no_use() {
        let channel = filled(2);
        assert_eq!(receive(&channel), (true, false));
        assert!(channel.finish(Metadata::default()).is_none());
        assert_eq!(receive(&channel), (true, false));
    }
}
