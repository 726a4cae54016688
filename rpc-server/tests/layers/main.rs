//! Layers of a server, in front of a service that does as it is told: in this process with a clock that stands still, and over sockets.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod concurrency_limit;
mod rate_limit;
mod streams;
mod timeout;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use rpc_client::{Channel, InProcess, in_process};
use rpc_core::{CallError, Context, Dispatch, FailureKind, service};
use rpc_server::Server;
use tokio::sync::Semaphore;

/// What the tests call.
#[service]
pub(crate) trait Work {
    /// Waits for its gate, and returns how many calls have begun.
    async fn pass(&self) -> u64;
    /// The milliseconds that it and the calls that it makes have left.
    async fn time_left(&self, cx: &Context) -> Option<(u64, u64)>;
    /// Works until it is told to stop.
    fn job(&self, cx: &Context) -> u64;
}

/// What [`Work`] calls.
#[service]
trait Inner {
    /// The milliseconds that are left.
    async fn time_left(&self, cx: &Context) -> Option<u64>;
}

struct Clock;

impl Inner for Clock {
    async fn time_left(&self, cx: &Context) -> Option<u64> {
        Some(millis_to(cx.deadline()?))
    }
}

fn millis_to(deadline: Instant) -> u64 {
    let now = tokio::time::Instant::now().into_std();
    u64::try_from((deadline - now).as_millis()).unwrap()
}

/// The service, and the test's hand on it.
#[derive(Clone)]
pub(crate) struct Gate {
    pub(crate) begun: Arc<AtomicUsize>,
    /// Calls that have ended, or were dropped.
    pub(crate) ended: Arc<AtomicUsize>,
    pub(crate) gate: Arc<Semaphore>,
}

impl Gate {
    pub(crate) fn closed() -> Self {
        Self {
            begun: Arc::default(),
            ended: Arc::default(),
            gate: Arc::new(Semaphore::new(0)),
        }
    }

    pub(crate) fn open() -> Self {
        let gate = Self::closed();
        gate.gate.add_permits(1_000);
        gate
    }

    pub(crate) fn let_pass(&self, calls: usize) {
        self.gate.add_permits(calls);
    }

    pub(crate) fn begun(&self) -> usize {
        self.begun.load(Ordering::SeqCst)
    }

    pub(crate) fn ended(&self) -> usize {
        self.ended.load(Ordering::SeqCst)
    }
}

/// Counts the end of a call.
struct Ends<'a>(&'a AtomicUsize);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Work for Gate {
    async fn pass(&self) -> u64 {
        let begun = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        let _ends = Ends(&self.ended);
        self.gate.acquire().await.unwrap().forget();
        begun as u64
    }

    async fn time_left(&self, cx: &Context) -> Option<(u64, u64)> {
        let inner = InnerClient::new(in_process(InnerServer::new(Clock)));
        let inherited = inner.time_left().owned().await.unwrap();
        Some((millis_to(cx.deadline()?), inherited?))
    }

    fn job(&self, cx: &Context) -> u64 {
        self.begun.fetch_add(1, Ordering::SeqCst);
        let _ends = Ends(&self.ended);
        while !cx.is_cancelled() {
            std::thread::yield_now();
        }
        7
    }
}

/// A client of a service in this process.
pub(crate) fn here<D: Dispatch>(service: D) -> WorkClient<InProcess<D>> {
    WorkClient::new(in_process(service))
}

/// A server, and a client of it.
pub(crate) async fn over_tcp(service: impl Dispatch) -> (Server, WorkClient<Channel>) {
    let builder = Server::builder()
        .service(service)
        .listen("tcp://127.0.0.1:0")
        .reactors(1)
        .workers(1);
    let server = builder.start().unwrap();
    let channel = Channel::connect(server.addresses()[0].clone()).await.unwrap();
    (server, WorkClient::new(channel))
}

/// Polls a call once: it has to wait.
pub(crate) async fn begin<F: Future + Unpin>(call: &mut F) {
    let polled = std::future::poll_fn(|cx| Poll::Ready(Pin::new(&mut *call).poll(cx).is_pending()));
    assert!(polled.await, "the call has ended at once");
}

/// How a call has failed, and whether the method may have run.
pub(crate) fn failed<T: std::fmt::Debug>(result: Result<T, CallError>) -> (FailureKind, bool) {
    let error = result.unwrap_err();
    (error.failure().unwrap().kind(), error.may_have_run())
}

pub(crate) const MS: fn(u64) -> Duration = Duration::from_millis;
