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
    /// Signalled when the last connection or acceptor has gone, and on every change of phase.
    moved: Condvar,
    /// The same for tasks.
    changed: Notify,
}

#[derive(Debug, Default)]
struct Connections {
    next: u64,
    open: HashMap<u64, Open>,
    /// Acceptors that hold their listener.
    acceptors: usize,
    /// How many connections owed something when everything was stopped.
    cut_off: usize,
}

#[derive(Debug)]
struct Open {
    ready: Arc<ReadyList>,
    /// Whether the peer has been told all that it will be.
    settled: bool,
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

    /// Moves on to a phase, and tells acceptors and connections. Going back is not possible.
    pub(crate) fn advance(&self, phase: Phase) {
        let mut connections = self.lock();
        // Under the lock, so that nobody can look at the phase before and begin to wait after the signal, and no connection can stop before it is counted.
        let before = self.phase.fetch_max(phase as u8, Ordering::AcqRel);
        if before < Phase::Closed as u8 && phase >= Phase::Closed {
            connections.cut_off = connections.open.values().filter(|open| !open.settled).count();
        }
        let open: Vec<_> = connections
            .open
            .values()
            .map(|open| Arc::clone(&open.ready))
            .collect();
        drop(connections);
        self.changed.notify_waiters();
        self.moved.notify_all();
        for connection in open {
            connection.wake_task();
        }
    }

    /// Notes a connection until the result is dropped.
    pub(crate) fn register(self: &Arc<Self>, connection: &Arc<ReadyList>) -> Registration {
        let mut connections = self.lock();
        let number = connections.next;
        connections.next += 1;
        let ready = Arc::clone(connection);
        connections.open.insert(
            number,
            Open {
                ready,
                settled: false,
            },
        );
        Registration {
            shutdown: Arc::clone(self),
            number,
        }
    }

    /// Notes an acceptor until the result is dropped, which has to be after its listener.
    pub(crate) fn register_acceptor(self: &Arc<Self>) -> Accepting {
        self.lock().acceptors += 1;
        Accepting(Arc::clone(self))
    }

    pub(crate) fn open_connections(&self) -> usize {
        self.lock().open.len()
    }

    /// How many connections owed something to their peers when everything was stopped.
    pub(crate) fn cut_off(&self) -> usize {
        self.lock().cut_off
    }

    /// Blocks until no connection and no listener is open, the phase is at least `phase`, or the time is up.
    pub(crate) fn wait_idle(&self, patience: Duration, phase: Phase) {
        let end = Instant::now().checked_add(patience);
        let mut connections = self.lock();
        while !connections.is_idle() && self.phase() < phase {
            // A patience beyond what the clock can count is unlimited.
            let left = end.map_or(Duration::MAX, |end| end.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                break;
            }
            let waited = self.moved.wait_timeout(connections, left);
            connections = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
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

impl Connections {
    fn is_idle(&self) -> bool {
        self.open.is_empty() && self.acceptors == 0
    }
}

/// An open connection as the shutdown knows it.
#[derive(Debug)]
pub(crate) struct Registration {
    shutdown: Arc<Shutdown>,
    number: u64,
}

impl Registration {
    /// Takes note that the peer has been told all that it will be: closing the connection from now on does not cut it off.
    pub(crate) fn settle(&self) {
        if let Some(open) = self.shutdown.lock().open.get_mut(&self.number) {
            open.settled = true;
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut connections = self.shutdown.lock();
        connections.open.remove(&self.number);
        if connections.is_idle() {
            self.shutdown.moved.notify_all();
        }
    }
}

/// An acceptor as the shutdown knows it.
#[derive(Debug)]
pub(crate) struct Accepting(Arc<Shutdown>);

impl Drop for Accepting {
    fn drop(&mut self) {
        let mut connections = self.0.lock();
        connections.acceptors -= 1;
        if connections.is_idle() {
            self.0.moved.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT_ONCE: Duration = Duration::ZERO;
    const FOREVER: Duration = Duration::MAX;

    fn opened(shutdown: &Arc<Shutdown>) -> Registration {
        shutdown.register(&Arc::new(ReadyList::default()))
    }

    #[test]
    fn connections_are_cut_off_unless_they_were_told_everything_or_are_gone() {
        let shutdown = Arc::new(Shutdown::default());
        let (settled, gone, _owed) = (opened(&shutdown), opened(&shutdown), opened(&shutdown));
        shutdown.advance(Phase::Draining);
        settled.settle();
        drop(gone);
        shutdown.wait_idle(AT_ONCE, Phase::Closed);
        assert_eq!(shutdown.cut_off(), 0, "not before everything is stopped");
        shutdown.advance(Phase::Closed);
        assert_eq!(shutdown.cut_off(), 1);
        // It was decided then, not later.
        let _late = opened(&shutdown);
        shutdown.advance(Phase::Ended);
        assert_eq!((shutdown.cut_off(), shutdown.open_connections()), (1, 3));
    }

    #[test]
    fn a_server_is_idle_when_connections_and_listeners_are_closed() {
        let shutdown = Arc::new(Shutdown::default());
        let (connection, acceptor) = (opened(&shutdown), shutdown.register_acceptor());
        assert!(!shutdown.lock().is_idle());
        std::thread::scope(|scope| {
            scope.spawn(|| drop((connection, acceptor)));
            shutdown.wait_idle(FOREVER, Phase::Closed);
        });
        assert!(shutdown.lock().is_idle());
    }

    #[test]
    fn waiting_ends_with_the_phase() {
        let shutdown = Arc::new(Shutdown::default());
        let _connection = opened(&shutdown);
        std::thread::scope(|scope| {
            scope.spawn(|| shutdown.advance(Phase::Closed));
            shutdown.wait_idle(FOREVER, Phase::Closed);
            shutdown.wait(Phase::Closed);
        });
        shutdown.advance(Phase::Draining);
        assert_eq!(shutdown.phase(), Phase::Closed, "it only moves on");
    }
}
