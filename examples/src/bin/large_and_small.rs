//! Small calls while a body of 1 GiB is under way, in each direction, or a stream that is read as fast as it comes, against the same calls on an idle
//! connection: on the same connection, on one whose receive buffer grows as the kernel likes, and with a channel that may have two.
//!
//! Rows with `rare` make a small call every 20 ms only. Between two of them nothing but the body is under way, so the kernel holds more of it, and the small call
//! waits for that.

use std::error::Error;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rpc_client::{Channel, ReceiveBuffer};
use rpc_core::{Limits, Sender, service};
use rpc_server::Server;

/// What everything here may end with, tasks included.
type Failure = Box<dyn Error + Send + Sync>;

#[service]
pub trait Traffic {
    async fn upload(&self, body: Bytes) -> u64;
    async fn download(&self) -> Bytes;
    async fn stream(&self, count: u32, item: Bytes, items: Sender<Bytes>);
    async fn small(&self, body: &[u8]) -> u32;
}

struct Depot(Bytes);

impl Traffic for Depot {
    async fn upload(&self, body: Bytes) -> u64 {
        body.len() as u64
    }

    async fn download(&self) -> Bytes {
        self.0.clone() // sent from where it is
    }

    async fn stream(&self, count: u32, item: Bytes, mut items: Sender<Bytes>) {
        for _ in 0..count {
            if items.send(&item).await.is_err() {
                return; // the caller wants no more
            }
        }
    }

    async fn small(&self, body: &[u8]) -> u32 {
        body.len() as u32
    }
}

/// Time between a small call and the next where they are rare.
const PAUSE: Duration = Duration::from_millis(20);

/// Calls `small` for as long as `large` takes, one call after the other with a pause between them, and returns how long each took.
async fn beside<T>(
    traffic: &TrafficClient<Channel>,
    pause: Duration,
    large: impl Future<Output = T>,
) -> Result<(T, Vec<Duration>), Failure> {
    let mut times = Vec::new();
    let mut large = std::pin::pin!(large);
    loop {
        let small = async {
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            let start = Instant::now();
            traffic.small(&[7; 64]).await.map(|_| start.elapsed())
        };
        tokio::select! {
            biased;
            done = &mut large => {
                times.sort();
                return Ok((done, times));
            }
            time = small => times.push(time?),
        }
    }
}

/// Reads a stream of `count` items of `len` bytes, in a task of its own: it would not let go of that of the small calls while there are items.
async fn read_stream(traffic: TrafficClient<Channel>, count: u32, len: usize) -> Result<(), Failure> {
    let stream = async move {
        let (mut items, call) = traffic.stream(count, &Bytes::from(vec![7; len])).open().await?;
        let mut read = 0;
        while let Some(item) = items.recv().await? {
            read += item.len();
        }
        call.await?;
        assert_eq!(read, len * count as usize);
        Ok(())
    };
    tokio::spawn(stream).await?
}

fn show(what: &str, times: &[Duration], idle: &[Duration]) {
    let at = |times: &[Duration], percent: usize| {
        let time = times.get(times.len() * percent / 100).copied();
        time.unwrap_or_default().as_secs_f64() * 1e6
    };
    let (p50, p99, total) = (at(times, 50), at(times, 99), times.iter().sum::<Duration>());
    let (times50, times99, calls) = (p50 / at(idle, 50), p99 / at(idle, 99), times.len());
    print!("  {what:<14} {total:>5.1?} {calls:>6} small calls: p50 {p50:>7.1} µs, p99 {p99:>7.1} µs; ");
    println!("{times50:.1} and {times99:.1} times idle");
}

/// Serves at `listen`, and compares the calls of a channel that may have so many connections.
async fn compare(
    listen: &str,
    connections: usize,
    receive_buffer: ReceiveBuffer,
    body: &Bytes,
) -> Result<(), Failure> {
    let limits = Limits {
        max_body: Limits::LARGEST_BODY,
        max_held: 4 << 30,
        ..Limits::default()
    };
    let server = Server::builder()
        .service(TrafficServer::new(Depot(body.clone())))
        .listen(listen)
        .limits(limits)
        .receive_buffer(receive_buffer)
        .reactors(1)
        .start()?;
    let channel = Channel::builder()
        .limits(limits)
        .receive_buffer(receive_buffer)
        .connections(connections);
    let traffic = TrafficClient::new(channel.connect(server.addresses()[0].clone()).await?);
    let second = tokio::time::sleep(Duration::from_secs(1));
    let ((), idle) = beside(&traffic, Duration::ZERO, second).await?;
    show("idle", &idle, &idle);
    for (pause, upload, download) in [
        (Duration::ZERO, "upload", "download"),
        (PAUSE, "upload, rare", "download, rare"),
    ] {
        let (sent, times) = beside(&traffic, pause, traffic.upload(body)).await?;
        assert_eq!(sent?.to_native(), body.len() as u64);
        show(upload, &times, &idle);
        let (received, times) = beside(&traffic, pause, traffic.download()).await?;
        assert_eq!(received?.len(), body.len());
        show(download, &times, &idle);
    }
    for (what, count, len) in [("64 B items", 8 << 20, 64), ("4 KiB items", 256 << 10, 4096)] {
        let stream = read_stream(traffic.clone(), count, len);
        let (read, times) = beside(&traffic, Duration::ZERO, stream).await?;
        read?;
        show(what, &times, &idle);
    }
    server.shutdown().await;
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let body = Bytes::from(vec![7; 1 << 30]);
    let socket = std::env::temp_dir().join(format!("large-and-small-{}.sock", std::process::id()));
    let unix = format!("unix://{}", socket.display());
    let tcp = "tcp://127.0.0.1:0";
    let default = ReceiveBuffer::default();
    println!("TCP, one connection");
    compare(tcp, 1, default, &body).await?;
    println!("TCP, one connection, receive_buffer(ReceiveBuffer::Kernel)");
    compare(tcp, 1, ReceiveBuffer::Kernel, &body).await?;
    println!("TCP, two connections");
    compare(tcp, 2, default, &body).await?;
    println!("Unix, one connection");
    compare(&unix, 1, default, &body).await?;
    println!("Unix, two connections");
    compare(&unix, 2, default, &body).await?;
    Ok(())
}
