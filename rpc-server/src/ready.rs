//! Wake-ups of one connection: which of its handlers can run on, and the task that runs them.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Wake, Waker};

use rpc_core::stream::Hook;

/// The handlers of a connection that were woken, and the connection's own waker.
#[derive(Debug, Default)]
pub(crate) struct ReadyList(Mutex<Ready>);

#[derive(Debug, Default)]
struct Ready {
    calls: VecDeque<usize>,
    /// Calls whose channels have something for the peer.
    channels: VecDeque<usize>,
    task: Option<Waker>,
    /// Whether the task is in its turn, and will look once more before it waits.
    in_turn: bool,
}

impl Ready {
    /// The task, if it has to be woken for what was just noted: it takes everything at once, so only the first thing needs to.
    fn to_wake(&self) -> Option<Waker> {
        let noted = self.calls.len() + self.channels.len();
        if noted == 1 && !self.in_turn {
            self.task.clone()
        } else {
            None
        }
    }
}

impl ReadyList {
    /// Notes which task runs the connection, and appends the woken calls to `calls` (whose memory is used for the next ones). The task's turn begins: until
    /// [`leave`](Self::leave), nothing wakes it.
    pub(crate) fn take(&self, task: &Waker, calls: &mut VecDeque<usize>) {
        let mut ready = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !ready.task.as_ref().is_some_and(|known| known.will_wake(task)) {
            ready.task = Some(task.clone());
        }
        ready.in_turn = true;
        if calls.is_empty() {
            std::mem::swap(&mut ready.calls, calls);
        } else {
            calls.append(&mut ready.calls);
        }
    }

    /// Appends the calls whose channels have something for the peer.
    pub(crate) fn take_channels(&self, calls: &mut VecDeque<usize>) {
        let mut ready = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        calls.append(&mut ready.channels);
    }

    /// The task's turn is over. Whether something was noted meanwhile.
    pub(crate) fn leave(&self) -> bool {
        let mut ready = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ready.in_turn = false;
        !ready.calls.is_empty() || !ready.channels.is_empty()
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
            ready.calls.push_back(call);
            ready.to_wake()
        };
        if let Some(task) = task {
            task.wake();
        }
    }
}

/// The hook of the channels of one call.
#[derive(Debug)]
pub(crate) struct ChannelHook {
    pub(crate) list: Arc<ReadyList>,
    pub(crate) call: usize,
}

impl Hook for ChannelHook {
    fn notify(&self) {
        let task = {
            let mut ready = self.list.0.lock().unwrap_or_else(PoisonError::into_inner);
            ready.channels.push_back(self.call);
            ready.to_wake()
        };
        if let Some(task) = task {
            task.wake();
        }
    }
}

/// Wakes the handler in one slot. Made once per slot and kept.
///
/// A waker that outlives its call wakes the next call of the same slot once too often, which does no harm.
#[derive(Debug)]
pub(crate) struct CallWaker {
    wake: Arc<CallWake>,
    waker: Waker,
}

#[derive(Debug)]
struct CallWake {
    list: Arc<ReadyList>,
    call: usize,
    /// Whether the call is in the list, or taken from it and not run yet. However often it is woken, it is there once: so the list is no longer than the
    /// table of calls, and a handler that waits for many things is not polled once for each.
    queued: AtomicBool,
}

impl CallWaker {
    /// The waker of the call in slot `call`.
    pub(crate) fn new(list: &Arc<ReadyList>, call: usize) -> Self {
        let wake = Arc::new(CallWake {
            list: Arc::clone(list),
            call,
            queued: AtomicBool::new(false),
        });
        let waker = Waker::from(Arc::clone(&wake));
        Self { wake, waker }
    }

    pub(crate) fn waker(&self) -> &Waker {
        &self.waker
    }

    /// Takes note that the call was taken from the list and is about to run: the next wake-up puts it there again.
    pub(crate) fn clear(&self) {
        // Acquires what was done before the wake-ups that found the call queued already.
        self.wake.queued.swap(false, Ordering::AcqRel);
    }
}

impl Wake for CallWake {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::AcqRel) {
            self.list.push(self.call);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn taken(list: &ReadyList, task: &Waker) -> Vec<usize> {
        let mut calls = VecDeque::new();
        list.take(task, &mut calls);
        assert!(!list.leave());
        calls.into()
    }

    #[test]
    fn a_call_that_is_woken_often_is_listed_once_and_wakes_the_task_once() {
        let list = Arc::new(ReadyList::default());
        let count = Arc::new(Count::default());
        let task = Waker::from(Arc::clone(&count));
        assert_eq!(taken(&list, &task), []);
        let (one, two) = (CallWaker::new(&list, 1), CallWaker::new(&list, 2));
        for _ in 0..100 {
            two.waker().wake_by_ref();
            one.waker().wake_by_ref();
        }
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        assert_eq!(taken(&list, &task), [2, 1]);
        one.waker().wake_by_ref();
        assert_eq!(taken(&list, &task), [], "taken, and not run yet");
        one.clear();
        one.waker().wake_by_ref();
        assert_eq!(taken(&list, &task), [1]);
        assert_eq!(count.0.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn in_its_turn_the_task_is_not_woken_and_looks_again_at_the_end() {
        let list = Arc::new(ReadyList::default());
        let count = Arc::new(Count::default());
        let task = Waker::from(Arc::clone(&count));
        let hook = ChannelHook {
            list: Arc::clone(&list),
            call: 4,
        };
        list.take(&task, &mut VecDeque::new());
        hook.notify();
        assert!(list.leave());
        assert_eq!(count.0.load(Ordering::Relaxed), 0);
        let mut channels = VecDeque::new();
        list.take_channels(&mut channels);
        assert_eq!(channels, [4]);
        hook.notify();
        CallWaker::new(&list, 1).waker().wake_by_ref();
        assert_eq!(count.0.load(Ordering::Relaxed), 1, "once for both");
    }

    #[test]
    fn what_is_taken_follows_what_was_left() {
        let list = Arc::new(ReadyList::default());
        let task = Waker::noop();
        let mut calls = VecDeque::from([7]);
        CallWaker::new(&list, 3).waker().wake_by_ref();
        list.take(task, &mut calls);
        assert_eq!(calls, [7, 3]);
    }
}
