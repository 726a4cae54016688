//! Many calls and streams, and what both processes hold before and after. A program of its own, because nothing else may run in the client's process.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests")]

#[path = "support/peer.rs"]
mod peer;

use std::time::Instant;

use interop::contract::{Ask, Holdings, InteropClient};
use interop::{pattern, process};
use rpc_client::Channel;

use crate::peer::{Peer, Transport};

/// How much there is to do.
struct Load {
    warm_up: u64,
    calls: u64,
    streams: u64,
}

/// Calls and streams in flight.
const AT_ONCE: u64 = 64;
/// Tasks of the client's process when nothing is in flight: that of the connection.
const TASKS: usize = 1;
/// What an allocator may keep more than before.
const SLACK: u64 = 4 << 20;

/// In every run of the tests.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_thousand_calls() {
    let load = Load {
        warm_up: 25_000,
        calls: 50_000,
        streams: 2_000,
    };
    soak(&load).await;
}

/// `cargo test --release -p interop --test soak -- --ignored`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a while: CI runs it in release"]
async fn a_million_calls() {
    let load = Load {
        warm_up: 100_000,
        calls: 1_000_000,
        streams: 20_000,
    };
    soak(&load).await;
}

async fn soak(load: &Load) {
    for transport in [Transport::Tcp, Transport::Unix] {
        println!("{transport:?}");
        let peer = Peer::start(transport).await;
        soak_of(&peer, load).await;
        peer.stop().await;
    }
}

async fn soak_of(peer: &Peer, load: &Load) {
    calls(&peer.client, load.warm_up).await;
    streams(&peer.client, load.warm_up / 20).await;
    let before = both(peer).await;
    let start = Instant::now();
    calls(&peer.client, load.calls).await;
    println!("{} calls took {:?}", load.calls, start.elapsed());
    let start = Instant::now();
    streams(&peer.client, load.streams).await;
    println!("{} streams took {:?}", load.streams, start.elapsed());
    let after = both(peer).await;
    for (name, before, after) in [("client", &before.0, &after.0), ("server", &before.1, &after.1)] {
        println!("{name}: {before:?}, then {after:?}");
        assert!(after.resident <= before.resident + SLACK, "{name} has grown");
        let counts = |holdings: &Holdings| (holdings.descriptors, holdings.threads, holdings.tasks);
        assert_eq!(counts(before), counts(after), "{name}");
    }
    assert_eq!(peer.client.running().await.unwrap().to_native(), 0);
}

/// A task counts until it is dropped, which is a little after who waits for it knows that it has ended.
async fn settled() {
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    while tasks() > TASKS {
        tokio::task::yield_now().await;
    }
}

async fn both(peer: &Peer) -> (Holdings, Holdings) {
    settled().await;
    let server = peer.client.holdings().owned().await.unwrap();
    (process::holdings().unwrap(), server)
}

async fn calls(client: &InteropClient<Channel>, count: u64) {
    let callers = (0..AT_ONCE).map(|_| {
        let client = client.clone();
        tokio::spawn(async move {
            for _ in 0..count / AT_ONCE {
                let text = client.text("as many bytes as a small call has").await.unwrap();
                assert_eq!(text.len(), 33);
            }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.unwrap();
    }
}

fn ask(answer_len: u32) -> Ask {
    let body = pattern::body(50);
    Ask { answer_len, body }
}

/// Every other one is given up in the middle.
async fn streams(client: &InteropClient<Channel>, count: u64) {
    let callers = (0..AT_ONCE).map(|_| {
        let client = client.clone();
        tokio::spawn(async move {
            for number in 0..count / AT_ONCE {
                let (mut asks, mut answers, call) = client.ping_pong().open().await.unwrap();
                for len in [100, 200, 300] {
                    asks.send(&ask(len)).await.unwrap();
                    assert_eq!(answers.recv().await.unwrap().unwrap().len(), len as usize);
                }
                if number % 2 == 0 {
                    asks.finish().unwrap();
                    assert_eq!(call.await.unwrap().to_native(), 3);
                }
            }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.unwrap();
    }
}
