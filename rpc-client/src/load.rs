//! Load: how busy a connection is, where callers that have several to choose from read it without a lock.

use std::sync::atomic::{AtomicU64, Ordering};

use rpc_core::send_queue::COALESCE_LEN;

/// How busy the connection of a link is. Of a channel with one connection nobody asks, and nobody counts.
///
/// Whoever holds the connection's lock writes it, and as long as there is no connection, whoever holds the link's. Readers may be late by a call or two: what they
/// decide by it is never wrong, only less good.
#[derive(Debug)]
pub(crate) struct Load(AtomicU64);

/// What a link has to offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offer {
    /// A connection; the less busy, the smaller the number, and one without anything to do has none.
    Up(u64),
    /// A connection is being made.
    Dialling,
    /// No connection, or one that takes no calls any more.
    Gone,
}

/// A call in flight weighs as much as the longest frame that counts as small: its answer has yet to come, and nobody knows how long that is.
const CALL: u64 = COALESCE_LEN as u64;
/// Added when no slot is free: any connection with a free slot is better.
const FULL: u64 = 1 << 62;
const DIALLING: u64 = u64::MAX - 1;
const GONE: u64 = u64::MAX;

impl Load {
    /// That of a link without a connection.
    pub(crate) fn new() -> Self {
        Self(AtomicU64::new(GONE))
    }

    pub(crate) fn get(&self) -> Offer {
        match self.0.load(Ordering::Relaxed) {
            GONE => Offer::Gone,
            DIALLING => Offer::Dialling,
            load => Offer::Up(load),
        }
    }

    /// `bytes` are those that are queued or on their way here, `calls` the busy slots and `full` whether none is left.
    pub(crate) fn set_up(&self, bytes: u64, calls: usize, full: bool) {
        let calls = u64::try_from(calls).unwrap_or(u64::MAX);
        let load = bytes.saturating_add(calls.saturating_mul(CALL)).min(FULL - 1);
        self.set(load + if full { FULL } else { 0 });
    }

    pub(crate) fn set_dialling(&self) {
        self.set(DIALLING);
    }

    pub(crate) fn set_gone(&self) {
        self.set(GONE);
    }

    fn set(&self, load: u64) {
        self.0.store(load, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(bytes: u64, calls: usize, full: bool) -> u64 {
        let load = Load::new();
        load.set_up(bytes, calls, full);
        match load.get() {
            Offer::Up(load) => load,
            Offer::Dialling | Offer::Gone => panic!("not up"),
        }
    }

    #[test]
    fn a_long_body_weighs_more_than_many_calls_and_no_slot_more_than_anything() {
        let sorted = [
            load(0, 0, false),
            load(100, 1, false),
            load(0, 2, false),
            load(0, 100, false),
            load(1 << 20, 1, false),
            load(1 << 30, 1, false),
            load(u64::MAX, usize::MAX, false),
            load(0, 16, true),
            load(u64::MAX, usize::MAX, true),
        ];
        assert_eq!(sorted[0], 0);
        assert!(sorted.is_sorted_by(|a, b| a < b), "{sorted:?}");
    }

    #[test]
    fn what_is_not_up_is_told_apart() {
        let load = Load::new();
        assert_eq!(load.get(), Offer::Gone);
        load.set_dialling();
        assert_eq!(load.get(), Offer::Dialling);
        load.set_up(0, 0, false);
        assert_eq!(load.get(), Offer::Up(0));
        load.set_gone();
        assert_eq!(load.get(), Offer::Gone);
    }
}
