//! Calls without a runtime, against a client of the standard library that sends the same bytes to the same server and looks at nothing.
//!
//! Without arguments it compares the two, in turns, over a Unix socket and over TCP. For counting system calls and instructions of a client alone:
//! `serve <address>` in one process, `call <address> <calls>` in another.

#![allow(clippy::unwrap_used, reason = "a benchmark that fails has nothing to report")]
#![allow(clippy::print_stdout, reason = "it reports")]

use std::io::{IoSlice, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bench::{BenchClient, BenchServer, Records, archive, records};
use rpc_client::Address;
use rpc_client::blocking::BlockingChannel;
use rpc_core::connection::{ClientConnection, NewCall};
use rpc_core::{Dispatch, FrameBuf, Limits};
use rpc_server::Server;

fn main() {
    let arguments: Vec<_> = std::env::args()
        .filter(|argument| argument != "--bench")
        .collect();
    let arguments: Vec<_> = arguments.iter().skip(1).map(String::as_str).collect();
    match *arguments {
        ["serve", address] => {
            let _server = serve(&[address]);
            std::thread::park();
        }
        ["call", address, calls] => {
            let mut client = Ours::connect(&address.parse().unwrap());
            for _ in 0..calls.parse().unwrap() {
                client.call();
            }
        }
        _ => compare(),
    }
}

fn service() -> BenchServer<Records> {
    BenchServer::new(Records(Arc::new(records(10))))
}

fn serve(addresses: &[&str]) -> Server {
    let mut builder = Server::builder().service(service()).reactors(1);
    for address in addresses {
        builder = builder.listen(*address);
    }
    builder.start().unwrap()
}

/// Turns of a comparison, and calls of a turn.
const ROUNDS: usize = 40;
const CALLS: usize = 2_500;

fn compare() {
    let unix = format!(
        "unix://{}/blocking-{}.sock",
        std::env::temp_dir().display(),
        std::process::id()
    );
    let server = serve(&[&unix, "tcp://127.0.0.1:0"]);
    for (name, address) in ["unix", "tcp"].into_iter().zip(server.addresses()) {
        let mut ours = Ours::connect(address);
        let mut raw = Raw::connect(address);
        let (mut of_ours, mut of_raw) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            times(&mut of_raw, || raw.call());
            times(&mut of_ours, || ours.call());
        }
        for figures in [&mut of_ours, &mut of_raw] {
            figures.sort_unstable();
        }
        let at = |figures: &[Duration], percent: usize| figures[figures.len() * percent / 100];
        for percent in [50, 90, 99] {
            let (ours, raw) = (at(&of_ours, percent), at(&of_raw, percent));
            println!(
                "{name} p{percent} blocking client {ours:>9.2?}  raw {raw:>9.2?}  ratio {:.3}",
                ours.as_secs_f64() / raw.as_secs_f64()
            );
        }
    }
    server.shutdown_blocking();
}

fn times(into: &mut Vec<Duration>, mut call: impl FnMut()) {
    for _ in 0..CALLS {
        let begun = Instant::now();
        call();
        into.push(begun.elapsed());
    }
}

struct Ours(BenchClient<BlockingChannel>);

impl Ours {
    fn connect(address: &Address) -> Self {
        Self(BenchClient::new(
            BlockingChannel::connect(address.clone()).unwrap(),
        ))
    }

    fn call(&mut self) {
        assert_eq!(*self.0.count(&[7; 64]).wait().unwrap(), 64);
    }
}

/// The least that a client can do: the bytes of a call, written out before.
struct Raw {
    socket: Socket,
    call: Vec<u8>,
}

enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Raw {
    fn connect(address: &Address) -> Self {
        let socket = match address {
            Address::Tcp { host, port } => {
                let stream = TcpStream::connect((host.as_str(), *port)).unwrap();
                stream.set_nodelay(true).unwrap();
                Socket::Tcp(stream)
            }
            Address::Unix(path) => Socket::Unix(UnixStream::connect(path).unwrap()),
            _ => panic!("no such address is served"),
        };
        let mut connection = ClientConnection::new(Limits::default(), Instant::now());
        let mut raw = Self {
            socket,
            call: Vec::new(),
        };
        raw.write(&queued(&mut connection));
        let mut preface = [0; 32];
        while raw.read(&mut preface) < 32 {}
        let method = service()
            .descriptor()
            .methods
            .iter()
            .find(|method| method.name == "count");
        let mut frame = FrameBuf::new();
        frame.extend(&[0; 16]);
        frame.extend(&archive(&(vec![7_u8; 64],)));
        let new = NewCall::of(method.unwrap().id);
        connection.start_call(&new, &mut frame, Instant::now()).unwrap();
        raw.call = queued(&mut connection);
        raw
    }

    fn call(&mut self) {
        match &mut self.socket {
            Socket::Tcp(stream) => stream.write_all(&self.call).unwrap(),
            Socket::Unix(stream) => stream.write_all(&self.call).unwrap(),
        }
        // A header, and eight bytes padded to sixteen.
        let mut answer = [0; 4096];
        assert_eq!(self.read(&mut answer), 32);
        assert_eq!(answer[16..24], 64_u64.to_le_bytes());
    }

    fn read(&mut self, buffer: &mut [u8]) -> usize {
        match &mut self.socket {
            Socket::Tcp(stream) => stream.read(buffer).unwrap(),
            Socket::Unix(stream) => stream.read(buffer).unwrap(),
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        match &mut self.socket {
            Socket::Tcp(stream) => stream.write_all(bytes).unwrap(),
            Socket::Unix(stream) => stream.write_all(bytes).unwrap(),
        }
    }
}

/// What a connection wants to write.
fn queued(connection: &mut ClientConnection) -> Vec<u8> {
    let bytes = {
        let mut slices = [IoSlice::new(&[]); 8];
        let count = connection.io_slices(&mut slices);
        slices
            .iter()
            .take(count)
            .flat_map(|slice| slice.to_vec())
            .collect::<Vec<u8>>()
    };
    connection.advance(bytes.len());
    bytes
}
