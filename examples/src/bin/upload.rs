//! Uploads: 64 MiB in one body that is cut into chunks and copied nowhere, and a stream that its sender gives up half-way.

use std::error::Error;

use bytes::Bytes;
use rpc_client::Channel;
use rpc_core::{CallError, Limits, Receiver, message, service};
use rpc_server::Server;

#[message]
pub struct Stored {
    pub len: u64,
    pub checksum: u64,
    /// Where the bytes lie in the server's memory.
    pub place: u64,
}

#[service]
pub trait Store {
    /// The body is the handler's own, without a copy: `Bytes` shares the memory it was received in.
    async fn put(&self, body: Bytes) -> Stored;
    async fn append(&self, parts: Receiver<Bytes>) -> Result<u64, String>;
}

struct Memory;

fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

impl Store for Memory {
    async fn put(&self, body: Bytes) -> Stored {
        Stored {
            len: body.len() as u64,
            checksum: checksum(&body),
            place: body.as_ptr().addr() as u64,
        }
    }

    async fn append(&self, mut parts: Receiver<Bytes>) -> Result<u64, String> {
        let mut len = 0;
        loop {
            match parts.recv().await {
                Ok(Some(part)) => len += part.len() as u64,
                Ok(None) => return Ok(len),
                Err(error) => return Err(format!("threw {len} bytes away: {error}")),
            }
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // What one side sends the other has to accept: both say what that is.
    let limits = Limits {
        max_body: 65 << 20,
        max_held: 130 << 20,
        ..Limits::default()
    };
    let server = Server::builder()
        .service(StoreServer::new(Memory))
        .listen("tcp://127.0.0.1:0")
        .limits(limits)
        .start()?;
    let channel = Channel::builder().limits(limits);
    let channel = channel.connect(server.addresses()[0].clone()).await?;
    let store = StoreClient::new(channel.clone());

    let body: Bytes = (0..64_u32 << 20).map(|n| (n ^ (n >> 8)) as u8).collect();
    let stored = store.put(&body).await?;
    assert_eq!(stored.checksum, checksum(&body), "the body was damaged");
    println!(
        "{} bytes arrived at an address that ends in {:#x}",
        stored.len,
        stored.place.to_native() % 4_096
    );
    println!("checksums are equal: {:#018x}", stored.checksum.to_native());
    let copied = (channel.copied_bytes(), server.stats().bytes_copied);
    println!(
        "copied between buffers: {} bytes by the client, {} by the server",
        copied.0, copied.1
    );
    assert!(copied.0 < 1 << 16 && copied.1 < 1 << 20, "the body was copied");

    let (mut parts, call) = store.append().open().await?;
    for _ in 0..32 {
        parts.send(&body.slice(..256 << 10)).await?;
    }
    parts.flush().await?;
    drop(parts); // without `finish`: not a clean end for the handler
    match call.await {
        Err(CallError::Method(error)) => println!("the handler {error}"),
        other => return Err(format!("unexpected: {other:?}").into()),
    }
    server.shutdown().await;
    Ok(())
}
