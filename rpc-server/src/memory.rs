//! Memory budget: what all connections of a server may hold together, and who waits when it is used up.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use rpc_core::connection::{LIGHT, Pressure, ServerConnection};

/// What the connections of one server hold together.
#[derive(Debug)]
pub(crate) struct MemoryBudget {
    limit: usize,
    /// Bytes, as far as connections have reported them.
    held: AtomicUsize,
    waiting: Mutex<Waiting>,
}

/// Connections that wait for memory.
#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    wakers: HashMap<u64, Waker>,
}

/// One connection's part of the budget, given back when it is dropped.
///
/// Connections report in steps of [`LIGHT`]: as long as one holds less, which is as long as it carries small calls, it never writes to what it shares with others.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Arc<MemoryBudget>,
    reported: usize,
    patience: Patience,
    /// Its number among those that wait.
    number: Option<u64>,
}

/// How a connection stands to a budget that is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Patience {
    /// It was not held up.
    Full,
    /// It waits, until then.
    Until(Instant),
    /// It has waited, and refuses what it cannot hold for as long as the budget is used up.
    Over,
}

/// How long a connection waits for memory before it refuses what it cannot hold.
const PATIENCE: Duration = Duration::from_secs(1);

impl MemoryBudget {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            held: AtomicUsize::new(0),
            waiting: Mutex::default(),
        }
    }

    /// Bytes that are held, in steps.
    pub(crate) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// Takes note that so much less is held, and wakes those who wait if there is room again.
    fn release(&self, bytes: usize) {
        let before = self.held.fetch_sub(bytes, Ordering::SeqCst);
        if before > self.limit && before - bytes <= self.limit {
            let wakers = std::mem::take(&mut self.lock().wakers);
            for (_, connection) in wakers {
                connection.wake();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Share {
    pub(crate) fn new(budget: &Arc<MemoryBudget>) -> Self {
        Self {
            budget: Arc::clone(budget),
            reported: 0,
            patience: Patience::Full,
            number: None,
        }
    }

    /// Takes note of how much the connection holds.
    pub(crate) fn report(&mut self, bytes: usize) {
        let bytes = bytes - bytes % LIGHT;
        let before = std::mem::replace(&mut self.reported, bytes);
        if bytes > before {
            self.budget.held.fetch_add(bytes - before, Ordering::SeqCst);
        } else if bytes < before {
            self.budget.release(before - bytes);
        }
    }

    /// What the connection is to be told of the server's memory. If it has to wait, `waker` is woken when that may be over.
    pub(crate) fn pressure(
        &mut self,
        connection: &ServerConnection,
        now: Instant,
        waker: &Waker,
    ) -> Pressure {
        // Most of the time nothing is short: one look at what is seldom written.
        if self.budget.held() <= self.budget.limit {
            self.patience = Patience::Full;
            return Pressure::None;
        }
        if self.patience == Patience::Over {
            return Pressure::Refuse;
        }
        if !connection.is_heavy() || self.wait(waker) {
            self.patience = Patience::Full;
            return Pressure::None;
        }
        match self.patience {
            Patience::Until(end) if end <= now => {
                self.patience = Patience::Over;
                Pressure::Refuse
            }
            Patience::Until(_) => Pressure::Pause,
            Patience::Full | Patience::Over => {
                self.patience = Patience::Until(now + PATIENCE);
                Pressure::Pause
            }
        }
    }

    /// When the connection's patience ends.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.patience {
            Patience::Until(end) => Some(end),
            Patience::Full | Patience::Over => None,
        }
    }

    /// Has the connection woken when there is room. Whether there is some already.
    fn wait(&mut self, waker: &Waker) -> bool {
        let mut waiting = self.budget.lock();
        let number = *self.number.get_or_insert_with(|| {
            waiting.next += 1;
            waiting.next
        });
        waiting.wakers.insert(number, waker.clone());
        drop(waiting);
        // Whoever makes room after this look finds the waker, since the list is taken after that was counted.
        self.budget.held.load(Ordering::SeqCst) <= self.budget.limit
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.budget.lock().wakers.remove(&number);
        }
        self.budget.release(self.reported);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::task::Wake;

    use rpc_core::Limits;

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicBool);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    const MIB: usize = 1 << 20;

    fn light(now: Instant) -> ServerConnection {
        ServerConnection::new(Limits::default(), now)
    }

    #[test]
    fn small_amounts_are_nobodys_concern_and_what_is_dropped_is_given_back() {
        let budget = Arc::new(MemoryBudget::new(MIB));
        let (mut one, mut two) = (Share::new(&budget), Share::new(&budget));
        one.report(LIGHT - 1);
        assert_eq!(budget.held(), 0);
        one.report(MIB + 5);
        two.report(3 * LIGHT);
        assert_eq!(budget.held(), MIB + 3 * LIGHT);
        one.report(LIGHT);
        drop(two);
        assert_eq!(budget.held(), LIGHT);
        drop(one);
        assert_eq!(budget.held(), 0);
    }

    #[test]
    fn who_waits_is_woken_by_the_release_that_makes_room_and_not_before() {
        let budget = Arc::new(MemoryBudget::new(MIB));
        let (mut holder, mut waiter) = (Share::new(&budget), Share::new(&budget));
        let woken = Arc::new(Woken::default());
        holder.report(3 * MIB);
        assert!(!waiter.wait(&Arc::clone(&woken).into()));
        holder.report(2 * MIB);
        assert!(!woken.0.load(Ordering::SeqCst));
        holder.report(MIB);
        assert!(woken.0.load(Ordering::SeqCst));
        assert!(waiter.wait(Waker::noop()), "there is room");
        drop(waiter);
        assert!(budget.lock().wakers.is_empty());
    }

    #[test]
    fn a_light_connection_is_not_held_up() {
        let now = Instant::now();
        let budget = Arc::new(MemoryBudget::new(MIB));
        let (mut holder, mut other) = (Share::new(&budget), Share::new(&budget));
        holder.report(2 * MIB);
        let pressure = other.pressure(&light(now), now, Waker::noop());
        assert_eq!((pressure, other.deadline()), (Pressure::None, None));
    }
}
