//! ConcurrencyLimit: how many calls are under way at a time.

use rpc_core::{Answer, CallFailure, Caller, ClientMiddleware, FailureKind, OutgoingCall};
use tokio::sync::Semaphore;
use tokio::time::timeout_at;

use super::fix_deadline;

/// Lets so many calls be under way at a time. Further ones wait for their turn, in order, within their deadlines; or fail at once, with [`shed`](Self::shed).
///
/// Both kinds of failure say that the method did not run.
#[derive(Debug)]
pub struct ConcurrencyLimit {
    permits: Semaphore,
    limit: usize,
    shed: bool,
}

impl ConcurrencyLimit {
    /// A limit of `calls` at a time. Zero counts as one.
    pub fn new(calls: usize) -> Self {
        let limit = calls.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            permits: Semaphore::new(limit),
            limit,
            shed: false,
        }
    }

    /// Makes calls fail that are too many, as [`FailureKind::LocalLimit`].
    #[must_use]
    pub fn shed(mut self) -> Self {
        self.shed = true;
        self
    }

    /// Calls that are under way at this moment.
    pub fn running(&self) -> usize {
        self.limit.saturating_sub(self.permits.available_permits())
    }

    fn refuse(&self) -> CallFailure {
        let text = format!("no more than {} calls at a time (ConcurrencyLimit)", self.limit);
        CallFailure::local(FailureKind::LocalLimit, false, text)
    }
}

impl ClientMiddleware for ConcurrencyLimit {
    async fn call<C: Caller>(&self, mut call: OutgoingCall, next: &C) -> Result<Answer, CallFailure> {
        // Not ahead of those that wait: what is given back goes to them.
        let permit = match self.permits.try_acquire() {
            Ok(permit) => permit,
            Err(_) if self.shed => return Err(self.refuse()),
            Err(_) => {
                let acquire = self.permits.acquire();
                let acquired = match fix_deadline(&mut call, next) {
                    Some(deadline) => timeout_at(deadline.into(), acquire).await.map_err(|_| {
                        let text = "time ran out before the call was started (ConcurrencyLimit)";
                        CallFailure::local(FailureKind::DeadlineExceeded, false, text)
                    })?,
                    None => acquire.await,
                };
                // Nobody closes it.
                acquired.map_err(|_| self.refuse())?
            }
        };
        let outcome = next.start(call).await;
        drop(permit);
        outcome
    }
}
