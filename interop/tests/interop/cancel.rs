//! Calls that are given up, by their callers or by the clock. The handler has to stop each time.

use std::time::{Duration, Instant};

use interop::pattern::body;
use rpc_core::{CallError, FailureKind, StreamError};

use crate::peer::Peer;
use crate::streams::ask;

/// The time of a call that runs out of it: enough for its first steps, however busy the machine is.
const TIMEOUT: Duration = Duration::from_secs(2);

async fn stopped(peer: &Peer, count: u64) {
    peer.client.until_stopped(count).await.unwrap();
    assert_eq!(peer.client.running().await.unwrap().to_native(), 0);
}

pub(crate) async fn timeout_on_sleeping_server(peer: &Peer) {
    let start = Instant::now();
    let error = peer.client.sleep().timeout(TIMEOUT).await.unwrap_err();
    assert!(start.elapsed() >= TIMEOUT);
    let failure = error.failure().unwrap();
    assert_eq!(failure.kind(), FailureKind::DeadlineExceeded);
    assert!(failure.may_have_run());
    stopped(peer, 1).await;
}

pub(crate) async fn timeout_of_stream(peer: &Peer) {
    let start = Instant::now();
    let open = peer.client.ping_pong().timeout(TIMEOUT).open();
    let (mut asks, mut answers, call) = open.await.unwrap();
    asks.send(&ask((9, 8))).await.unwrap();
    assert_eq!(answers.recv().await.unwrap().unwrap().len(), 9);
    let Err(StreamError::Call(failure)) = answers.recv().await else {
        panic!("the stream has to end with its call");
    };
    assert!(start.elapsed() >= TIMEOUT);
    assert_eq!(failure.kind(), FailureKind::DeadlineExceeded);
    let failure = call.await.unwrap_err().failure().cloned().unwrap();
    assert_eq!(failure.kind(), FailureKind::DeadlineExceeded);
    assert!(asks.send(&ask((9, 8))).await.is_err());
    stopped(peer, 1).await;
}

/// A call that was sent, and then dropped.
pub(crate) async fn cancel_call(peer: &Peer) {
    let call = tokio::spawn(peer.client.sleep());
    while peer.client.running().await.unwrap().to_native() == 0 {}
    call.abort();
    stopped(peer, 1).await;
}

pub(crate) async fn cancel_after_begin(peer: &Peer) {
    let (asks, mut answers, call) = peer.client.ping_pong().open().await.unwrap();
    while peer.client.running().await.unwrap().to_native() == 0 {}
    drop(call);
    assert!(matches!(answers.recv().await, Err(StreamError::Call(_))));
    stopped(peer, 1).await;
    drop(asks);
}

pub(crate) async fn cancel_after_first_reply(peer: &Peer) {
    let (mut asks, mut answers, call) = peer.client.ping_pong().open().await.unwrap();
    asks.send(&ask((31_415, 27_182))).await.unwrap();
    assert_eq!(answers.recv().await.unwrap().unwrap().len(), 31_415);
    drop(call);
    let Err(StreamError::Call(failure)) = answers.recv().await else {
        panic!("the stream has to end with its call");
    };
    assert_eq!(failure.kind(), FailureKind::Cancelled);
    assert!(asks.send(&ask((1, 1))).await.is_err());
    stopped(peer, 1).await;
}

/// An upload that breaks off is never a clean end for the handler.
pub(crate) async fn sender_gives_up(peer: &Peer) {
    let (mut items, call) = peer.client.total().open().await.unwrap();
    items.send(&body(5)).await.unwrap();
    drop(items);
    let error = call.await.unwrap_err();
    assert!(
        matches!(&error, CallError::Method(complaint) if complaint.text.contains("before its time")),
        "{error:?}"
    );
}
