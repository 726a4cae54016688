//! Copies a file of any size to another process and back: as a stream, in bounded memory, and as one body that is cut into chunks.
//!
//! ```text
//! cargo run --release -p examples --bin copy -- 4096 1900   # MiB as a stream, MiB as one body (less than 2048)
//! ```

mod data;
mod server;

use std::error::Error;
use std::process::ExitCode;
use std::time::Instant;

use bytes::Bytes;
use rpc_client::Channel;

use data::{Checksum, Contents, peak_memory};
use server::{CopyClient, Process};

type Failure = Box<dyn Error + Send + Sync>;

/// Length of the items of a stream.
const BLOCK: usize = 256 << 10;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [server::ROLE] => server::run(),
        [] => run(64, 64),
        [stream, body] => stream
            .parse()
            .and_then(|stream| Ok((stream, body.parse()?)))
            .map_err(Failure::from)
            .and_then(|(stream, body)| run(stream, body)),
        _ => Err("usage: copy [MIB_AS_STREAM MIB_AS_BODY]".into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("copy: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Each way of copying has a server of its own, so that its memory is its own, too. The stream comes first: the peak of this process is that of all before.
#[tokio::main(flavor = "current_thread")]
async fn run(stream: usize, body: usize) -> Result<(), Failure> {
    let server = Process::start()?;
    let client = CopyClient::new(Channel::connect(server.address.as_str()).await?);
    let start = Instant::now();
    as_stream(&client, stream << 20).await?;
    report("stream", stream, start, server)?;

    let server = Process::start()?;
    let channel = Channel::builder()
        .limits(server::large())
        .connect(server.address.as_str());
    let client = CopyClient::new(channel.await?);
    let start = Instant::now();
    as_body(&client, body << 20).await?;
    report("body", body, start, server)
}

/// Sends blocks from one task while another takes them back; the sender is never further ahead than the server's credit allows.
async fn as_stream(client: &CopyClient<Channel>, len: usize) -> Result<(), Failure> {
    let (mut blocks, mut back, call) = client.stream().open().await?;
    let sending = tokio::spawn(async move {
        let mut sent = Checksum::default();
        for block in Contents::new(len).blocks(BLOCK) {
            sent.add(&block);
            blocks.send(&block).await?;
        }
        blocks.finish()?;
        Ok::<_, Failure>(sent)
    });
    let mut received = Checksum::default();
    while let Some(block) = back.recv().await? {
        received.add(&block); // where it arrived
    }
    let sent = sending.await??;
    compare(sent, call.await?.to_native(), received)
}

/// The server answers with the bytes that it got, from where they arrived.
async fn as_body(client: &CopyClient<Channel>, len: usize) -> Result<(), Failure> {
    let file: Bytes = Contents::new(len).whole();
    let mut sent = Checksum::default();
    sent.add(&file);
    let copy = client.body(&file).await?;
    let mut received = Checksum::default();
    received.add(&copy.1);
    compare(sent, copy.0.to_native(), received)
}

fn compare(sent: Checksum, seen: u64, received: Checksum) -> Result<(), Failure> {
    if (sent.value(), sent.value()) != (seen, received.value()) {
        return Err("the copy is not what was sent".into());
    }
    Ok(())
}

fn report(how: &str, mib: usize, start: Instant, server: Process) -> Result<(), Failure> {
    let rate = 2.0 * mib as f64 / start.elapsed().as_secs_f64();
    let (client, server) = (peak_memory()? >> 10, server.stop()? >> 10);
    println!(
        "{mib} MiB as a {how}, there and back: {rate:.0} MiB/s, checksums are equal; peak memory {client} MiB here, {server} MiB in the server"
    );
    Ok(())
}
