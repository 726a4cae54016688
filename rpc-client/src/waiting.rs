//! Wait queue: calls that wait for a free slot, first come, first served.

use std::collections::VecDeque;
use std::task::Waker;
use std::time::Instant;

/// Calls that wait for a slot of a saturated connection.
///
/// A freed slot is *granted* to the call that has waited longest, which is woken and starts when it is polled. Until then the slot counts as
/// taken, so no newcomer overtakes. A call that leaves with a grant returns it; whoever frees a slot, or returns a grant, grants again. That
/// the sum of busy slots and grants never exceeds the capacity, and equals it while a call waits, is the invariant that rules out lost
/// wake-ups; `State::settle` restores it.
#[derive(Debug, Default)]
pub(crate) struct WaitQueue {
    /// The entry of ticket `first + index`.
    entries: VecDeque<Entry>,
    first: u64,
    /// No entry before this ticket is `Waiting`.
    next: u64,
    waiting: usize,
    granted: usize,
    /// At or before the earliest deadline of those who wait.
    earliest: Option<Instant>,
}

/// A place in the queue. Its owner polls it, or leaves.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ticket(u64);

#[derive(Debug)]
enum Entry {
    Waiting { waker: Waker, deadline: Option<Instant> },
    Granted,
    Expired,
    Gone,
}

/// What a call in the queue finds when it is polled.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It still has to wait.
    Wait(Ticket),
    /// Its deadline has passed; it has left the queue.
    Expired,
    /// A slot is free for it; it has left the queue and has to take the slot at once, or cause the next grant.
    Start,
}

impl WaitQueue {
    /// Calls that wait, without those that have a slot granted.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Slots that are granted and not taken yet.
    pub(crate) fn granted(&self) -> usize {
        self.granted
    }

    /// At or before the earliest deadline of those who wait.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.earliest
    }

    /// Queues a call.
    pub(crate) fn join(&mut self, waker: &Waker, deadline: Option<Instant>) -> Ticket {
        let ticket = Ticket(self.first + self.entries.len() as u64);
        self.entries.push_back(Entry::Waiting {
            waker: waker.clone(),
            deadline,
        });
        self.waiting += 1;
        self.earliest = earlier(self.earliest, deadline);
        ticket
    }

    /// Asks whether the turn of a call has come, and keeps its waker up to date if not.
    pub(crate) fn poll(&mut self, ticket: Ticket, waker: &Waker) -> Turn {
        let turn = match self.entry(&ticket) {
            Some(Entry::Waiting { waker: known, .. }) => {
                known.clone_from(waker);
                return Turn::Wait(ticket);
            }
            Some(Entry::Expired) => Turn::Expired,
            // A ticket has an entry until its owner gives it up or the queue is dissolved; then the connection says what is next.
            Some(Entry::Granted | Entry::Gone) | None => Turn::Start,
        };
        self.leave(&ticket);
        turn
    }

    /// Takes a call out of the queue. Its grant, if it had one, is free to be given again.
    pub(crate) fn leave(&mut self, ticket: &Ticket) {
        match self.entry(ticket) {
            Some(entry @ Entry::Waiting { .. }) => {
                *entry = Entry::Gone;
                self.waiting -= 1;
            }
            Some(entry @ Entry::Granted) => {
                *entry = Entry::Gone;
                self.granted -= 1;
            }
            Some(entry @ Entry::Expired) => *entry = Entry::Gone,
            Some(Entry::Gone) | None => {}
        }
        while let Some(Entry::Gone) = self.entries.front() {
            self.entries.pop_front();
            self.first += 1;
        }
    }

    /// Grants a slot to the call that has waited longest, which is to be woken.
    pub(crate) fn grant(&mut self) -> Option<Waker> {
        self.next = self.next.max(self.first);
        while let Some(entry) = self.entries.get_mut(index(self.next, self.first)) {
            self.next += 1;
            if let Entry::Waiting { .. } = entry
                && let Entry::Waiting { waker, .. } = std::mem::replace(entry, Entry::Granted)
            {
                self.waiting -= 1;
                self.granted += 1;
                return Some(waker);
            }
        }
        None
    }

    /// Somebody who waits.
    pub(crate) fn anyone(&self) -> Option<&Waker> {
        self.entries.iter().find_map(|entry| match entry {
            Entry::Waiting { waker, .. } => Some(waker),
            Entry::Granted | Entry::Expired | Entry::Gone => None,
        })
    }

    /// Ends the wait of those whose deadline is not after `now`; they are to be woken.
    pub(crate) fn expire(&mut self, now: Instant, woken: &mut Vec<Waker>) {
        if self.earliest.is_none_or(|earliest| now < earliest) {
            return;
        }
        self.earliest = None;
        for entry in &mut self.entries {
            match entry {
                Entry::Waiting {
                    deadline: Some(deadline),
                    ..
                } if *deadline <= now => {
                    if let Entry::Waiting { waker, .. } = std::mem::replace(entry, Entry::Expired) {
                        woken.push(waker);
                    }
                    self.waiting -= 1;
                }
                Entry::Waiting { deadline, .. } => self.earliest = earlier(self.earliest, *deadline),
                Entry::Granted | Entry::Expired | Entry::Gone => {}
            }
        }
    }

    /// Finds everybody who waits: they are to be woken, and keep their places.
    pub(crate) fn all(&self, woken: &mut Vec<Waker>) {
        for entry in &self.entries {
            if let Entry::Waiting { waker, .. } = entry {
                woken.push(waker.clone());
            }
        }
    }

    /// Dissolves the queue: everybody is to be woken and finds another connection.
    pub(crate) fn dissolve(&mut self, woken: &mut Vec<Waker>) {
        self.first += self.entries.len() as u64;
        for entry in self.entries.drain(..) {
            if let Entry::Waiting { waker, .. } = entry {
                woken.push(waker);
            }
        }
        (self.waiting, self.granted, self.earliest) = (0, 0, None);
    }

    fn entry(&mut self, ticket: &Ticket) -> Option<&mut Entry> {
        let index = ticket.0.checked_sub(self.first)?;
        self.entries.get_mut(usize::try_from(index).ok()?)
    }
}

/// The position of a ticket that is not before `first`.
fn index(ticket: u64, first: u64) -> usize {
    usize::try_from(ticket - first).unwrap_or(usize::MAX)
}

/// The earlier of two deadlines.
pub(crate) fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;
    use std::time::Duration;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A waker, and how often it was woken.
    fn counter() -> (Waker, impl Fn() -> usize) {
        let count = Arc::new(Count::default());
        (Waker::from(Arc::clone(&count)), move || {
            count.0.load(Ordering::Relaxed)
        })
    }

    fn queue_of(len: usize) -> (WaitQueue, VecDeque<Ticket>) {
        let mut queue = WaitQueue::default();
        let tickets = (0..len).map(|_| queue.join(Waker::noop(), None)).collect();
        (queue, tickets)
    }

    #[test]
    fn grants_go_to_those_who_came_first() {
        let (mut queue, mut tickets) = queue_of(3);
        assert!(queue.grant().is_some());
        assert!(queue.grant().is_some());
        assert_eq!((queue.waiting(), queue.granted()), (1, 2));
        let last = tickets.pop_back().unwrap();
        assert!(matches!(queue.poll(last, Waker::noop()), Turn::Wait(_)));
        for ticket in tickets {
            assert_eq!(queue.poll(ticket, Waker::noop()), Turn::Start);
        }
        assert_eq!((queue.waiting(), queue.granted()), (1, 0));
    }

    #[test]
    fn a_grant_wakes_the_latest_waker_once() {
        let mut queue = WaitQueue::default();
        let ((first, first_wakes), (second, second_wakes)) = (counter(), counter());
        let ticket = queue.join(&first, None);
        assert!(matches!(queue.poll(ticket, &second), Turn::Wait(_)));
        queue.grant().unwrap().wake();
        assert_eq!((first_wakes(), second_wakes()), (0, 1));
        assert!(queue.grant().is_none());
    }

    #[test]
    fn those_who_left_are_not_granted_anything() {
        let (mut queue, mut tickets) = queue_of(4);
        let (second, first) = (tickets.remove(1).unwrap(), tickets.pop_front().unwrap());
        queue.leave(&second);
        queue.leave(&first);
        assert!(queue.grant().is_some());
        assert_eq!(
            queue.poll(tickets.pop_front().unwrap(), Waker::noop()),
            Turn::Start
        );
        assert_eq!((queue.waiting(), queue.granted()), (1, 0));
    }

    #[test]
    fn leaving_returns_the_grant() {
        let (mut queue, mut tickets) = queue_of(2);
        queue.grant();
        queue.leave(&tickets.pop_front().unwrap());
        assert_eq!((queue.waiting(), queue.granted()), (1, 0));
        assert!(queue.grant().is_some());
    }

    #[test]
    fn places_that_are_left_take_no_room() {
        let mut queue = WaitQueue::default();
        for _ in 0..1000 {
            let ticket = queue.join(Waker::noop(), None);
            queue.grant();
            assert_eq!(queue.poll(ticket, Waker::noop()), Turn::Start);
        }
        assert_eq!(queue.entries.len(), 0);
    }

    #[test]
    fn a_deadline_ends_the_wait_of_those_it_concerns() {
        let now = Instant::now();
        let mut queue = WaitQueue::default();
        let late = queue.join(Waker::noop(), Some(now + Duration::from_secs(2)));
        let soon = queue.join(Waker::noop(), Some(now + Duration::from_secs(1)));
        assert_eq!(queue.deadline(), Some(now + Duration::from_secs(1)));
        let mut woken = Vec::new();
        queue.expire(now, &mut woken);
        assert_eq!(woken.len(), 0);
        queue.expire(now + Duration::from_secs(1), &mut woken);
        assert_eq!(woken.len(), 1);
        assert_eq!(queue.deadline(), Some(now + Duration::from_secs(2)));
        assert_eq!(queue.poll(soon, Waker::noop()), Turn::Expired);
        assert!(matches!(queue.poll(late, Waker::noop()), Turn::Wait(_)));
        assert_eq!(queue.waiting(), 1);
    }

    #[test]
    fn after_the_queue_is_dissolved_old_tickets_mean_nothing() {
        let (mut queue, tickets) = queue_of(3);
        queue.grant();
        let mut woken = Vec::new();
        queue.dissolve(&mut woken);
        assert_eq!(woken.len(), 2);
        let fresh = queue.join(Waker::noop(), None);
        for ticket in tickets {
            queue.leave(&ticket);
        }
        assert_eq!((queue.waiting(), queue.granted()), (1, 0));
        assert!(queue.grant().is_some());
        assert_eq!(queue.poll(fresh, Waker::noop()), Turn::Start);
    }
}
