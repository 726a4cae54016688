//! So many calls at a time.

use std::sync::Arc;

use rpc_core::{Dispatch, FailureKind};
use rpc_server::layers::ConcurrencyLimit;

use crate::{Gate, MS, WorkServer, begin, failed, here};

#[tokio::test]
async fn calls_beyond_the_limit_wait_in_order() {
    let gate = Gate::closed();
    let limit = Arc::new(ConcurrencyLimit::new(2));
    let client = here(WorkServer::new(gate.clone()).layer(Arc::clone(&limit)));
    let mut calls = [(); 4].map(|()| client.pass().owned());
    for call in &mut calls {
        begin(call).await;
    }
    assert_eq!((gate.begun(), limit.running()), (2, 2));
    gate.let_pass(4);
    let [a, b, c, d] = calls;
    // The last cannot begin before the others have made room.
    let (a, b, c, d) = tokio::join!(a, b, c, d);
    assert_eq!([a, b, c, d].map(Result::unwrap), [1, 2, 3, 4]);
    assert_eq!(limit.running(), 0);
}

#[tokio::test]
async fn calls_beyond_the_limit_are_refused_if_it_sheds() {
    let gate = Gate::closed();
    let client = here(WorkServer::new(gate.clone()).layer(ConcurrencyLimit::new(0).shed()));
    let mut first = client.pass();
    begin(&mut first).await;
    let refused = client.pass().await;
    assert_eq!(failed(refused), (FailureKind::Refused, false));
    // One that is given up makes room.
    drop(first);
    gate.let_pass(1);
    assert_eq!(*client.pass().await.unwrap(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_time_runs_out_while_it_waits_did_not_run() {
    let gate = Gate::closed();
    let client = here(WorkServer::new(gate.clone()).layer(ConcurrencyLimit::new(1)));
    let mut first = client.pass();
    begin(&mut first).await;
    let late = client.pass().timeout(MS(50)).await;
    assert_eq!(failed(late), (FailureKind::DeadlineExceeded, false));
    assert_eq!(gate.begun(), 1);
}
