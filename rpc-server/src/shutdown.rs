//! Shutdown: from serving through draining to closed, and who is still there.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::ready::ReadyList;

/// What a server is doing. It only ever moves on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Accepts connections and calls.
    Serving,
    /// Accepts neither; finishes the calls that it has taken.
    Draining,
    /// Everything stops where it is.
    Closed,
    /// Nothing runs any more.
    Ended,
}

/// The phase of a server, and everything that has to hear of a change.
#[derive(Debug, Default)]
pub(crate) struct Shutdown {
    phase: AtomicU8,
    connections: Mutex<Connections>,
    /// Signalled when the last connection has gone, and on every change of phase.
    moved: Condvar,
    /// The same for tasks.
    changed: Notify,
}

#[derive(Debug, Default)]
struct Connections {
    next: u64,
    open: HashMap<u64, Arc<ReadyList>>,
}

impl Shutdown {
    pub(crate) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Serving,
            1 => Phase::Draining,
            2 => Phase::Closed,
            _ => Phase::Ended,
        }
    }

    /// Moves on to a phase, and tells acceptors and connections. Whether this was news: going back is not possible.
    pub(crate) fn advance(&self, phase: Phase) -> bool {
        let before = self.phase.fetch_max(phase as u8, Ordering::AcqRel);
        self.changed.notify_waiters();
        // Under the lock, so that nobody can look at the phase before and begin to wait after the signal.
        let open: Vec<_> = self.lock().open.values().cloned().collect();
        self.moved.notify_all();
        for connection in open {
            connection.wake_task();
        }
        before < phase as u8
    }

    /// Notes a connection until the result is dropped.
    pub(crate) fn register(self: &Arc<Self>, connection: &Arc<ReadyList>) -> Registration {
        let mut connections = self.lock();
        let number = connections.next;
        connections.next += 1;
        connections.open.insert(number, Arc::clone(connection));
        Registration {
            shutdown: Arc::clone(self),
            number,
        }
    }

    pub(crate) fn open_connections(&self) -> usize {
        self.lock().open.len()
    }

    /// Blocks until no connection is open, the phase is at least `phase`, or the time is up. How many connections are left.
    pub(crate) fn wait_idle(&self, patience: Duration, phase: Phase) -> usize {
        let end = Instant::now().checked_add(patience);
        let mut connections = self.lock();
        while !connections.open.is_empty() && self.phase() < phase {
            // A patience beyond what the clock can count is unlimited.
            let left = end.map_or(Duration::MAX, |end| end.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                break;
            }
            let waited = self.moved.wait_timeout(connections, left);
            connections = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        connections.open.len()
    }

    /// Blocks until the phase is at least `phase`.
    pub(crate) fn wait(&self, phase: Phase) {
        let mut connections = self.lock();
        while self.phase() < phase {
            connections = self
                .moved
                .wait(connections)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits until the phase is at least `phase`.
    pub(crate) async fn reached(&self, phase: Phase) {
        loop {
            // Before looking, so that a change in between is not missed.
            let notified = self.changed.notified();
            if self.phase() >= phase {
                return;
            }
            notified.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Connections> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An open connection as the shutdown knows it.
#[derive(Debug)]
pub(crate) struct Registration {
    shutdown: Arc<Shutdown>,
    number: u64,
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut connections = self.shutdown.lock();
        connections.open.remove(&self.number);
        if connections.open.is_empty() {
            self.shutdown.moved.notify_all();
        }
    }
}
