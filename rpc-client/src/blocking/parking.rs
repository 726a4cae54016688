//! Parking: by what a thread that sleeps is woken.

use std::sync::Arc;
use std::task::{Wake, Waker};
use std::thread::{self, Thread};

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

thread_local! {
    static WAKER: Waker = waker();
}

fn waker() -> Waker {
    Waker::from(Arc::new(Unpark(thread::current())))
}

/// What wakes this thread from `park`.
pub(super) fn waker_of_this_thread() -> Waker {
    // At the end of a thread its own is gone.
    WAKER.try_with(Waker::clone).unwrap_or_else(|_| waker())
}
