//! The server's process, as its client holds it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::Result;
use crate::address::{Address, Transport};
use crate::options::Options;
use crate::usage::Usage;

/// A server that runs as long as this is held.
#[derive(Debug)]
pub(crate) struct ServerProcess {
    pub(crate) address: Address,
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl ServerProcess {
    /// Starts this same program as a server, and waits until it listens.
    pub(crate) fn start(options: &Options) -> Result<Self> {
        let wanted = match options.transport {
            Transport::Tcp => Address::Tcp(([127, 0, 0, 1], 0).into()),
            Transport::Unix => {
                Address::Unix(std::env::temp_dir().join(format!("compare-{}.sock", std::process::id())))
            }
        };
        let mut child = Command::new(std::env::current_exe()?)
            .args(options.server_arguments(&wanted))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().ok_or("the server has no output")?;
        let mut process = Self {
            address: wanted,
            child,
            stdin,
            stdout: BufReader::new(stdout),
        };
        let line = process.line()?;
        let address = line
            .strip_prefix("listening ")
            .ok_or("the server does not listen")?;
        process.address = address.parse()?;
        Ok(process)
    }

    /// What the server has used so far.
    pub(crate) fn usage(&mut self) -> Result<Usage> {
        let stdin = self.stdin.as_mut().ok_or("the server was stopped")?;
        stdin.write_all(b"stats\n")?;
        Ok(serde_json::from_str(&self.line()?)?)
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.stdout.read_line(&mut line)? == 0 {
            return Err("the server has ended".into());
        }
        line.truncate(line.trim_end().len());
        Ok(line)
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        drop(self.stdin.take());
        // Nothing can be done about a server that cannot be waited for.
        let _ = self.child.wait();
        if let Address::Unix(path) = &self.address {
            let _ = std::fs::remove_file(path);
        }
    }
}
