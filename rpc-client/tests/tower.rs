//! Layers of `tower` in front of a caller, with a clock that stands still.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use rpc_client::layers::tower_layer;
use rpc_core::service::{MethodDef, RunsOn};
use rpc_core::wire::Wire;
use rpc_core::{
    Answer, CallFailure, CallOptions, Caller, FailureKind, FrameBuf, Metadata, OutgoingCall,
    ServiceDescriptor,
};
use tokio::time::Instant;
use tower::layer::util::Stack;
use tower::limit::{ConcurrencyLimitLayer, RateLimitLayer};
use tower::load_shed::LoadShedLayer;
use tower::timeout::TimeoutLayer;

const MS: fn(u64) -> Duration = Duration::from_millis;

static SERVICE: LazyLock<ServiceDescriptor> = LazyLock::new(|| {
    let method = MethodDef {
        name: "pass",
        arguments: &[],
        reply: <u64 as Wire>::describe,
        timeout: None,
        idempotent: false,
        runs_on: RunsOn::Connection,
        oneway: false,
        handler_sends: 0,
        handler_receives: 0,
    };
    ServiceDescriptor::new("Work", &[method])
});

fn call(timeout: Option<Duration>) -> OutgoingCall {
    let mut call = OutgoingCall::new(&SERVICE.methods[0], FrameBuf::new(), CallOptions::default());
    call.options.timeout = timeout;
    call
}

type Outcome = Result<Answer, CallFailure>;

/// Answers after a time; or fails.
#[derive(Clone)]
struct Slow {
    takes: Duration,
    fails: Option<CallFailure>,
    started: Arc<AtomicUsize>,
}

impl Slow {
    fn new(takes: Duration) -> Self {
        Self {
            takes,
            fails: None,
            started: Arc::default(),
        }
    }

    fn started(&self) -> usize {
        self.started.load(Ordering::SeqCst)
    }
}

impl Caller for Slow {
    type Pending = Pin<Box<dyn Future<Output = Outcome> + Send>>;

    fn max_body(&self) -> usize {
        1_000
    }

    fn start(&self, _: OutgoingCall) -> Self::Pending {
        let this = self.clone();
        Box::pin(async move {
            this.started.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(this.takes).await;
            match this.fails {
                Some(failure) => Err(failure),
                None => Ok(Answer {
                    error: false,
                    body: Bytes::from_static(b"value"),
                    metadata: Metadata::new(),
                }),
            }
        })
    }
}

fn failed(outcome: Outcome) -> (FailureKind, bool) {
    let failure = outcome.unwrap_err();
    (failure.kind(), failure.may_have_run())
}

#[tokio::test(start_paused = true)]
async fn a_concurrency_limit_makes_calls_wait_and_sheds_behind_load_shed() {
    let slow = Slow::new(MS(100));
    let caller = slow.clone().layer(tower_layer(ConcurrencyLimitLayer::new(1)));
    let start = Instant::now();
    let (first, second, late) = tokio::join!(
        caller.start(call(None)),
        caller.start(call(None)),
        caller.start(call(Some(MS(150))))
    );
    assert!(first.is_ok() && second.is_ok());
    assert_eq!(failed(late), (FailureKind::DeadlineExceeded, false));
    assert_eq!(slow.started(), 2);
    assert!(start.elapsed() >= MS(200));

    let shed = Stack::new(ConcurrencyLimitLayer::new(1), LoadShedLayer::new());
    let caller = slow.layer(tower_layer(shed));
    let (first, second) = tokio::join!(caller.start(call(None)), caller.start(call(None)));
    assert!(first.is_ok());
    assert_eq!(failed(second), (FailureKind::LocalLimit, false));
}

#[tokio::test(start_paused = true)]
async fn a_rate_limit_makes_calls_wait() {
    let caller = Slow::new(Duration::ZERO).layer(tower_layer(RateLimitLayer::new(2, MS(1_000))));
    let start = Instant::now();
    for _ in 0..5 {
        assert_eq!(caller.start(call(None)).await.unwrap().body, "value");
    }
    let took = start.elapsed();
    assert!(took >= MS(2_000) && took < MS(2_020), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_timeout_drops_the_call() {
    let slow = Slow::new(MS(500));
    let caller = slow.clone().layer(tower_layer(TimeoutLayer::new(MS(100))));
    let start = Instant::now();
    let late = caller.start(call(None)).await;
    assert_eq!(failed(late), (FailureKind::DeadlineExceeded, true));
    assert!(start.elapsed() < MS(110));
    assert_eq!(slow.started(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_failure_of_a_call_passes_as_it_is() {
    let failure = CallFailure::local(FailureKind::ConnectionLost, true, "gone");
    let slow = Slow {
        fails: Some(failure.clone()),
        ..Slow::new(Duration::ZERO)
    };
    // Two layers, of which one boxes errors.
    let caller = slow
        .layer(tower_layer(TimeoutLayer::new(MS(100))))
        .layer(tower_layer(ConcurrencyLimitLayer::new(1)));
    assert_eq!(caller.start(call(None)).await.unwrap_err(), failure);
}
