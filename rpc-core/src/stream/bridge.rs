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

    /// Waits until the items that the handler sent have been carried over: some may want credit.
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
                granted: false,
            };
            from.flush(&mut sink, &mut woken);
            woken.append(&mut sink.woken);
            if sink.granted {
                // What waited for that on the other side is to be fetched.
                self.told.fetch_add(1, Ordering::AcqRel);
            }
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
    granted: bool,
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
        self.granted = true;
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
