//! Retry: repeats calls whose failure is certain to be harmless, with pauses and a budget.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rpc_core::{
    Answer, CallFailure, Caller, ClientMiddleware, Code, FailureKind, FrameBuf, MethodDescriptor,
    OutgoingCall,
};
use tokio::time::sleep;

use super::fix_deadline;
use crate::backoff::XorShift;
use crate::clock;

/// Repeats calls that failed, where that does no harm and may help.
///
/// # What is repeated
///
/// A call that was refused, was not sent, lost its connection, or whose server failed; if it is certain that its method did not run, or if the method says that running it twice does no
/// harm: `#[rpc(idempotent)]`. Nothing else would end differently the second time: not a call that the server does not understand, nor one that is out of time; and a method's own error
/// is an answer. Calls with channels are not repeated, nor those longer than [`max_copy`](Self::max_copy).
///
/// # How often
///
/// At most three attempts in all, and not after the call's deadline, which the attempts share. The pause before each is random, up to 20 ms before the second attempt and twice
/// as much before each further one, 1 s at most; so clients that failed together do not come back together.
///
/// Beyond that, all calls of the layer share a budget: each call pays in a tenth of a retry. So a server that refuses everything gets 10 % more calls, and not three
/// times as many. When the budget is spent, failures are returned as they are.
#[derive(Debug)]
pub struct Retry {
    attempts: u32,
    first_pause: Duration,
    longest_pause: Duration,
    max_copy: usize,
    budget: Budget,
    random: Mutex<XorShift>,
    /// Memory of copies that were not needed.
    frames: Mutex<Vec<FrameBuf>>,
}

/// How many frames are kept for copies.
const MAX_FRAMES: usize = 64;
/// Retries that the budget has to begin with.
const FIRST_RETRIES: u32 = 10;
/// Retries that the budget holds at most.
const MAX_RETRIES: u32 = 100;

impl Default for Retry {
    fn default() -> Self {
        Self::new()
    }
}

impl Retry {
    /// With the numbers above.
    pub fn new() -> Self {
        Self {
            attempts: 3,
            first_pause: Duration::from_millis(20),
            longest_pause: Duration::from_secs(1),
            max_copy: 64 << 10,
            budget: Budget::new(0.1, MAX_RETRIES),
            random: Mutex::new(XorShift::seeded_by_chance()),
            frames: Mutex::default(),
        }
    }

    /// Sets how many attempts a call gets in all. Default: 3. Zero counts as one.
    #[must_use]
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts.max(1);
        self
    }

    /// Sets how much of a retry each call pays into the budget, and how many retries are saved up at most. Default: 0.1 and 100. It begins with 10 retries, or with what it
    /// holds if that is less.
    #[must_use]
    pub fn budget(mut self, ratio: f64, retries: u32) -> Self {
        self.budget = Budget::new(ratio, retries);
        self
    }

    /// Sets how long the pause before the second attempt is at most, and every pause. Default: 20 ms and 1 s.
    #[must_use]
    pub fn pauses(mut self, first: Duration, longest: Duration) -> Self {
        self.first_pause = first;
        self.longest_pause = longest;
        self
    }

    /// Sets up to which length, arguments and metadata together, a call is copied so that it can be repeated, in bytes. Default: 64 KiB.
    #[must_use]
    pub fn max_copy(mut self, len: usize) -> Self {
        self.max_copy = len;
        self
    }

    /// Makes the pauses the same each time: for tests.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        // The first numbers of a small seed are small.
        self.random = Mutex::new(XorShift::new(seed.wrapping_add(0x9e37_79b9_7f4a_7c15)));
        self
    }

    /// Whole retries that the budget has left.
    pub fn budget_left(&self) -> u32 {
        self.budget.left()
    }

    fn copy(&self, call: &OutgoingCall) -> Option<OutgoingCall> {
        if call.channels.is_some() || call.len() > self.max_copy {
            return None;
        }
        let frame = lock(&self.frames).pop().unwrap_or_default();
        call.duplicate_into(frame)
    }

    /// Keeps the memory of a copy that is not needed.
    fn keep(&self, copy: Option<OutgoingCall>) {
        let Some(mut copy) = copy else { return };
        copy.frame.clear();
        let mut frames = lock(&self.frames);
        if frames.len() < MAX_FRAMES {
            frames.push(copy.frame);
        }
    }

    /// How long to wait before the attempt that follows so many.
    fn pause(&self, attempts: u32) -> Duration {
        let doublings = attempts.saturating_sub(1).min(31);
        let most = self.first_pause.saturating_mul(1 << doublings);
        most.min(self.longest_pause)
            .mul_f64(lock(&self.random).fraction())
    }
}

impl ClientMiddleware for Retry {
    async fn call<C: Caller>(&self, mut call: OutgoingCall, next: &C) -> Result<Answer, CallFailure> {
        self.budget.pay_in();
        let method = call.method;
        // Attempts must not get the whole time each.
        let deadline = fix_deadline(&mut call, next);
        let mut attempts = 1;
        loop {
            let copy = if attempts < self.attempts {
                self.copy(&call)
            } else {
                None
            };
            let failure = match next.start(call).await {
                Err(failure) if is_harmless(&failure, method) => failure,
                outcome => {
                    self.keep(copy);
                    return outcome;
                }
            };
            let Some(again) = copy else { return Err(failure) };
            let pause = self.pause(attempts);
            if !has_time(deadline, pause) || !self.budget.take() {
                self.keep(Some(again));
                return Err(failure);
            }
            sleep(pause).await;
            // Timers ring late.
            if !has_time(deadline, Duration::ZERO) {
                return Err(failure);
            }
            call = again;
            attempts += 1;
        }
    }
}

/// Whether a call that failed so can be made again without harm, and has a chance to end differently.
fn is_harmless(failure: &CallFailure, method: &MethodDescriptor) -> bool {
    let may_help = matches!(
        failure.kind(),
        FailureKind::Refused | FailureKind::NotSent | FailureKind::ConnectionLost | FailureKind::ServerFailed
    );
    // Of the same kinds, but the same again next time.
    let is_certain = matches!(
        failure.code(),
        Some(Code::METADATA_TOO_LARGE | Code::REPLY_TOO_LARGE)
    );
    may_help && !is_certain && (method.idempotent || !failure.may_have_run())
}

fn has_time(deadline: Option<Instant>, pause: Duration) -> bool {
    deadline.is_none_or(|deadline| {
        clock::now()
            .checked_add(pause)
            .is_some_and(|then| then < deadline)
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What all calls of a layer may spend on retries, in thousandths of one.
#[derive(Debug)]
struct Budget {
    per_call: u32,
    most: u32,
    left: AtomicU32,
}

/// The price of a retry.
const RETRY: u32 = 1_000;

impl Budget {
    fn new(ratio: f64, retries: u32) -> Self {
        let most = retries.saturating_mul(RETRY);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "saturates"
        )]
        let per_call = (ratio * f64::from(RETRY)).round() as u32;
        Self {
            per_call,
            most,
            left: AtomicU32::new(most.min(FIRST_RETRIES * RETRY)),
        }
    }

    fn pay_in(&self) {
        self.change(|left| Some(left.saturating_add(self.per_call).min(self.most)));
    }

    /// Takes a retry out, if there is one.
    fn take(&self) -> bool {
        self.change(|left| left.checked_sub(RETRY))
    }

    fn left(&self) -> u32 {
        self.left.load(Ordering::Relaxed) / RETRY
    }

    fn change(&self, change: impl Fn(u32) -> Option<u32>) -> bool {
        let changed = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, change);
        changed.is_ok()
    }
}
