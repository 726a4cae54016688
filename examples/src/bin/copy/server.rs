//! The contract, and the server's process.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Stdio};

use bytes::Bytes;
use rpc_core::{Limits, Receiver, Sender, service};
use rpc_server::Server;

use crate::Failure;
use crate::data::{Checksum, peak_memory};

/// The argument that makes this program the server.
pub const ROLE: &str = "--serve";

#[service]
pub trait Copy {
    /// Sends each block back; returns the checksum of all.
    async fn stream(&self, blocks: Receiver<Bytes>, back: Sender<Bytes>) -> Result<u64, String>;
    /// Sends the body back, and its checksum.
    async fn body(&self, body: Bytes) -> (u64, Bytes);
}

struct Copier;

impl Copy for Copier {
    async fn stream(&self, mut blocks: Receiver<Bytes>, mut back: Sender<Bytes>) -> Result<u64, String> {
        let mut seen = Checksum::default();
        while let Some(block) = blocks.recv().await.map_err(|error| error.to_string())? {
            seen.add(&block);
            // The same memory: the block goes out from where it came in.
            let block = block.deserialize().map_err(|error| error.to_string())?;
            back.send(&block).await.map_err(|error| error.to_string())?;
        }
        Ok(seen.value())
    }

    async fn body(&self, body: Bytes) -> (u64, Bytes) {
        let mut seen = Checksum::default();
        seen.add(&body);
        (seen.value(), body)
    }
}

/// Limits for bodies as long as they can be. A stream needs none but the default ones.
pub fn large() -> Limits {
    Limits {
        max_body: Limits::LARGEST_BODY,
        max_held: 4 << 30,
        ..Limits::default()
    }
}

/// Serves until the standard input ends.
pub fn run() -> Result<(), Failure> {
    let socket = std::env::temp_dir().join(format!("copy-{}.sock", std::process::id()));
    let server = Server::builder()
        .service(CopyServer::new(Copier))
        .listen(format!("unix://{}", socket.display()))
        .limits(large())
        .start()?;
    for address in server.addresses() {
        println!("{address}");
    }
    std::io::stdin().read_to_end(&mut Vec::new())?;
    server.shutdown_blocking();
    println!("{}", peak_memory()?);
    Ok(())
}

/// The server as its client holds it. Without its client it ends.
pub struct Process {
    pub address: String,
    child: Child,
    stdout: BufReader<std::process::ChildStdout>,
}

impl Process {
    pub fn start() -> Result<Self, Failure> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg(ROLE)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut stdout = BufReader::new(child.stdout.take().ok_or("server has no output")?);
        let mut address = String::new();
        stdout.read_line(&mut address)?;
        let address = address.trim_end().to_owned();
        Ok(Self {
            address,
            child,
            stdout,
        })
    }

    /// Ends it in good order. Its peak memory in KiB.
    pub fn stop(mut self) -> Result<u64, Failure> {
        drop(self.child.stdin.take());
        let mut line = String::new();
        self.stdout.read_line(&mut line)?;
        self.child.wait()?;
        Ok(line.trim_end().parse()?)
    }
}
