//! Layers of `tower` in front of a service in this process, with a clock that stands still.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use rpc_client::{InProcess, in_process};
use rpc_core::incoming::IncomingCall;
use rpc_core::{CallError, Code, Context, Dispatch, FailureKind, service};
use rpc_server::layers::tower_layer;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tower::layer::util::Stack;
use tower::limit::{ConcurrencyLimitLayer, RateLimitLayer};
use tower::load_shed::LoadShedLayer;
use tower::timeout::TimeoutLayer;
use tower::{Layer, Service};

const MS: fn(u64) -> Duration = Duration::from_millis;

#[service]
trait Work {
    /// Waits for its gate, and returns how many calls have begun.
    async fn pass(&self) -> u64;
    /// Whether a layer has left something.
    fn is_marked(&self, cx: &Context) -> bool;
}

#[derive(Clone)]
struct Gate {
    begun: Arc<AtomicUsize>,
    ended: Arc<AtomicUsize>,
    gate: Arc<Semaphore>,
}

impl Gate {
    fn with(permits: usize) -> Self {
        Self {
            begun: Arc::default(),
            ended: Arc::default(),
            gate: Arc::new(Semaphore::new(permits)),
        }
    }

    fn counts(&self) -> (usize, usize) {
        (
            self.begun.load(Ordering::SeqCst),
            self.ended.load(Ordering::SeqCst),
        )
    }
}

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

    fn is_marked(&self, cx: &Context) -> bool {
        cx.extensions().get::<Mark>().is_some()
    }
}

fn here<D: Dispatch>(service: D) -> WorkClient<InProcess<D>> {
    WorkClient::new(in_process(service))
}

async fn begin<F: Future + Unpin>(call: &mut F) {
    let polled = poll_fn(|cx| Poll::Ready(Pin::new(&mut *call).poll(cx).is_pending()));
    assert!(polled.await, "the call has ended at once");
}

fn failed<T: std::fmt::Debug>(result: Result<T, CallError>) -> (FailureKind, Option<Code>, bool) {
    let error = result.unwrap_err();
    let failure = error.failure().unwrap();
    (failure.kind(), failure.code(), failure.may_have_run())
}

#[tokio::test(start_paused = true)]
async fn a_concurrency_limit_makes_calls_wait_and_sheds_behind_load_shed() {
    let gate = Gate::with(0);
    let client = here(WorkServer::new(gate.clone()).layer(tower_layer(ConcurrencyLimitLayer::new(1))));
    let (mut first, mut second) = (client.pass(), client.pass());
    begin(&mut first).await;
    begin(&mut second).await;
    assert_eq!(gate.counts(), (1, 0));
    let late = client.pass().timeout(MS(50)).await;
    assert_eq!(failed(late), (FailureKind::DeadlineExceeded, None, false));
    gate.gate.add_permits(2);
    assert_eq!(*first.await.unwrap(), 1);
    assert_eq!(*second.await.unwrap(), 2);

    let gate = Gate::with(0);
    let shed = Stack::new(ConcurrencyLimitLayer::new(1), LoadShedLayer::new());
    let client = here(WorkServer::new(gate.clone()).layer(tower_layer(shed)));
    let mut first = client.pass();
    begin(&mut first).await;
    let refused = failed(client.pass().await);
    assert_eq!(refused, (FailureKind::Refused, Some(Code::REFUSED), false));
    // One that is given up makes room.
    drop(first);
    gate.gate.add_permits(1);
    assert_eq!(*client.pass().await.unwrap(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_rate_limit_makes_calls_wait() {
    let layer = tower_layer(RateLimitLayer::new(2, MS(1_000)));
    let client = here(WorkServer::new(Gate::with(10)).layer(layer));
    let start = Instant::now();
    for _ in 0..5 {
        client.pass().await.unwrap();
    }
    let took = start.elapsed();
    assert!(took >= MS(2_000) && took < MS(2_010), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_timeout_drops_the_handler() {
    let gate = Gate::with(0);
    let client = here(WorkServer::new(gate.clone()).layer(tower_layer(TimeoutLayer::new(MS(100)))));
    let expected = (FailureKind::DeadlineExceeded, Some(Code::DEADLINE), true);
    assert_eq!(failed(client.pass().await), expected);
    assert_eq!(gate.counts(), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn layers_stand_before_each_other_and_before_our_own() {
    let gate = Gate::with(1);
    let inner = Arc::new(WorkServer::new(gate.clone()).layer(tower_layer(ConcurrencyLimitLayer::new(1))));
    let patient = here(Arc::clone(&inner));
    let outer = inner
        .layer(rpc_server::layers::ConcurrencyLimit::new(2))
        .layer(tower_layer(TimeoutLayer::new(MS(100))));
    let hasty = here(outer);
    assert_eq!(*hasty.pass().await.unwrap(), 1);
    let expected = (FailureKind::DeadlineExceeded, Some(Code::DEADLINE), true);
    assert_eq!(failed(hasty.pass().await), expected);
    let mut first = patient.pass();
    begin(&mut first).await;
    // The outer layer has passed it on, the inner one has not.
    let expected = (FailureKind::DeadlineExceeded, Some(Code::EXPIRED), false);
    assert_eq!(failed(hasty.pass().await), expected);
    gate.gate.add_permits(1);
    assert_eq!(*first.await.unwrap(), 3);
    assert_eq!(gate.counts(), (3, 3));
}

struct Mark;

/// A layer that looks at calls, and has them made in a task of its own.
#[derive(Clone)]
struct Marking<S>(S);

struct MarkLayer;

impl<S> Layer<S> for MarkLayer {
    type Service = Marking<S>;

    fn layer(&self, next: S) -> Marking<S> {
        Marking(next)
    }
}

impl<S> Service<IncomingCall> for Marking<S>
where
    S: Service<IncomingCall, Future: Send + 'static, Response: Send, Error: Send>,
    S::Response: 'static,
    S::Error: 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, mut call: IncomingCall) -> Self::Future {
        call.context.extensions_mut().insert(Mark);
        let task = tokio::spawn(self.0.call(call));
        Box::pin(async move { task.await.unwrap() })
    }
}

#[tokio::test]
async fn a_layer_may_change_calls_and_make_them_elsewhere() {
    let client = here(WorkServer::new(Gate::with(1)).layer(tower_layer(MarkLayer)));
    assert!(client.is_marked().owned().await.unwrap());
    assert_eq!(*client.pass().await.unwrap(), 1);
}
