//! Counters of a server, and a snapshot of them.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a server counts while it runs.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) accepted: Counter,
    pub(crate) accept_errors: Counter,
    pub(crate) accept_pauses: Counter,
    pub(crate) connections_failed: Counter,
    pub(crate) calls: Counter,
    pub(crate) handler_panics: Counter,
    pub(crate) bytes_copied: Counter,
}

/// What a server has counted since it was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Connections accepted.
    pub accepted: u64,
    /// Connections open now.
    pub connections: u64,
    /// Bytes that they hold now for their clients, in steps of 64 KiB: what counts against [`memory_budget`](crate::ServerBuilder::memory_budget).
    pub memory: u64,
    /// Times that accepting failed, for whatever cause; it always goes on.
    pub accept_errors: u64,
    /// Times that accepting paused because the process or the system was out of file descriptors or memory.
    pub accept_pauses: u64,
    /// Connections that ended because the peer was not of this protocol, broke it, or vanished inside a frame.
    pub connections_failed: u64,
    /// Calls taken.
    pub calls: u64,
    /// Handlers that panicked.
    pub handler_panics: u64,
    /// Bytes of frames that were copied from one buffer to another inside the framework, both directions.
    pub bytes_copied: u64,
}

impl Counters {
    pub(crate) fn snapshot(&self, connections: usize, memory: usize) -> Stats {
        Stats {
            accepted: self.accepted.read(),
            connections: connections as u64,
            memory: memory as u64,
            accept_errors: self.accept_errors.read(),
            accept_pauses: self.accept_pauses.read(),
            connections_failed: self.connections_failed.read(),
            calls: self.calls.read(),
            handler_panics: self.handler_panics.read(),
            bytes_copied: self.bytes_copied.read(),
        }
    }
}
