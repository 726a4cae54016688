//! Blocking: waits for a call or for the end of a channel on the calling thread, for handlers and callers that are no futures.

use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

fn waker_of_this_thread() -> Waker {
    Waker::from(Arc::new(Unpark(std::thread::current())))
}

thread_local! {
    /// One for all that this thread will ever wait for.
    static WAKER: Waker = waker_of_this_thread();
}

/// Polls until there is a result, and sleeps in between until it is woken.
pub(crate) fn block_on<R>(mut poll: impl FnMut(&mut Context<'_>) -> Poll<R>) -> R {
    // Most calls do not have to wait, and need no waker that works.
    if let Poll::Ready(result) = poll(&mut Context::from_waker(Waker::noop())) {
        return result;
    }
    // At the end of a thread its own is gone.
    let waker = WAKER.try_with(Waker::clone);
    let waker = waker.unwrap_or_else(|_| waker_of_this_thread());
    let mut cx = Context::from_waker(&waker);
    loop {
        match poll(&mut cx) {
            Poll::Ready(result) => return result,
            // A wake-up in between makes it return at once; one that was meant for something else makes it poll once too often.
            Poll::Pending => std::thread::park(),
        }
    }
}
