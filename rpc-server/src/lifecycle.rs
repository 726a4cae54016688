//! Lifecycle: how long a connection may be silent, stuck, idle, and old.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{Duration, Instant};

/// The times of a server's connections.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// After how long without a byte from a peer it is asked whether it is there.
    pub(crate) keep_alive: Option<Duration>,
    /// How long it may take to answer that.
    pub(crate) keep_alive_timeout: Duration,
    /// How long a peer may take nothing of what is written to it.
    pub(crate) write_stall: Duration,
    pub(crate) max_idle: Option<Duration>,
    pub(crate) max_age: Option<Duration>,
    /// How long calls may go on after a connection has reached its age.
    pub(crate) grace: Duration,
}

/// What of it is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Ask the peer whether it is there.
    Ping,
    /// It has not answered, or takes nothing: there is nobody to say goodbye to.
    Dead,
    /// Say goodbye.
    Retire(&'static str),
    /// The goodbye has taken too long.
    CutOff,
}

/// How often at least a peer is written to that is not read from: it has no answer to its own questions meanwhile, and would take this side for dead.
const SIGN_OF_LIFE: Duration = Duration::from_secs(10);

/// The clock of one connection.
#[derive(Debug)]
pub(crate) struct Lifecycle {
    times: Times,
    heard: Instant,
    /// When bytes last came or went.
    active: Instant,
    asked: bool,
    /// Whether the peer's bytes are read at all: an answer that is not read is none that is missing.
    listens: bool,
    /// Since when bytes wait that the peer does not take.
    stuck_since: Option<Instant>,
    /// Since when there have been no calls.
    idle_since: Option<Instant>,
    /// When the connection has reached its age, and when that is enforced.
    old_at: Option<Instant>,
    cut_off_at: Option<Instant>,
}

impl Lifecycle {
    pub(crate) fn new(times: Times, now: Instant) -> Self {
        Self {
            times,
            heard: now,
            active: now,
            asked: false,
            listens: true,
            stuck_since: None,
            idle_since: Some(now),
            old_at: times.max_age.and_then(|age| now.checked_add(jittered(age))),
            cut_off_at: None,
        }
    }

    /// Bytes of the peer have come.
    pub(crate) fn heard(&mut self, now: Instant) {
        self.heard = now;
        self.active = now;
        self.asked = false;
    }

    /// When bytes last came or went.
    pub(crate) fn last_active(&self) -> Instant {
        self.active
    }

    /// Takes note of whether the peer is read from: not after its end, nor while the connection is full.
    pub(crate) fn listens(&mut self, now: Instant, listens: bool) {
        if listens && !self.listens {
            self.heard(now);
        }
        self.listens = listens;
    }

    /// Takes note of how the connection is at the end of a turn: whether bytes wait to be written, whether some were taken, and whether calls are in flight.
    pub(crate) fn note(&mut self, now: Instant, is_waiting: bool, has_written: bool, is_busy: bool) {
        if has_written {
            self.active = now;
        }
        if !is_waiting {
            self.stuck_since = None;
        } else if has_written || self.stuck_since.is_none() {
            self.stuck_since = Some(now);
        }
        if is_busy {
            self.idle_since = None;
        } else {
            self.idle_since.get_or_insert(now);
        }
    }

    /// Goodbye was said: from now on only its end is of interest.
    pub(crate) fn retired(&mut self) {
        self.old_at = None;
        self.times.max_idle = None;
    }

    /// The next thing that is due at `now`. Each is due once.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<Due> {
        if self.silent_until().is_some_and(|until| until <= now) {
            if !self.listens {
                // The question goes out all the same: a machine without that process answers it with a reset.
                self.heard(now);
                return Some(Due::Ping);
            }
            if self.asked {
                return Some(Due::Dead);
            }
            self.asked = true;
            return Some(Due::Ping);
        }
        let has_passed = |since: Option<Instant>, time: Duration| {
            since.is_some_and(|since| now.saturating_duration_since(since) >= time)
        };
        if has_passed(self.stuck_since, self.times.write_stall) {
            return Some(Due::Dead);
        }
        if self.cut_off_at.is_some_and(|at| at <= now) {
            return Some(Due::CutOff);
        }
        if self.old_at.is_some_and(|at| at <= now) {
            self.retired();
            self.cut_off_at = now.checked_add(self.times.grace);
            return Some(Due::Retire("connection has reached its age"));
        }
        if self
            .times
            .max_idle
            .is_some_and(|idle| has_passed(self.idle_since, idle))
        {
            self.retired();
            self.cut_off_at = now.checked_add(self.times.grace);
            return Some(Due::Retire("connection is idle"));
        }
        None
    }

    /// When something is due next.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let stuck = self
            .stuck_since
            .and_then(|since| since.checked_add(self.times.write_stall));
        let idle = self.times.max_idle.zip(self.idle_since);
        let idle = idle.and_then(|(idle, since)| since.checked_add(idle));
        [self.silent_until(), stuck, idle, self.old_at, self.cut_off_at]
            .into_iter()
            .flatten()
            .min()
    }

    fn silent_until(&self) -> Option<Instant> {
        let keep_alive = self.times.keep_alive?;
        let patience = match (self.listens, self.asked) {
            (true, true) => keep_alive.saturating_add(self.times.keep_alive_timeout),
            (true, false) => keep_alive,
            (false, _) => keep_alive.min(SIGN_OF_LIFE),
        };
        self.heard.checked_add(patience)
    }
}

/// A time that is shortened or lengthened by chance by up to a tenth, so that connections which were made together do not end together.
fn jittered(time: Duration) -> Duration {
    // The standard library seeds its hash tables from the operating system.
    let chance = RandomState::new().build_hasher().finish();
    let fraction = f64::from(u32::try_from(chance >> 32).unwrap_or(0)) / f64::from(u32::MAX);
    time.mul_f64(0.9 + 0.2 * fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn times() -> Times {
        Times {
            keep_alive: Some(10 * SECOND),
            keep_alive_timeout: 5 * SECOND,
            write_stall: 30 * SECOND,
            max_idle: None,
            max_age: None,
            grace: 3 * SECOND,
        }
    }

    /// Row T7: no false alarm before the timeout is over, and none much later.
    #[test]
    fn a_silent_peer_is_asked_and_given_up_when_it_does_not_answer() {
        let start = Instant::now();
        let mut life = Lifecycle::new(times(), start);
        assert_eq!(life.take_due(start + 9 * SECOND), None);
        assert_eq!(life.deadline(), Some(start + 10 * SECOND));
        assert_eq!(life.take_due(start + 10 * SECOND), Some(Due::Ping));
        assert_eq!(life.take_due(start + 14 * SECOND), None);
        life.heard(start + 14 * SECOND);
        assert_eq!(life.take_due(start + 23 * SECOND), None);
        assert_eq!(life.take_due(start + 24 * SECOND), Some(Due::Ping));
        assert_eq!(life.deadline(), Some(start + 29 * SECOND));
        assert_eq!(life.take_due(start + 29 * SECOND), Some(Due::Dead));
    }

    #[test]
    fn what_comes_and_what_goes_is_activity() {
        let start = Instant::now();
        let mut life = Lifecycle::new(times(), start);
        life.note(start + SECOND, true, false, true);
        assert_eq!(life.last_active(), start);
        life.heard(start + 2 * SECOND);
        assert_eq!(life.last_active(), start + 2 * SECOND);
        life.note(start + 3 * SECOND, false, true, false);
        assert_eq!(life.last_active(), start + 3 * SECOND);
    }

    /// Row T7: whoever is not read from is asked, and not given up for not having answered.
    #[test]
    fn a_peer_that_is_not_read_from_is_not_given_up_and_hears_of_it() {
        let start = Instant::now();
        let mut life = Lifecycle::new(times(), start);
        assert_eq!(life.take_due(start + 10 * SECOND), Some(Due::Ping));
        life.listens(start + 11 * SECOND, false);
        for number in 2..10 {
            assert_eq!(life.take_due(start + 10 * number * SECOND), Some(Due::Ping));
            assert_eq!(life.take_due(start + 10 * number * SECOND), None);
        }
        // It is written to often enough for its own keep-alive, also where this side seldom asks.
        let seldom = Times {
            keep_alive: Some(60 * SECOND),
            ..times()
        };
        let mut full = Lifecycle::new(seldom, start);
        full.listens(start, false);
        assert_eq!(full.deadline(), Some(start + 10 * SECOND));
        assert_eq!(full.take_due(start + 10 * SECOND), Some(Due::Ping));
        life.listens(start + 95 * SECOND, true);
        assert_eq!(life.take_due(start + 104 * SECOND), None);
        assert_eq!(life.take_due(start + 105 * SECOND), Some(Due::Ping));
        assert_eq!(life.take_due(start + 110 * SECOND), Some(Due::Dead));
    }

    /// Row R10
    #[test]
    fn a_peer_that_takes_nothing_is_given_up() {
        let start = Instant::now();
        let without = Times {
            keep_alive: None,
            ..times()
        };
        let mut life = Lifecycle::new(without, start);
        life.note(start, true, false, true);
        life.note(start + 20 * SECOND, true, true, true);
        life.note(start + 40 * SECOND, true, false, true);
        assert_eq!(life.take_due(start + 49 * SECOND), None);
        assert_eq!(life.take_due(start + 50 * SECOND), Some(Due::Dead));
        life.note(start + 50 * SECOND, false, true, true);
        assert_eq!(
            (life.take_due(start + 90 * SECOND), life.deadline()),
            (None, None)
        );
    }

    #[test]
    fn an_idle_connection_retires_and_a_busy_one_does_not() {
        let start = Instant::now();
        let idle = Times {
            max_idle: Some(4 * SECOND),
            ..times()
        };
        let mut life = Lifecycle::new(idle, start);
        life.note(start + SECOND, false, false, true);
        assert_eq!(life.take_due(start + 9 * SECOND), None);
        life.note(start + 9 * SECOND, false, false, false);
        life.heard(start + 9 * SECOND);
        assert_eq!(life.take_due(start + 12 * SECOND), None);
        assert_eq!(
            life.take_due(start + 13 * SECOND),
            Some(Due::Retire("connection is idle"))
        );
        assert_eq!(life.take_due(start + 13 * SECOND), None);
    }

    /// Row L8
    #[test]
    fn an_old_connection_retires_about_its_age_and_is_cut_off_after_the_grace() {
        let aged = Times {
            max_age: Some(100 * SECOND),
            keep_alive: None,
            ..times()
        };
        for _ in 0..50 {
            let start = Instant::now();
            let mut life = Lifecycle::new(aged, start);
            let old_at = life.deadline().unwrap();
            assert!(old_at >= start + 90 * SECOND && old_at <= start + 110 * SECOND);
            assert_eq!(
                life.take_due(old_at),
                Some(Due::Retire("connection has reached its age"))
            );
            assert_eq!(life.take_due(old_at + 2 * SECOND), None);
            assert_eq!(life.take_due(old_at + 3 * SECOND), Some(Due::CutOff));
        }
    }
}
