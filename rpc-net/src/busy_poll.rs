//! [`BusyPoll`]: whether a connection is looked at again at once, or its thread may sleep.

use std::task::Context;
use std::thread;
use std::time::{Duration, Instant};

use crate::turns::{has_several_workers, yield_to_others};

/// The busy polling of one connection: for a while after something has come or gone, whoever drives it looks for more instead of going to sleep.
///
/// To the kernel, a thread that looks is one that always has something to do, and waits for its turn like any other; one that sleeps goes first when it is woken. So on a core where others
/// compute, looking would be far worse than sleeping: 700 calls/s instead of 48,000, beside one thread that computed. Hence a look that comes late is followed by a rest.
#[derive(Debug)]
pub struct BusyPoll {
    time: Duration,
    /// When the look was asked for that is to come.
    asked: Option<Instant>,
    rests_until: Option<Instant>,
}

/// How late a look comes if others keep the core, or the runtime: the kernel lets a thread compute for 0.7 to 4 ms before others have their turn. What a peer on the same core takes to answer
/// is less, as a rule.
const LATE: Duration = Duration::from_micros(500);

/// How many times as long as it was late a connection is not looked at: what is lost that way is a twentieth of the time. With a hundred, single calls on an idle machine were 0.85 to 0.98 times as
/// many, since a virtual machine is late now and then by itself; where others compute, 0.6 to 1.3 times.
const REST: u32 = 20;

/// The longest rest: a process that was stopped was later than anybody who computes makes it.
const LONGEST_REST: Duration = Duration::from_millis(200);

impl BusyPoll {
    /// Looks for more for `time` after something has come or gone; not at all if that is zero.
    pub const fn new(time: Duration) -> Self {
        Self {
            time,
            asked: None,
            rests_until: None,
        }
    }

    /// Whether anything is ever looked for.
    pub fn is_on(&self) -> bool {
        !self.time.is_zero()
    }

    /// The connection is looked at, whoever asked for it.
    pub fn looks(&mut self, now: Instant) {
        if let Some(asked) = self.asked.take() {
            let late = now.saturating_duration_since(asked);
            if late >= LATE {
                self.rests_until = now.checked_add(late.saturating_mul(REST).min(LONGEST_REST));
            }
        }
    }

    /// Has the task polled again, after the runtime has looked at its sockets and at whoever else is ready, unless nothing has come or gone since `active` for too long: the thread does not sleep
    /// in between.
    ///
    /// On a runtime with one worker the thread gives way to others of its core before. Else a peer on the same core could not do what is looked for: without that, a call and its answer took
    /// 108 µs on one core instead of 8. With several workers it is the other way round (50 instead of 9 µs on two cores), and the peer has other cores.
    pub fn look_again(&mut self, active: Instant, cx: &mut Context<'_>) {
        if self.may_look(active, Instant::now()) {
            if !has_several_workers() {
                thread::yield_now();
            }
            yield_to_others(cx);
        }
    }

    /// Blocks the thread until there is something, or for `most`; or until it is to sleep.
    pub fn look_until(&mut self, most: Duration, mut is_there: impl FnMut() -> bool) {
        if !self.is_on() {
            return;
        }
        let since = Instant::now();
        let mut now = since;
        while !is_there() && now.saturating_duration_since(since) < most && self.may_look(since, now) {
            thread::yield_now();
            now = Instant::now();
            self.looks(now);
        }
    }

    fn may_look(&mut self, active: Instant, now: Instant) -> bool {
        let is_resting = self.rests_until.is_some_and(|until| now < until);
        let may = !is_resting && now.saturating_duration_since(active) < self.time;
        self.asked = may.then_some(now);
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Duration = Duration::from_micros(50);

    #[test]
    fn looks_for_a_while_after_something_has_come() {
        let mut busy = BusyPoll::new(TIME);
        let start = Instant::now();
        assert!(busy.may_look(start, start));
        assert!(busy.may_look(start, start + TIME / 2));
        assert!(!busy.may_look(start, start + TIME));
        assert!(busy.may_look(start + TIME, start + TIME));
        assert!(!BusyPoll::new(Duration::ZERO).may_look(start, start));
    }

    #[test]
    fn rests_after_a_look_that_came_late() {
        let mut busy = BusyPoll::new(TIME);
        let mut now = Instant::now();
        assert!(busy.may_look(now, now));
        now += LATE;
        busy.looks(now);
        assert!(!busy.may_look(now, now));
        assert!(!busy.may_look(now, now + (REST - 1) * LATE));
        assert!(busy.may_look(now + REST * LATE, now + REST * LATE));
    }

    #[test]
    fn a_process_that_was_stopped_rests_no_longer_than_others() {
        let mut busy = BusyPoll::new(TIME);
        let mut now = Instant::now();
        assert!(busy.may_look(now, now));
        now += Duration::from_secs(3600);
        busy.looks(now);
        assert!(!busy.may_look(now, now));
        now += LONGEST_REST;
        assert!(busy.may_look(now, now));
    }

    #[test]
    fn a_thread_that_has_slept_was_not_late() {
        let mut busy = BusyPoll::new(TIME);
        let mut now = Instant::now();
        assert!(busy.may_look(now, now));
        busy.looks(now);
        assert!(!busy.may_look(now, now + TIME));
        now += Duration::from_secs(1);
        busy.looks(now);
        assert!(busy.may_look(now, now));
    }

    #[test]
    fn a_thread_looks_until_something_is_there_or_it_is_time_to_sleep() {
        let minute = Duration::from_secs(60);
        let mut left = 10;
        BusyPoll::new(minute).look_until(minute, || {
            left -= 1;
            left == 0
        });
        // On a busy machine a look may come late, and be the last.
        assert!((0..10).contains(&left));
        BusyPoll::new(minute).look_until(Duration::from_millis(1), || false);
        BusyPoll::new(Duration::from_millis(1)).look_until(minute, || false);
        BusyPoll::new(Duration::ZERO).look_until(minute, || panic!("it is off"));
    }
}
