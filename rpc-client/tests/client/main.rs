//! The client against servers that are written out byte by byte from PROTOCOL.md, and against services in the same process.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod blocking;
mod calls;
mod connect;
mod connections;
mod failures;
mod in_process;
mod loss;
mod order;
mod raw_server;
mod receive_buffer;
mod resets;
mod slots;

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use rpc_client::{Channel, ChannelBuilder};
use rpc_core::{Limits, message, service};

use crate::raw_server::{Connection, RawServer};

/// What the tests call.
#[service]
pub(crate) trait Probe {
    /// Returns the next number.
    async fn next(&self, number: u64) -> u64;
    /// Returns the next number if it is even.
    async fn even(&self, number: u64) -> Result<u64, Odd>;
    /// Takes many bytes.
    async fn swallow(&self, bytes: &[u8]) -> u64;
    /// Returns many bytes.
    async fn fill(&self, len: u64) -> Vec<u8>;
    /// Never returns before its client has gone.
    async fn hang(&self) -> u64;
    /// Panics.
    async fn explode(&self) -> u64;
    /// Returns the next number, from a worker.
    fn work(&self, number: u64) -> u64;
    /// Panics on a worker.
    fn explode_at_work(&self) -> u64;
}

/// The error of [`Probe::even`].
#[message]
#[derive(Debug, PartialEq)]
pub(crate) struct Odd {
    /// The number that was to be even.
    pub number: u64,
}

type Client = ProbeClient<Channel>;

/// A client, and the server's end of its connection, which has greeted with these limits.
async fn connected(max_calls: u32) -> (Client, Connection, RawServer) {
    connected_with(builder(), max_calls).await
}

/// Settings under which no timer rings by itself during a test, which could wake what somebody forgot to wake.
fn builder() -> ChannelBuilder {
    Channel::builder().limits(LIMITS).keep_alive(None, Duration::ZERO)
}

const LIMITS: Limits = Limits {
    max_frame: 32 << 20,
    max_body: 32 << 20,
    max_calls: 1024,
    max_metadata: 8 << 10,
    max_held: 64 << 20,
    stream_credit: 256 << 10,
    stream_window: 256 << 10,
    handshake_timeout: Duration::from_secs(600),
};

async fn connected_with(builder: ChannelBuilder, max_calls: u32) -> (Client, Connection, RawServer) {
    let server = RawServer::bind().await;
    let address = server.address();
    let (channel, connection) = tokio::join!(builder.connect(&address), server.accept_greeted(max_calls));
    (Client::new(channel.unwrap()), connection, server)
}

/// Polls a call once, which starts it.
async fn started<F: Future + Unpin>(mut call: F) -> F {
    poll_fn(|cx| match Pin::new(&mut call).poll(cx) {
        Poll::Ready(_) => panic!("the call has ended"),
        Poll::Pending => Poll::Ready(()),
    })
    .await;
    call
}

/// Fails a test that would hang.
async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(20), future)
        .await
        .expect("the test hangs")
}
