//! The client of threads without a runtime.

use std::thread;
use std::time::{Duration, Instant};

use interop::contract::later::LaterClient;
use interop::contract::{Complaint, Ending, InteropClient};
use interop::pattern::{body, is_body};
use rpc_client::blocking::BlockingChannel;
use rpc_core::{CallError, FailureKind, Metadata};
use tokio::task::spawn_blocking;

use crate::peer::Peer;

type Client = InteropClient<BlockingChannel>;

/// Runs on a thread of its own, with a connection of its own.
async fn with_client<R: Send + 'static>(peer: &Peer, run: impl FnOnce(Client) -> R + Send + 'static) -> R {
    let address = peer.channel.address().clone();
    let run = move || run(Client::new(BlockingChannel::connect(address).unwrap()));
    spawn_blocking(run).await.unwrap()
}

pub(crate) async fn calls_and_errors(peer: &Peer) {
    with_client(peer, |client| {
        client.empty().wait().unwrap();
        assert_eq!(client.text("grüß dich").wait().unwrap().as_str(), "grüß dich");
        for note in ["a", "b", "c"] {
            client.note(note).wait().unwrap();
        }
        assert_eq!(client.notes().owned().wait().unwrap(), ["a", "b", "c"]);
        let complaint = Complaint {
            code: 7,
            text: "no".into(),
        };
        let error = client.complain(&complaint).wait().unwrap_err();
        assert_eq!(error, CallError::Method(complaint));
        let mut metadata = Metadata::new();
        metadata.insert(interop::service::ECHO, "there and back").unwrap();
        let (answer, metadata) = client
            .metadata(&Ending::Value)
            .metadata(metadata)
            .detailed()
            .wait();
        assert_eq!(answer.unwrap().to_native(), 1);
        assert_eq!(
            metadata.get(interop::service::ECHO),
            Some(b"there and back".as_slice())
        );
    })
    .await;
}

pub(crate) async fn failures(peer: &Peer) {
    with_client(peer, |client| {
        let error = client.metadata(&Ending::Panic).wait().unwrap_err();
        assert_eq!(error.failure().unwrap().kind(), FailureKind::ServerFailed);
        client.empty().wait().unwrap();
    })
    .await;
    let address = peer.channel.address().clone();
    let later = move || {
        let later = LaterClient::new(BlockingChannel::connect(address).unwrap());
        let error = later.text("twice", 2).wait().unwrap_err();
        assert_eq!(error.failure().unwrap().kind(), FailureKind::SchemaMismatch);
        assert!(!error.may_have_run());
    };
    spawn_blocking(later).await.unwrap();
}

/// In one frame and in many, in both directions, and beside each other.
pub(crate) async fn large_bodies(peer: &Peer) {
    with_client(peer, |client| {
        for len in [0, 1, 4_096, 100_000, 300_000, 3 << 20] {
            let answer = client
                .large(&body(len), u32::try_from(len).unwrap())
                .wait()
                .unwrap();
            assert!(answer.len() == len && is_body(&answer));
        }
        let threads: Vec<_> = (0..3)
            .map(|_| {
                let client = client.clone();
                thread::spawn(move || {
                    for len in [1 << 20, 10, 300_000] {
                        let answer = client.large(&body(len), 1 << 20).wait().unwrap();
                        assert!(answer.len() == 1 << 20 && is_body(&answer));
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
    })
    .await;
}

pub(crate) async fn deadline_stops_the_handler(peer: &Peer) {
    with_client(peer, |client| {
        let short = Duration::from_millis(50);
        let begun = Instant::now();
        let error = client.sleep().timeout(short).wait().unwrap_err();
        assert!(begun.elapsed() >= short);
        assert_eq!(error.failure().unwrap().kind(), FailureKind::DeadlineExceeded);
        assert!(error.may_have_run());
        client.until_stopped(1).wait().unwrap();
        assert_eq!(client.running().owned().wait().unwrap(), 0);
    })
    .await;
}

pub(crate) async fn many_threads(peer: &Peer) {
    with_client(peer, |client| {
        let threads: Vec<_> = (0..32)
            .map(|thread| {
                let client = client.clone();
                thread::spawn(move || {
                    for call in 0..200 {
                        let text = format!("call {call} of thread {thread}");
                        let call = client.text(&text).timeout(Duration::from_secs(30));
                        assert_eq!(call.wait().unwrap().as_str(), text);
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
    })
    .await;
}

pub(crate) async fn channels_are_refused(peer: &Peer) {
    with_client(peer, |client| {
        let error = client.items(&[1]).blocking_open().map(drop).unwrap_err();
        assert_eq!(error.failure().unwrap().kind(), FailureKind::LocalLimit);
        assert!(!error.may_have_run());
    })
    .await;
    // A channel whose runtime is elsewhere has them, and its ends can block.
    let client = peer.client.clone();
    let items = move || {
        let (mut items, call) = client.items(&[3, 70_000]).blocking_open().unwrap();
        for len in [3, 70_000] {
            assert_eq!(items.blocking_recv().unwrap().unwrap().len(), len);
        }
        assert!(items.blocking_recv().unwrap().is_none());
        assert_eq!(call.wait().unwrap().to_native(), 2);
    };
    spawn_blocking(items).await.unwrap();
}

/// The server ends while a client is connected that does nothing.
pub(crate) async fn drain(peer: &Peer) {
    with_client(peer, |client| {
        client.empty().wait().unwrap();
        // Its socket stays open to the end of this process.
        std::mem::forget(client);
    })
    .await;
}
