//! Waiters: who waits for which call, and the answers that were not fetched yet.

use std::task::{Poll, Waker};

use rpc_core::{Answer, CallFailure, CallId};

/// How a call ended.
pub(crate) type Outcome = Result<Answer, CallFailure>;

/// A table of calls in flight. Its memory is reused: in steady state a call allocates nothing.
///
/// It is not indexed by call id, since an id may be used again as soon as the answer is there, and before its caller has fetched it.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    entries: Vec<Entry>,
    /// Indices of the free entries; the last one is used next.
    free: Vec<usize>,
    /// The entry of each call id; of an id that is not in flight, an old one that has another id.
    by_call: Vec<usize>,
}

/// An entry of the table. Its owner fetches the answer, or removes it.
#[derive(Debug)]
pub(crate) struct Key(usize);

#[derive(Debug)]
enum Entry {
    Free,
    Waiting { call: CallId, waker: Waker },
    Done(Outcome),
}

/// What an owner gave up.
#[derive(Debug)]
pub(crate) enum Removed {
    /// A call that is in flight.
    Waiting(CallId),
    /// An answer that had arrived and that nobody wants. Freeing it is better not done under a lock.
    Done(#[allow(dead_code, reason = "it is there to be dropped")] Outcome),
    Nothing,
}

impl Waiters {
    /// Adds a call that was just started.
    pub(crate) fn insert(&mut self, call: CallId, waker: &Waker) -> Key {
        let index = self.free.pop().unwrap_or_else(|| {
            self.entries.push(Entry::Free);
            self.entries.len() - 1
        });
        let waker = waker.clone();
        if let Some(entry) = self.entries.get_mut(index) {
            *entry = Entry::Waiting { call, waker };
        }
        if self.by_call.len() <= call.index() {
            self.by_call.resize(call.index() + 1, usize::MAX);
        }
        if let Some(entry) = self.by_call.get_mut(call.index()) {
            *entry = index;
        }
        Key(index)
    }

    /// Leaves the outcome of a call for its owner, who is to be woken. Nobody waits any more if the owner has given up.
    pub(crate) fn complete(&mut self, call: CallId, outcome: Outcome) -> Option<Waker> {
        let index = *self.by_call.get(call.index())?;
        let entry = self.entries.get_mut(index)?;
        match entry {
            Entry::Waiting { call: waiting, .. } if *waiting == call => {}
            Entry::Waiting { .. } | Entry::Free | Entry::Done(_) => return None,
        }
        match std::mem::replace(entry, Entry::Done(outcome)) {
            Entry::Waiting { waker, .. } => Some(waker),
            Entry::Free | Entry::Done(_) => None,
        }
    }

    /// Fetches the outcome if it is there, and frees the entry; else keeps the waker up to date.
    pub(crate) fn poll(&mut self, key: &Key, waker: &Waker) -> Poll<Outcome> {
        // A key has an entry until it is given up: else there is nothing to wait for, and nothing to wake.
        let Some(entry) = self.entries.get_mut(key.0) else {
            return Poll::Pending;
        };
        match entry {
            Entry::Waiting { waker: known, .. } => known.clone_from(waker),
            Entry::Done(_) => {
                self.free.push(key.0);
                if let Entry::Done(outcome) = std::mem::replace(entry, Entry::Free) {
                    return Poll::Ready(outcome);
                }
            }
            Entry::Free => {}
        }
        Poll::Pending
    }

    /// Somebody whose call is in flight.
    pub(crate) fn anyone(&self) -> Option<&Waker> {
        self.entries.iter().find_map(|entry| match entry {
            Entry::Waiting { waker, .. } => Some(waker),
            Entry::Free | Entry::Done(_) => None,
        })
    }

    /// Frees an entry.
    pub(crate) fn remove(&mut self, key: &Key) -> Removed {
        let Some(entry) = self.entries.get_mut(key.0) else {
            return Removed::Nothing;
        };
        let removed = match std::mem::replace(entry, Entry::Free) {
            Entry::Waiting { call, .. } => Removed::Waiting(call),
            Entry::Done(outcome) => Removed::Done(outcome),
            Entry::Free => return Removed::Nothing,
        };
        self.free.push(key.0);
        removed
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn answer(body: &'static [u8]) -> Outcome {
        Ok(Answer {
            error: false,
            body: Bytes::from_static(body),
            metadata: rpc_core::Metadata::new(),
        })
    }

    fn body(outcome: Poll<Outcome>) -> Option<Bytes> {
        match outcome {
            Poll::Ready(outcome) => Some(outcome.unwrap().body),
            Poll::Pending => None,
        }
    }

    #[test]
    fn an_answer_waits_for_its_owner_while_its_call_id_is_used_again() {
        let mut waiters = Waiters::default();
        let old = waiters.insert(CallId(0), Waker::noop());
        assert!(waiters.complete(CallId(0), answer(b"old")).is_some());
        let new = waiters.insert(CallId(0), Waker::noop());
        assert!(waiters.complete(CallId(0), answer(b"new")).is_some());
        assert_eq!(body(waiters.poll(&new, Waker::noop())).unwrap(), "new");
        assert_eq!(body(waiters.poll(&old, Waker::noop())).unwrap(), "old");
    }

    #[test]
    fn a_call_that_was_given_up_gets_no_answer() {
        let mut waiters = Waiters::default();
        let given_up = waiters.insert(CallId(5), Waker::noop());
        assert!(matches!(waiters.remove(&given_up), Removed::Waiting(CallId(5))));
        // Its entry now belongs to another call.
        let other = waiters.insert(CallId(2), Waker::noop());
        assert!(waiters.complete(CallId(5), answer(b"late")).is_none());
        assert!(body(waiters.poll(&other, Waker::noop())).is_none());
        assert!(waiters.complete(CallId(99), answer(b"never called")).is_none());
    }

    #[test]
    fn an_answer_that_nobody_fetched_is_handed_back() {
        let mut waiters = Waiters::default();
        let key = waiters.insert(CallId(0), Waker::noop());
        waiters.complete(CallId(0), answer(b"unwanted"));
        assert!(matches!(waiters.remove(&key), Removed::Done(Ok(_))));
        assert!(matches!(waiters.remove(&key), Removed::Nothing));
    }

    #[test]
    fn entries_are_used_again() {
        let mut waiters = Waiters::default();
        for round in 0..100 {
            let key = waiters.insert(CallId(round % 3), Waker::noop());
            waiters.complete(CallId(round % 3), answer(b""));
            assert!(body(waiters.poll(&key, Waker::noop())).is_some());
        }
        assert_eq!(waiters.entries.len(), 1);
    }
}
