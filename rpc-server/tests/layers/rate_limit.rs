//! So many calls in a time.

use rpc_core::{Dispatch, FailureKind};
use rpc_server::layers::RateLimit;
use tokio::time::{Instant, advance};

use crate::{Gate, MS, WorkServer, begin, failed, here};

#[tokio::test(start_paused = true)]
async fn calls_wait_for_their_tokens() {
    let limit = RateLimit::new(10, MS(1_000)).burst(2);
    let client = here(WorkServer::new(Gate::open()).layer(limit));
    let start = Instant::now();
    for begun in 1..=5 {
        assert_eq!(*client.pass().await.unwrap(), begun);
    }
    let took = start.elapsed();
    assert!(took >= MS(300) && took < MS(310), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_would_get_its_token_too_late_does_not_wait() {
    let gate = Gate::open();
    let limit = RateLimit::new(1, MS(1_000));
    let client = here(WorkServer::new(gate.clone()).layer(limit));
    client.pass().await.unwrap();
    let start = Instant::now();
    let late = client.pass().timeout(MS(900)).await;
    assert_eq!(failed(late), (FailureKind::DeadlineExceeded, false));
    assert_eq!(start.elapsed(), MS(0));
    client.pass().timeout(MS(1_100)).await.unwrap();
    assert_eq!(gate.begun(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_call_behind_others_waits_as_long_as_it_has_time() {
    let gate = Gate::open();
    let client = here(WorkServer::new(gate.clone()).layer(RateLimit::new(1, MS(1_000))));
    client.pass().await.unwrap();
    let mut first = client.pass();
    begin(&mut first).await;
    let late = client.pass().timeout(MS(900)).await;
    assert_eq!(failed(late), (FailureKind::DeadlineExceeded, false));
    first.await.unwrap();
    assert_eq!(gate.begun(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_given_up_leaves_its_token_to_the_next() {
    let client = here(WorkServer::new(Gate::open()).layer(RateLimit::new(1, MS(1_000))));
    client.pass().await.unwrap();
    let start = Instant::now();
    let (mut first, mut second) = (client.pass(), client.pass());
    begin(&mut first).await;
    begin(&mut second).await;
    drop(first);
    second.await.unwrap();
    assert!(start.elapsed() < MS(1_010));
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_sheds_refuses() {
    let client = here(WorkServer::new(Gate::open()).layer(RateLimit::new(2, MS(1_000)).shed()));
    client.pass().await.unwrap();
    client.pass().await.unwrap();
    assert_eq!(failed(client.pass().await), (FailureKind::Refused, false));
    advance(MS(500)).await;
    client.pass().await.unwrap();
    assert_eq!(failed(client.pass().await), (FailureKind::Refused, false));
}
