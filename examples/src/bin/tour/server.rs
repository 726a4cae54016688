//! The server's process: what runs in it, and how the tour starts and stops it.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use rpc_server::Server;

use crate::Failure;
use crate::contract::SearchServer;
use crate::index::Index;

/// The argument that makes this program the server.
pub const ROLE: &str = "--serve";

/// Serves until the standard input ends: when the tour is over, or was killed.
pub fn run(socket: &str) -> Result<(), Failure> {
    let server = Server::builder()
        .service(SearchServer::new(Index::default()))
        .listen("tcp://127.0.0.1:0")
        .listen(format!("unix://{socket}"))
        .start()?;
    for address in server.addresses() {
        println!("{address}");
    }
    println!("ready");
    std::io::stdin().read_to_end(&mut Vec::new())?;
    let copied = server.stats().bytes_copied;
    let drained = server.shutdown_blocking();
    println!("{copied}");
    match drained.cut_off {
        0 => Ok(()),
        connections => Err(format!("{connections} connections were cut off").into()),
    }
}

/// The server as the tour holds it.
pub struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    addresses: Vec<String>,
}

impl Process {
    /// Starts this program again as the server, and waits until it listens.
    pub fn start() -> Result<Self, Failure> {
        let socket = std::env::temp_dir().join(format!("tour-{}.sock", std::process::id()));
        let mut child = Command::new(std::env::current_exe()?)
            .arg(ROLE)
            .arg(&socket)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdin = child.stdin.take();
        let mut stdout = BufReader::new(child.stdout.take().ok_or("server has no output")?);
        let mut addresses = Vec::new();
        loop {
            let mut line = String::new();
            if stdout.read_line(&mut line)? == 0 {
                return Err(format!("server did not start: {}", child.wait()?).into());
            }
            match line.trim_end() {
                "ready" => {
                    return Ok(Self {
                        child,
                        stdin,
                        stdout,
                        addresses,
                    });
                }
                address => addresses.push(address.to_owned()),
            }
        }
    }

    pub fn addresses(&self) -> &[String] {
        &self.addresses
    }

    /// Ends the server in good order. How many bytes it has copied.
    pub fn stop(&mut self) -> Result<u64, Failure> {
        drop(self.stdin.take());
        let mut line = String::new();
        self.stdout.read_line(&mut line)?;
        let status = self.child.wait()?;
        if !status.success() {
            return Err(format!("server failed: {status}").into());
        }
        Ok(line.trim_end().parse()?)
    }
}

impl Drop for Process {
    /// The tour has failed: the server goes with it, which its standard input tells it.
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _ = self.child.wait();
    }
}
