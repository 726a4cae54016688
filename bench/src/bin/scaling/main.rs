//! Scaling: calls per second and core on one core and on two, and what a slow or a huge call costs small ones of another connection.
//!
//! ```text
//! scaling                              measures everything, five times, interleaved, and prints medians
//! scaling serve REACTORS               a server; it ends with its standard input
//! scaling call ADDRESS                 calls for a while; prints how many calls a second were answered
//! scaling small ADDRESS                small calls, one after another, for a while; prints their median and p99 in µs
//! scaling load ADDRESS WHAT            a slow or a huge call after another, or nothing, until it is ended
//! scaling bare-serve THREADS           the server with bare sockets
//! scaling bare-call ADDRESS            the same of its client
//! ```

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program that is run by hand"
)]

mod bare;

use std::error::Error;
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rpc_client::Channel;
use rpc_core::{Context, Limits, service};
use rpc_server::Server;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// What is called.
#[service]
pub trait Load {
    /// Returns how many bytes it was given.
    async fn small(&self, body: &[u8]) -> u64;
    /// Takes a body.
    async fn huge(&self, body: Bytes) -> u64;
    /// Keeps a worker busy until nobody waits for it.
    fn slow(&self, cx: &Context) -> u64;
}

struct Loaded;

impl Load for Loaded {
    async fn small(&self, body: &[u8]) -> u64 {
        body.len() as u64
    }

    async fn huge(&self, body: Bytes) -> u64 {
        body.len() as u64
    }

    fn slow(&self, cx: &Context) -> u64 {
        let mut turns = 0;
        while !cx.is_cancelled() {
            turns += 1;
        }
        turns
    }
}

/// Repetitions.
const ROUNDS: usize = 5;
/// How long each measurement takes.
const TIME: Duration = Duration::from_millis(800);
/// Connections of a client, so that the kernel spreads them evenly enough over the reactors.
const CONNECTIONS: usize = 32;
/// Calls in flight on each of them.
const IN_FLIGHT: usize = 8;
/// Length of a huge body.
const HUGE: usize = 60 << 20;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match arguments[..] {
        [] => measure(),
        ["serve", reactors] => serve(reactors),
        ["call", address] => run(call(address)),
        ["small", address] => run(small(address)),
        ["load", address, what] => run(load(address, what)),
        ["bare-serve", threads] => bare::serve(threads),
        ["bare-call", address] => run(bare::call(address)),
        _ => Err(
            "usage: scaling [serve REACTORS | call ADDRESS | small ADDRESS | load ADDRESS nothing|slow|huge | bare-serve THREADS | bare-call ADDRESS]"
                .into(),
        ),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("scaling: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure() -> Result<()> {
    let mut rates = [const { Vec::new() }; 4];
    let mut times = [const { Vec::new() }; 3];
    for _ in 0..ROUNDS {
        for (rates, (cores, programs)) in rates.iter_mut().zip(RATES) {
            rates.push(rate(cores, programs)?);
        }
        for (what, times) in BESIDE.into_iter().zip(&mut times) {
            times.push(times_beside(what)?);
        }
    }
    let [one, bare_one, two, bare_two] = rates.map(median);
    println!(
        "calls/s and core, {CONNECTIONS} connections with {IN_FLIGHT} calls of 64 bytes in flight per client, server and client on the same cores"
    );
    println!("  one core   {one:>9.0}, bare sockets {bare_one:>9.0}");
    println!(
        "  two cores  {two:>9.0}, bare sockets {bare_two:>9.0}  ({:.2} and {:.2} times)",
        two / one,
        bare_two / bare_one
    );
    println!("64-byte calls of one process, one after another, beside another process with, under way,");
    let idle = median(times[0].iter().map(|(_, p99)| *p99).collect());
    for (what, times) in BESIDE.into_iter().zip(times) {
        let (p50, p99): (Vec<f64>, Vec<f64>) = times.into_iter().unzip();
        let (p50, p99) = (median(p50), median(p99));
        println!(
            "  {what:<8} p50 {p50:>6.1} µs, p99 {p99:>6.1} µs ({:.2} times)",
            p99 / idle
        );
    }
    Ok(())
}

/// The cores, and the programs for server and client.
const RATES: [(&[&str], [&str; 2]); 4] = [
    (&["0"], ["serve", "call"]),
    (&["0"], ["bare-serve", "bare-call"]),
    (&["0", "1"], ["serve", "call"]),
    (&["0", "1"], ["bare-serve", "bare-call"]),
];

/// What may be under way on another connection.
const BESIDE: [&str; 3] = ["nothing", "slow", "huge"];

/// Calls a second and core, of a client per core and a server with a reactor for each.
fn rate(cores: &[&str], [serve, call]: [&str; 2]) -> Result<f64> {
    let mut server = Process::start(&cores.join(","), &[serve, &cores.len().to_string()])?;
    let address = server.listen()?;
    let clients: Result<Vec<Process>> = cores
        .iter()
        .map(|core| Process::start(core, &[call, &address]))
        .collect();
    let mut sum = 0.0;
    for mut client in clients? {
        sum += client.listen()?.parse::<f64>()?;
    }
    Ok(sum / cores.len() as f64)
}

/// Median and p99 of small calls beside something else.
fn times_beside(what: &str) -> Result<(f64, f64)> {
    let mut server = Process::start("0,1", &["serve", "2"])?;
    let address = server.listen()?;
    let mut load = Process::start("0,1", &["load", &address, what])?;
    load.listen()?;
    let times = Process::start("0,1", &["small", &address])?.listen()?;
    if load.child.try_wait()?.is_some() {
        return Err(format!("what was to be beside the calls has ended: {what}").into());
    }
    let (p50, p99) = times.split_once(' ').ok_or("no two figures")?;
    Ok((p50.parse()?, p99.parse()?))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Another process of this program. It is ended when this is dropped.
struct Process {
    child: Child,
}

impl Process {
    fn start(cores: &str, arguments: &[&str]) -> Result<Self> {
        let mut command = Command::new("taskset");
        command.arg("-c").arg(cores).arg(std::env::current_exe()?);
        let command = command
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let child = command
            .spawn()
            .map_err(|error| format!("taskset (package util-linux): {error}"))?;
        Ok(Self { child })
    }

    /// Waits for the line that it says.
    fn listen(&mut self) -> Result<String> {
        let output = self.child.stdout.as_mut().ok_or("no output")?;
        let mut line = String::new();
        if BufReader::new(output).read_line(&mut line)? == 0 {
            return Err("it needs two cores (0 and 1), or a process of it has failed".into());
        }
        Ok(line.trim_end().to_owned())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The default ones, but that a huge body passes.
fn limits() -> Limits {
    Limits {
        max_body: 64 << 20,
        max_held: 256 << 20,
        ..Limits::default()
    }
}

fn serve(reactors: &str) -> Result<()> {
    let server = Server::builder()
        .service(LoadServer::new(Loaded))
        .limits(limits())
        .reactors(reactors.parse()?)
        .listen("tcp://127.0.0.1:0")
        .start()?;
    println!("{}", server.addresses()[0]);
    wait_for_end()
}

/// Waits until whoever started this server has ended, or ends it.
fn wait_for_end() -> Result<()> {
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

/// Runs a client on one thread.
fn run(client: impl Future<Output = Result<()>>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(client)
}

async fn connect(address: &str) -> Result<LoadClient<Channel>> {
    let channel = Channel::builder().limits(limits());
    Ok(LoadClient::new(channel.connect(address).await?))
}

async fn call(address: &str) -> Result<()> {
    let mut tasks = Vec::new();
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        clients.push(connect(address).await?);
    }
    let start = Instant::now();
    for client in clients {
        for _ in 0..IN_FLIGHT {
            tasks.push(tokio::spawn(call_on(client.clone(), start + TIME)));
        }
    }
    let mut calls = 0;
    for task in tasks {
        calls += task.await??;
    }
    println!("{}", calls as f64 / start.elapsed().as_secs_f64());
    Ok(())
}

/// Calls until then. How many calls were answered.
async fn call_on(client: LoadClient<Channel>, end: Instant) -> Result<u64> {
    let mut calls = 0;
    while Instant::now() < end {
        let answer = client.small(&[7; 64]).await?;
        if answer.to_native() != 64 {
            return Err("a wrong answer".into());
        }
        calls += 1;
    }
    Ok(calls)
}

async fn small(address: &str) -> Result<()> {
    let client = connect(address).await?;
    let (end, mut times) = (Instant::now() + TIME, Vec::new());
    while Instant::now() < end {
        let start = Instant::now();
        client.small(&[7; 64]).await?;
        times.push(start.elapsed().as_secs_f64() * 1e6);
    }
    times.sort_by(f64::total_cmp);
    let at = |percent: usize| times.get(times.len() * percent / 100).copied();
    let (p50, p99) = at(50).zip(at(99)).ok_or("no call was answered")?;
    println!("{p50} {p99}");
    Ok(())
}

async fn load(address: &str, what: &str) -> Result<()> {
    let client = connect(address).await?;
    let huge = Bytes::from(vec![7; HUGE]);
    println!("ready");
    loop {
        match what {
            "nothing" => std::future::pending::<()>().await,
            "slow" => drop(client.slow().await?),
            "huge" => drop(client.huge(&huge).await?),
            _ => return Err(format!("no such load: {what}").into()),
        }
    }
}
