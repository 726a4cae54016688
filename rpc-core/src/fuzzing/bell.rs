//! Bell: whether somebody was told, or woken.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};

use crate::stream::Hook;

#[derive(Debug, Default)]
pub(super) struct Bell(AtomicBool);

impl Bell {
    /// One that has rung.
    pub(super) fn rung() -> Self {
        Self(AtomicBool::new(true))
    }

    pub(super) fn ring(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it has, since the last time that this was asked.
    pub(super) fn has_rung(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}

impl Hook for Bell {
    fn notify(&self) {
        self.ring();
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.ring();
    }
}

pub(super) fn wake(woken: impl IntoIterator<Item = Waker>) {
    woken.into_iter().for_each(Waker::wake);
}
