//! Signals: the server's process is told to end while many connect and call, and a second time while it waits for a call.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use interop::contract::InteropClient;
use rpc_client::Channel;
use rpc_core::{CallFailure, FailureKind};
use tokio::task::JoinSet;

use crate::PATIENCE;
use crate::peer::{Peer, Transport};

/// Callers at a time, connections of each, one after the other, and calls of each of these, all at once.
const CALLERS: u64 = 40;
const CONNECTIONS: u64 = 5;
const CALLS: u64 = 4;

/// L7: every call is answered, or its caller knows that it did not run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_that_meets_sigterm_leaves_nobody_in_doubt() {
    for transport in [Transport::Tcp, Transport::Unix] {
        for answers in [1, 20, 100, 300] {
            tokio::time::timeout(PATIENCE, terminate_during_burst(transport, answers))
                .await
                .expect("the burst takes too long");
        }
    }
}

/// Signals when so many calls are answered.
async fn terminate_during_burst(transport: Transport, answers: u64) {
    let peer = Peer::start(transport).await;
    let answered = Arc::new(AtomicU64::new(0));
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        callers.spawn(call_until_gone(
            peer.address.clone(),
            caller,
            Arc::clone(&answered),
        ));
    }
    while answered.load(Ordering::Relaxed) < answers {
        tokio::task::yield_now().await;
    }
    peer.terminate();
    let outcomes: BTreeMap<_, _> = callers.join_all().await.into_iter().flatten().collect();
    let (status, counted) = peer.ended();
    assert!(status.success(), "{status}");
    let ran: BTreeSet<_> = counted.iter().copied().collect();
    assert_eq!(ran.len(), counted.len(), "a call ran twice");
    for (key, outcome) in &outcomes {
        match outcome {
            Ok(()) => assert!(ran.contains(key), "{key} is answered and did not run"),
            Err(failure) => {
                assert!(!failure.may_have_run(), "{failure}");
                assert!(!ran.contains(key), "{key} ran: {failure}");
            }
        }
    }
    assert!(ran.iter().all(|key| outcomes.contains_key(key)));
}

/// Calls on one connection after the other until there is no server any more. What became of each call, by its key.
async fn call_until_gone(
    address: String,
    caller: u64,
    answered: Arc<AtomicU64>,
) -> BTreeMap<u64, Result<(), CallFailure>> {
    let mut outcomes = BTreeMap::new();
    let keys = |connection: u64| {
        let first = (caller * CONNECTIONS + connection) * CALLS;
        first..first + CALLS
    };
    for connection in 0..CONNECTIONS {
        let Ok(channel) = Channel::connect(address.as_str()).await else {
            break;
        };
        let client = InteropClient::new(channel);
        let calls: Vec<_> = keys(connection)
            .map(|key| (key, tokio::spawn(client.count(key).owned())))
            .collect();
        for (key, call) in calls {
            let result = call.await.unwrap().map(|echo| assert_eq!(echo, key));
            answered.fetch_add(u64::from(result.is_ok()), Ordering::Relaxed);
            outcomes.insert(key, result.map_err(|error| error.failure().cloned().unwrap()));
        }
    }
    outcomes
}

/// L7: the second one is not waited with.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_sigterm_ends_the_server_at_once() {
    for transport in [Transport::Tcp, Transport::Unix] {
        tokio::time::timeout(PATIENCE, terminate_twice(transport))
            .await
            .expect("the end takes too long");
    }
}

async fn terminate_twice(transport: Transport) {
    let peer = Peer::start(transport).await;
    let call = tokio::spawn(peer.client.sleep());
    while peer.client.running().await.unwrap().to_native() == 0 {}
    peer.terminate();
    // Nobody listens any more: the first one has arrived.
    let refused = loop {
        if let Err(refused) = peer.client.empty().await {
            break refused;
        }
    };
    assert!(!refused.may_have_run(), "{refused}");
    assert!(!call.is_finished(), "it is waited for");
    let start = Instant::now();
    peer.terminate();
    let lost = call.await.unwrap().unwrap_err().failure().cloned().unwrap();
    assert_eq!(lost.kind(), FailureKind::ConnectionLost, "{lost}");
    assert!(lost.may_have_run());
    let (status, _) = peer.ended();
    assert_eq!(status.code(), Some(1), "a call was cut off");
    assert!(start.elapsed() < GRACE / 2, "{:?}", start.elapsed());
}

/// How long the server would wait for a call.
const GRACE: Duration = Duration::from_secs(10);
