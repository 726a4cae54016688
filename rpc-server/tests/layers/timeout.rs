//! So much time for a handler.

use std::sync::{Arc, Mutex};

use rpc_core::incoming::{Completed, IncomingCall};
use rpc_core::{Code, Context, Dispatch, FailureKind, ServerMiddleware};
use rpc_server::layers::{ConcurrencyLimit, Timeout};
use tokio::time::Instant;

use crate::{Gate, MS, WorkServer, begin, failed, here, over_tcp};

#[tokio::test(start_paused = true)]
async fn a_handler_is_dropped_when_its_time_is_up() {
    let gate = Gate::closed();
    let client = here(WorkServer::new(gate.clone()).layer(Timeout::new(MS(100))));
    let start = Instant::now();
    let error = client.pass().await.unwrap_err();
    assert_eq!(error.failure().unwrap().code(), Some(Code::DEADLINE));
    assert!(error.may_have_run());
    assert!(start.elapsed() < MS(110));
    assert_eq!((gate.begun(), gate.ended()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_handler_sees_the_earlier_deadline_as_its_own() {
    let client = here(WorkServer::new(Gate::open()).layer(Timeout::new(MS(100))));
    let left = async |timeout| client.time_left().timeout(timeout).owned().await.unwrap();
    assert_eq!(left(MS(500)).await, Some((100, 100)));
    assert_eq!(left(MS(50)).await, Some((50, 50)));
    let endless = here(WorkServer::new(Gate::open()).layer(Timeout::new(std::time::Duration::MAX)));
    assert_eq!(endless.time_left().owned().await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn what_has_waited_behind_it_all_the_time_did_not_run() {
    let gate = Gate::closed();
    let service = WorkServer::new(gate.clone())
        .layer(ConcurrencyLimit::new(1))
        .layer(Timeout::new(MS(100)));
    let client = here(service);
    let mut first = client.pass();
    begin(&mut first).await;
    let waited = client.pass().await;
    assert_eq!(failed(waited), (FailureKind::DeadlineExceeded, false));
    assert_eq!(failed(first.await), (FailureKind::DeadlineExceeded, true));
    assert_eq!(gate.begun(), 1);
}

/// P-32
#[tokio::test]
async fn a_job_is_told_and_its_call_ends_with_it() {
    let gate = Gate::open();
    let (server, client) = over_tcp(WorkServer::new(gate.clone()).layer(Timeout::new(MS(50)))).await;
    let error = client.job().await.unwrap_err();
    assert_eq!(error.failure().unwrap().code(), Some(Code::DEADLINE));
    assert_eq!((gate.begun(), gate.ended()), (1, 1));
    // The worker is free again.
    assert!(client.job().await.is_err());
    server.shutdown().await;
}

/// Gives every call but the first a time, and leaves that one's context for the test.
struct ButTheFirst(Timeout, Arc<Mutex<Vec<Context>>>);

impl ServerMiddleware for ButTheFirst {
    async fn call<D: Dispatch>(&self, call: IncomingCall, next: &D) -> Completed {
        let is_first = {
            let mut contexts = self.1.lock().unwrap();
            contexts.push(call.context.clone());
            contexts.len() == 1
        };
        match is_first {
            true => next.dispatch(call).await,
            false => self.0.call(call, next).await,
        }
    }
}

#[tokio::test]
async fn a_job_that_did_not_get_its_turn_did_not_run() {
    let gate = Gate::open();
    let contexts = Arc::new(Mutex::new(Vec::new()));
    let times = ButTheFirst(Timeout::new(MS(50)), Arc::clone(&contexts));
    let (server, client) = over_tcp(WorkServer::new(gate.clone()).layer(times)).await;
    let mut first = client.job();
    begin(&mut first).await;
    while gate.begun() == 0 {
        tokio::task::yield_now().await;
    }
    let mut second = client.job();
    begin(&mut second).await;
    let is_told = || contexts.lock().unwrap().get(1).is_some_and(Context::is_cancelled);
    while !is_told() {
        tokio::task::yield_now().await;
    }
    // Only a worker can tell that a job has ended: it gets to the second when the first was given up.
    begin(&mut second).await;
    drop(first);
    assert_eq!(failed(second.await), (FailureKind::DeadlineExceeded, false));
    assert_eq!(gate.begun(), 1);
    server.shutdown().await;
}
