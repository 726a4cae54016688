//! Memory per call: a small call allocates nothing on either side, once its connection is warm.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::sync::atomic::{AtomicU32, Ordering};

use allocation_counter::AllocationInfo;
use rpc_client::Channel;
use rpc_core::{Archived, service};
use rpc_server::Server;
use tokio::runtime::{Builder, Runtime};

/// What is called.
#[service]
trait Echo {
    /// Sends the block back.
    async fn echo(&self, block: &Archived<[u8; 64]>) -> [u8; 64];
    /// The same by value.
    async fn echo_owned(&self, block: [u8; 64]) -> [u8; 64];
    /// The same on the worker pool.
    fn echo_on_worker(&self, block: [u8; 64]) -> [u8; 64];
}

struct Service;

impl Echo for Service {
    async fn echo(&self, block: &Archived<[u8; 64]>) -> [u8; 64] {
        *block
    }

    async fn echo_owned(&self, block: [u8; 64]) -> [u8; 64] {
        block
    }

    fn echo_on_worker(&self, block: [u8; 64]) -> [u8; 64] {
        block
    }
}

type Client = EchoClient<Channel>;

/// A server and a client of it on this thread, which counts. (Of the worker pool, the half that hands jobs over and takes their answers.)
fn connected(is_tcp: bool) -> (Runtime, Server, Client) {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let address = match is_tcp {
        true => "tcp://127.0.0.1:0".to_owned(),
        false => format!("unix-abstract:rpc-allocations-{}-{number}", std::process::id()),
    };
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let (server, client) = runtime.block_on(async {
        let server = Server::builder()
            .service(EchoServer::new(Service))
            .workers(1)
            .listen(address)
            .start_here()
            .unwrap();
        let channel = Channel::connect(server.addresses()[0].clone()).await.unwrap();
        (server, EchoClient::new(channel))
    });
    (runtime, server, client)
}

/// What so many calls allocate, after as many that warmed up.
fn allocated(is_tcp: bool, call: &impl AsyncFn(&Client, [u8; 64])) -> AllocationInfo {
    let (runtime, _server, client) = connected(is_tcp);
    let calls = || {
        runtime.block_on(async {
            for number in 0..CALLS {
                call(&client, [u8::try_from(number % 251).unwrap(); 64]).await;
            }
        });
    };
    calls();
    allocation_counter::measure(calls)
}

const CALLS: u64 = 1_000;

/// A worker that has not let go of a call's memory when the next one begins makes that take new memory: seldom, and a matter of luck.
const FEW: u64 = CALLS / 100;

#[test]
fn a_call_of_an_async_method_allocates_nothing() {
    for is_tcp in [true, false] {
        let info = allocated(is_tcp, &async |client, block| {
            assert_eq!(*client.echo(&block).await.unwrap(), block);
        });
        assert_eq!(info.count_total, 0, "TCP {is_tcp}: {info:?}");
    }
}

#[test]
fn a_call_by_value_allocates_nothing() {
    for is_tcp in [true, false] {
        let info = allocated(is_tcp, &async |client, block| {
            assert_eq!(client.echo_owned(&block).owned().await.unwrap(), block);
        });
        assert_eq!(info.count_total, 0, "TCP {is_tcp}: {info:?}");
    }
}

#[test]
fn a_call_on_the_worker_pool_allocates_nothing() {
    for is_tcp in [true, false] {
        let info = allocated(is_tcp, &async |client, block| {
            assert_eq!(*client.echo_on_worker(&block).await.unwrap(), block);
        });
        assert!(info.count_total <= FEW, "TCP {is_tcp}: {info:?}");
    }
}
