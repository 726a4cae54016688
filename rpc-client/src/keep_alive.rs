//! Keep-alive: when a server that owes answers is asked whether it is there, and when it is given up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How a channel keeps its connections alive; shared by all of them, so that what one server made of it is remembered.
#[derive(Debug)]
pub(crate) struct KeepAlive {
    interval: Duration,
    timeout: Duration,
    /// By how many times the interval was doubled, because a server found the pings too many.
    doubled: AtomicU32,
}

/// Doublings after which the interval grows no further: a thousand times.
const MAX_DOUBLED: u32 = 10;

impl KeepAlive {
    pub(crate) fn new(interval: Duration, timeout: Duration) -> Self {
        Self {
            interval,
            timeout,
            doubled: AtomicU32::new(0),
        }
    }

    fn interval(&self) -> Duration {
        self.interval
            .saturating_mul(1 << self.doubled.load(Ordering::Relaxed).min(MAX_DOUBLED))
    }
}

/// How long a connection has been silent.
#[derive(Debug)]
pub(crate) struct Silence {
    keep_alive: Option<Arc<KeepAlive>>,
    heard: Instant,
    asked: bool,
}

impl Silence {
    pub(crate) fn new(keep_alive: Option<Arc<KeepAlive>>, now: Instant) -> Self {
        Self {
            keep_alive,
            heard: now,
            asked: false,
        }
    }

    /// Something has come from the server, or nothing was expected until now.
    pub(crate) fn heard(&mut self, now: Instant) {
        self.heard = now;
        self.asked = false;
    }

    /// When that was last.
    pub(crate) fn last_heard(&self) -> Instant {
        self.heard
    }

    /// When the server is to be asked, or given up. Never while it owes nothing.
    pub(crate) fn deadline(&self, owes: bool) -> Option<Instant> {
        let keep_alive = self.keep_alive.as_ref().filter(|_| owes)?;
        let patience = if self.asked {
            keep_alive.interval().saturating_add(keep_alive.timeout)
        } else {
            keep_alive.interval()
        };
        self.heard.checked_add(patience)
    }

    pub(crate) fn is_due(&self, now: Instant, owes: bool) -> bool {
        self.deadline(owes).is_some_and(|deadline| deadline <= now)
    }

    /// Whether the server was asked already.
    pub(crate) fn is_asked(&self) -> bool {
        self.asked
    }

    /// The server is being asked.
    pub(crate) fn ask(&mut self) {
        self.asked = true;
    }

    /// The server has closed the connection because this side costs too much: it is asked half as often from now on, on every connection.
    pub(crate) fn calm_down(&self) {
        if let Some(keep_alive) = &self.keep_alive {
            keep_alive.doubled.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    const SECOND: Duration = Duration::from_secs(1);

    /// Row T7
    #[test]
    fn a_silent_server_is_asked_and_then_given_up() {
        let start = clock::now();
        let keep_alive = Arc::new(KeepAlive::new(10 * SECOND, 5 * SECOND));
        let mut silence = Silence::new(Some(keep_alive), start);
        assert_eq!(silence.deadline(false), None, "it owes nothing");
        assert_eq!(silence.deadline(true), Some(start + 10 * SECOND));
        assert!(!silence.is_due(start + 9 * SECOND, true));
        silence.ask();
        assert!(!silence.is_due(start + 14 * SECOND, true));
        assert!(silence.is_due(start + 15 * SECOND, true) && silence.is_asked());
        silence.heard(start + 14 * SECOND);
        assert!(!silence.is_due(start + 23 * SECOND, true) && !silence.is_asked());
    }

    /// Row P21
    #[test]
    fn a_server_that_wants_calm_is_asked_half_as_often_on_every_connection() {
        let start = clock::now();
        let keep_alive = Arc::new(KeepAlive::new(SECOND, SECOND));
        let one = Silence::new(Some(Arc::clone(&keep_alive)), start);
        let other = Silence::new(Some(keep_alive), start);
        one.calm_down();
        one.calm_down();
        assert_eq!(other.deadline(true), Some(start + 4 * SECOND));
        for _ in 0..100 {
            one.calm_down();
        }
        assert_eq!(other.deadline(true), Some(start + 1024 * SECOND));
    }
}
