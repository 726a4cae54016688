//! Wake-ups of one connection: which of its handlers can run on, and the task that runs them.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Wake, Waker};

/// The handlers of a connection that were woken, and the connection's own waker.
#[derive(Debug, Default)]
pub(crate) struct ReadyList(Mutex<Ready>);

#[derive(Debug, Default)]
struct Ready {
    calls: Vec<usize>,
    task: Option<Waker>,
}

impl ReadyList {
    /// Notes which task runs the connection, and moves the woken calls into `calls` (whose memory is used for the next ones).
    pub(crate) fn take(&self, task: &Waker, calls: &mut Vec<usize>) {
        let mut ready = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !ready.task.as_ref().is_some_and(|known| known.will_wake(task)) {
            ready.task = Some(task.clone());
        }
        calls.clear();
        std::mem::swap(&mut ready.calls, calls);
    }

    /// Wakes the connection without a handler: its surroundings have changed.
    pub(crate) fn wake_task(&self) {
        let task = self.0.lock().unwrap_or_else(PoisonError::into_inner).task.clone();
        if let Some(task) = task {
            task.wake();
        }
    }

    fn push(&self, call: usize) {
        let task = {
            let mut ready = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            ready.calls.push(call);
            // The task takes all calls at once, so only the first needs to wake it.
            if ready.calls.len() == 1 {
                ready.task.clone()
            } else {
                None
            }
        };
        if let Some(task) = task {
            task.wake();
        }
    }
}

/// Wakes one handler. A waker that outlives its call wakes the next call of the same slot once too often, which does no harm.
struct CallWaker {
    list: Arc<ReadyList>,
    call: usize,
}

impl Wake for CallWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.list.push(self.call);
    }
}

/// The waker of the call in slot `call`. Made once per slot and kept.
pub(crate) fn call_waker(list: &Arc<ReadyList>, call: usize) -> Waker {
    Waker::from(Arc::new(CallWaker {
        list: Arc::clone(list),
        call,
    }))
}
