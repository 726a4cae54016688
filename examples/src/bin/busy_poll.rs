//! Calls one after the other, with and without busy polling: how long they take, and the processor time that client and server need for them.
//!
//! What there is to gain depends on the machine: on how long a sleeping core takes to wake up, and on whether there is one for each side.

use std::error::Error;
use std::time::{Duration, Instant};

use rpc_client::Channel;
use rpc_core::service;
use rpc_server::Server;

#[service]
pub trait Meter {
    async fn add(&self, number: u64) -> u64;
}

struct One;

impl Meter for One {
    async fn add(&self, number: u64) -> u64 {
        number + 1
    }
}

/// Processor time that this process has had, both sides together.
fn processor_time() -> Result<Duration, Box<dyn Error>> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // The name before may contain anything; of what follows, these are the times in user space and in the kernel, in hundredths of a second.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let hundredths = fields.skip(11).take(2).map(str::parse::<u64>);
    Ok(Duration::from_millis(10 * hundredths.sum::<Result<u64, _>>()?))
}

/// Makes calls for a second, with a pause between them, and prints what they took.
async fn measure(listen: &str, busy_poll: Duration, pause: Duration) -> Result<(), Box<dyn Error>> {
    let server = Server::builder().service(MeterServer::new(One)).reactors(1);
    let server = server.busy_poll(busy_poll).listen(listen).start()?;
    let channel = Channel::builder().busy_poll(busy_poll);
    let meter = MeterClient::new(channel.connect(server.addresses()[0].clone()).await?);
    let (mut times, processor, begun) = (Vec::new(), processor_time()?, Instant::now());
    while begun.elapsed() < Duration::from_secs(1) {
        let start = Instant::now();
        assert_eq!(*meter.add(1).await?, 2);
        times.push(start.elapsed());
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
    }
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    let cost = micros(processor_time()? - processor) / times.len() as f64;
    times.sort_unstable();
    let at = |percent| micros(times[times.len() * percent / 100]);
    let (count, p50, p99, busy) = (times.len(), at(50), at(99), micros(busy_poll));
    println!(
        "  busy_poll {busy:>4} µs: {count:>6} calls, p50 {p50:>6.1} µs, p99 {p99:>6.1} µs, {cost:>5.1} µs of processor time each"
    );
    server.shutdown().await;
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let socket = std::env::temp_dir().join(format!("busy-poll-{}.sock", std::process::id()));
    let unix = format!("unix://{}", socket.display());
    for (how, listen, pause) in [
        (
            "TCP, one call after the other",
            "tcp://127.0.0.1:0",
            Duration::ZERO,
        ),
        (
            "Unix socket, one call after the other",
            unix.as_str(),
            Duration::ZERO,
        ),
        (
            "Unix socket, a millisecond between calls",
            unix.as_str(),
            Duration::from_millis(1),
        ),
    ] {
        println!("{how}");
        for micros in [0, 20, 50, 100] {
            measure(listen, Duration::from_micros(micros), pause).await?;
        }
    }
    Ok(())
}
