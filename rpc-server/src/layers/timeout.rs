//! Timeout: how long a handler may run, whatever its caller says.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use rpc_core::incoming::{Completed, IncomingCall};
use rpc_core::{Code, Dispatch, ServerMiddleware};
use tokio::time::{Instant, sleep_until};

use super::stop::stop;

/// Stops handlers that run too long, with [`Code::DEADLINE`].
///
/// The handler sees the earlier of this and its caller's deadline as its own, and so do the calls that it makes. An `async` handler is dropped; a job on the worker pool is
/// told ([`Context::is_cancelled`](rpc_core::Context::is_cancelled)), and its call is answered when it ends. The time counts from this layer: what the layers behind it wait
/// is a part of it.
#[derive(Clone, Copy, Debug)]
pub struct Timeout {
    time: Duration,
}

impl Timeout {
    /// A limit of so much time.
    pub fn new(time: Duration) -> Self {
        Self { time }
    }
}

impl ServerMiddleware for Timeout {
    async fn call<D: Dispatch>(&self, mut call: IncomingCall, next: &D) -> Completed {
        // A time beyond what the clock can count is none; and the caller's own is kept by its connection.
        let end = Instant::now().checked_add(self.time);
        let theirs = call.context.deadline();
        let Some(end) = end.filter(|end| theirs.is_none_or(|theirs| end.into_std() < theirs)) else {
            return next.dispatch(call).await;
        };
        call.context.shorten(end.into_std());
        let (control, scope) = (Arc::clone(call.context.control()), call.context.scope());
        let method = next.method_of(&call);
        let mut handler = pin!(next.dispatch(call));
        let mut timer = pin!(sleep_until(end));
        let completed = poll_fn(|cx| match scope.run(|| handler.as_mut().poll(cx)) {
            Poll::Ready(completed) => Poll::Ready(Some(completed)),
            Poll::Pending => timer.as_mut().poll(cx).map(|()| None),
        });
        match completed.await {
            Some(completed) => completed,
            None => {
                let text = format!("method ran longer than {:?} (Timeout)", self.time);
                let stopped = Completed::failure(Code::DEADLINE, text);
                stop(handler, &control, method, stopped).await
            }
        }
    }
}
