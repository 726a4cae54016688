//! Bridge: connects the two sides of a call within one process, without a connection between them.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use super::call_channels::{CallChannels, ChannelSink, Hook};
use crate::code::Code;
use crate::frame_buf::FrameBuf;
use crate::metadata::Metadata;

/// The two sides of a call, and what passes between them.
///
/// Ends tell the bridge that they have something, and whoever told it carries it over: no task is needed. Credit counts as on a connection.
pub struct Bridge {
    caller: Arc<CallChannels>,
    handler: Arc<CallChannels>,
    /// How often the bridge was told since somebody began to carry; zero while nobody does. Only one thread carries at a time, as each step locks an end of
    /// either side.
    told: AtomicUsize,
    /// Who waits for all of the handler's items to be carried over.
    waiting: Mutex<Option<Waker>>,
}

impl Bridge {
    /// Connects the two sides. Each lets the other have `credit` bytes under way on a channel, and items of up to `max_item` bytes.
    pub fn connect(
        caller: Arc<CallChannels>,
        handler: Arc<CallChannels>,
        credit: u32,
        max_item: usize,
    ) -> Arc<Self> {
        let bridge = Arc::new(Self {
            caller,
            handler,
            told: AtomicUsize::new(0),
            waiting: Mutex::default(),
        });
        let hook: Arc<dyn Hook> = Arc::clone(&bridge) as _;
        let mut woken = Vec::new();
        bridge.caller.attach(&hook, credit, max_item, credit, &mut woken);
        bridge.handler.attach(&hook, credit, max_item, credit, &mut woken);
        wake_all(woken);
        bridge.notify();
        bridge
    }

    /// The handler's side.
    pub fn handler(&self) -> &Arc<CallChannels> {
        &self.handler
    }

    /// Waits until the items that the handler sent have been carried over: another thread may be about to. None of them waits for credit, since an end
    /// accepts only what that covers.
    pub fn poll_carried(&self, cx: &Context<'_>) -> Poll<()> {
        // Before looking, so that what is carried over in between is not missed.
        *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) = Some(cx.waker().clone());
        if self.handler.has_unsent() {
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    }

    /// Ends all channels of both sides.
    pub fn close(&self, close: impl Fn(&CallChannels, &mut Vec<Waker>)) {
        let mut woken = Vec::new();
        close(&self.caller, &mut woken);
        close(&self.handler, &mut woken);
        wake_all(woken);
    }

    fn carry(&self) {
        let mut woken = Vec::new();
        for (from, to) in [(&self.caller, &self.handler), (&self.handler, &self.caller)] {
            let mut sink = Across {
                to,
                woken: Vec::new(),
            };
            from.flush(&mut sink, &mut woken);
            woken.append(&mut sink.woken);
        }
        if !self.handler.has_unsent() {
            woken.extend(self.waiting.lock().unwrap_or_else(PoisonError::into_inner).take());
        }
        wake_all(woken);
    }
}

impl Hook for Bridge {
    fn notify(&self) {
        if self.told.fetch_add(1, Ordering::AcqRel) > 0 {
            return;
        }
        let mut seen = 1;
        loop {
            self.carry();
            match self
                .told
                .compare_exchange(seen, 0, Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(_) => return,
                Err(told) => seen = told,
            }
        }
    }
}

/// The other side, as one side hands over to it.
struct Across<'a> {
    to: &'a CallChannels,
    woken: Vec<Waker>,
}

impl ChannelSink for Across<'_> {
    fn is_full(&self) -> bool {
        false
    }

    fn item(&mut self, channel: u16, frame: &mut FrameBuf, packed: bool) {
        let body = std::mem::take(frame).into_body();
        self.woken.extend(self.to.item(channel, body, packed));
    }

    fn end(&mut self, channel: u16, code: Code, metadata: &Metadata) {
        self.woken.extend(self.to.ended(channel, code, metadata.clone()));
    }

    fn stop(&mut self, channel: u16) {
        self.woken.extend(self.to.stopped(channel));
    }

    fn grant(&mut self, channel: u16, bytes: u32) -> u32 {
        self.woken.extend(self.to.granted(channel, bytes));
        0
    }
}

fn wake_all(woken: Vec<Waker>) {
    for waker in woken {
        waker.wake();
    }
}

impl fmt::Debug for Bridge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bridge").finish_non_exhaustive()
    }
}

impl FrameBuf {
    /// The body as shared bytes, 16-aligned and in one piece.
    pub(crate) fn into_body(mut self) -> Bytes {
        struct Owner(FrameBuf);
        impl AsRef<[u8]> for Owner {
            fn as_ref(&self) -> &[u8] {
                self.0.body()
            }
        }
        self.flatten();
        Bytes::from_owner(Owner(self))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    use super::*;
    use crate::blocking::block_on;
    use crate::stream::{Inbound, Outbound, Receiver, Sender, SenderSide};

    /// A call with a channel in each direction.
    struct Call {
        bridge: Arc<Bridge>,
        caller: (Sender<u64>, Receiver<u64>),
        handler: (Sender<u64>, Receiver<u64>),
    }

    /// Items of 8 bytes: eight of them are under way at most.
    const WINDOW: u32 = 200;
    const ITEMS: u64 = 20_000;

    fn call() -> Call {
        let side = || (Arc::new(Outbound::new()), Arc::new(Inbound::new()));
        let channels = |(outbound, inbound): &(Arc<_>, Arc<_>)| {
            let (outbound, inbound) = (Arc::clone(outbound), Arc::clone(inbound));
            Arc::new(CallChannels::new(vec![outbound], vec![inbound]))
        };
        let (caller, handler) = (side(), side());
        let bridge = Bridge::connect(channels(&caller), channels(&handler), WINDOW, 1_024);
        let ends = |(outbound, inbound), side| (Sender::new(outbound, side), Receiver::new(inbound));
        Call {
            bridge,
            caller: ends(caller, SenderSide::Caller),
            handler: ends(handler, SenderSide::Handler),
        }
    }

    fn send_all(mut sender: Sender<u64>) {
        for number in 0..ITEMS {
            sender.blocking_send(&number).unwrap();
        }
        sender.finish().unwrap();
    }

    fn receive_all(mut receiver: Receiver<u64>) {
        for number in 0..ITEMS {
            let item = receiver.blocking_recv().unwrap().unwrap();
            assert_eq!(item.to_native(), number);
        }
        assert!(receiver.blocking_recv().unwrap().is_none());
    }

    /// Does each on a thread of its own. All of them come to their end: whoever is forgotten would wait for good.
    #[expect(
        clippy::disallowed_methods,
        reason = "whoever uses both ends of a channel in one process brings the threads"
    )]
    fn side_by_side<const N: usize>(jobs: [Box<dyn FnOnce() + Send>; N]) {
        const PATIENCE: Duration = Duration::from_secs(60);
        let (tell, told) = mpsc::channel();
        for job in jobs {
            let tell = tell.clone();
            thread::spawn(move || {
                job();
                tell.send(())
            });
        }
        drop(tell);
        for _ in 0..N {
            told.recv_timeout(PATIENCE)
                .expect("somebody was forgotten, or has failed");
        }
    }

    #[test]
    fn all_four_ends_may_be_on_threads_of_their_own() {
        let Call {
            bridge: _bridge,
            caller,
            handler,
        } = call();
        side_by_side([
            Box::new(|| send_all(caller.0)),
            Box::new(|| receive_all(handler.1)),
            Box::new(|| send_all(handler.0)),
            Box::new(|| receive_all(caller.1)),
        ]);
    }

    #[test]
    fn an_answer_comes_behind_its_items_also_if_another_thread_carries_them() {
        let Call {
            bridge,
            caller,
            handler,
        } = call();
        let mut sender = handler.0;
        let answers = move || {
            for number in 0..ITEMS {
                sender.blocking_send(&number).unwrap();
                block_on(|cx| bridge.poll_carried(cx));
                assert!(!bridge.handler.has_unsent());
            }
            sender.finish().unwrap();
        };
        side_by_side([
            Box::new(answers),
            Box::new(|| receive_all(caller.1)),
            Box::new(|| send_all(caller.0)),
            Box::new(|| receive_all(handler.1)),
        ]);
    }
}
