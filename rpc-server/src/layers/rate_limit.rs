//! RateLimit: how many calls of a service begin in a time.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rpc_core::incoming::{Completed, IncomingCall};
use rpc_core::{Code, Dispatch, ServerMiddleware};
use tokio::time::sleep_until;

use super::wait::{expired, wait_for};

/// Lets so many calls begin in a time: a bucket of tokens that fills up evenly, of which each call takes one.
///
/// Further calls wait for theirs, in order; one whose deadline comes before its token is not kept waiting. With [`shed`](Self::shed) they are refused at once.
#[derive(Debug)]
pub struct RateLimit {
    /// From token to token.
    interval: Duration,
    /// How much earlier than evenly calls may come: one interval less than the bucket holds.
    slack: Duration,
    shed: bool,
    bucket: Mutex<Bucket>,
    /// Whoever has it is the first of those that wait.
    turn: tokio::sync::Mutex<()>,
}

/// When the next call would come if all came evenly. None before the first one.
#[derive(Debug, Default)]
struct Bucket {
    next: Option<Instant>,
}

impl RateLimit {
    /// A limit of `calls` in `time`, which may come all at once after a pause that is as long. Zero calls count as one.
    pub fn new(calls: u32, time: Duration) -> Self {
        Self {
            interval: time / calls.max(1),
            slack: Duration::ZERO,
            shed: false,
            bucket: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
        }
        .burst(calls)
    }

    /// Sets how many tokens the bucket holds: how many calls may come at once after a pause. Zero counts as one.
    #[must_use]
    pub fn burst(mut self, calls: u32) -> Self {
        self.slack = self.interval.saturating_mul(calls.saturating_sub(1));
        self
    }

    /// Refuses what is too much instead of making it wait.
    #[must_use]
    pub fn shed(mut self) -> Self {
        self.shed = true;
        self
    }

    /// Takes a token for a call that came at `arrived`; or says when there will be one.
    ///
    /// Tokens are counted from when the call came and not from now: it has waited, so none of those since then has overflowed the bucket.
    fn take(&self, arrived: Instant, now: Instant) -> Result<(), Instant> {
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let even = bucket.next.map_or(arrived, |next| next.max(arrived));
        // A slack beyond what the clock can count lets everything pass.
        let reach = now.checked_add(self.slack).unwrap_or(even);
        if reach < even {
            return Err(now + (even - reach));
        }
        bucket.next = Some(even.checked_add(self.interval).unwrap_or(even));
        Ok(())
    }

    /// Waits for a token; false if there is none before the deadline.
    async fn wait(&self, arrived: Instant, deadline: Option<Instant>) -> bool {
        let _turn = self.turn.lock().await;
        while let Err(due) = self.take(arrived, now()) {
            if deadline.is_some_and(|deadline| deadline <= due) {
                return false;
            }
            sleep_until(due.into()).await;
        }
        true
    }

    /// Takes a token if there is one, and nobody waits for it.
    fn take_now(&self, now: Instant) -> bool {
        let turn = self.turn.try_lock();
        (self.shed || turn.is_ok()) && self.take(now, now).is_ok()
    }
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

impl ServerMiddleware for RateLimit {
    async fn call<D: Dispatch>(&self, mut call: IncomingCall, next: &D) -> Completed {
        let arrived = now();
        if self.take_now(arrived) {
            return next.dispatch(call).await;
        }
        if self.shed {
            let text = "more calls than may begin in this time (RateLimit)";
            return call.take_reply().fail(Code::REFUSED, text);
        }
        let deadline = call.context.deadline();
        match wait_for(&mut call, self.wait(arrived, deadline)).await {
            Ok(true) => next.dispatch(call).await,
            Ok(false) => expired(&mut call),
            Err(expired) => expired,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_evenly_and_are_kept_up_to_the_burst() {
        let ms = Duration::from_millis;
        let limit = RateLimit::new(100, ms(1_000)).burst(3);
        let start = Instant::now();
        let take = |at: u64| {
            let at = start + ms(at);
            limit.take(at, at).map_err(|due| due - start)
        };
        assert_eq!([(); 4].map(|()| take(0)), [Ok(()), Ok(()), Ok(()), Err(ms(10))]);
        assert_eq!([take(10), take(10)], [Ok(()), Err(ms(20))]);
        // However long the pause.
        assert_eq!(
            [(); 4].map(|()| take(5_000)),
            [Ok(()), Ok(()), Ok(()), Err(ms(5_010))]
        );
    }

    #[test]
    fn whoever_is_woken_late_has_lost_nothing() {
        let ms = Duration::from_millis;
        let limit = RateLimit::new(1_000, ms(1_000)).burst(1);
        let start = Instant::now();
        assert_eq!(limit.take(start, start), Ok(()));
        // Those that came at once, and looked 5 ms later.
        let late = || limit.take(start, start + ms(5)).map_err(|due| due - start);
        assert_eq!([(); 5].map(|()| late()), [Ok(()); 5]);
        assert_eq!(late(), Err(ms(6)));
    }

    #[test]
    fn a_limit_without_a_time_is_none() {
        let limit = RateLimit::new(0, Duration::ZERO);
        let start = Instant::now();
        assert!((0..100).all(|_| limit.take(start, start).is_ok()));
        let limit = RateLimit::new(u32::MAX, Duration::MAX).burst(u32::MAX);
        assert!((0..100).all(|_| limit.take(start, start).is_ok()));
    }
}
