//! ConcurrencyLimit: how many calls of a service run at a time.

use rpc_core::incoming::{Completed, IncomingCall};
use rpc_core::{Code, Dispatch, ServerMiddleware};
use tokio::sync::Semaphore;

use super::wait::wait_for;

/// Lets so many calls run at a time. Further ones wait for their turn, in order, within their deadlines; or are refused at once, with [`shed`](Self::shed).
///
/// A call counts until it is answered; one on the worker pool until its job has ended, also after it was given up.
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

    /// Refuses what is too much, so that callers turn to another server, or come back later, while their time lasts.
    #[must_use]
    pub fn shed(mut self) -> Self {
        self.shed = true;
        self
    }

    /// Calls that run at this moment.
    pub fn running(&self) -> usize {
        self.limit.saturating_sub(self.permits.available_permits())
    }

    fn refuse(&self, mut call: IncomingCall) -> Completed {
        let text = format!("no more than {} calls at a time (ConcurrencyLimit)", self.limit);
        call.take_reply().fail(Code::REFUSED, text)
    }
}

impl ServerMiddleware for ConcurrencyLimit {
    async fn call<D: Dispatch>(&self, mut call: IncomingCall, next: &D) -> Completed {
        // Not ahead of those that wait: what is given back goes to them.
        let permit = match self.permits.try_acquire() {
            Ok(permit) => permit,
            Err(_) if self.shed => return self.refuse(call),
            Err(_) => match wait_for(&mut call, self.permits.acquire()).await {
                Ok(Ok(permit)) => permit,
                // Nobody closes it.
                Ok(Err(_)) => return self.refuse(call),
                Err(expired) => return expired,
            },
        };
        let completed = next.dispatch(call).await;
        drop(permit);
        completed
    }
}
