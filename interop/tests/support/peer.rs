//! The server's process, and a client that is connected to it.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use interop::contract::InteropClient;
use rpc_client::Channel;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Transport {
    Tcp,
    Unix,
}

pub(crate) struct Peer {
    #[allow(dead_code, reason = "not every test program calls by another contract")]
    pub(crate) channel: Channel,
    pub(crate) client: InteropClient<Channel>,
    #[allow(dead_code, reason = "not every test program makes further connections")]
    pub(crate) address: String,
    process: Child,
    /// What the process says.
    lines: BufReader<ChildStdout>,
}

impl Peer {
    pub(crate) async fn start(transport: Transport) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let address = match transport {
            Transport::Tcp => "tcp://127.0.0.1:0".to_owned(),
            Transport::Unix => {
                let file = format!("interop-{}-{number}.sock", std::process::id());
                format!("unix://{}", std::env::temp_dir().join(file).display())
            }
        };
        let mut process = Command::new(env!("CARGO_BIN_EXE_interop-server"))
            .arg(address)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut lines = BufReader::new(process.stdout.take().unwrap());
        lines.read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "the server did not start");
        let address = line.trim_end().to_owned();
        let channel = Channel::connect(address.as_str()).await.unwrap();
        let client = InteropClient::new(channel.clone());
        Self {
            channel,
            client,
            address,
            process,
            lines,
        }
    }

    /// Sends SIGTERM.
    #[allow(dead_code, reason = "not every test program signals")]
    pub(crate) fn terminate(&self) {
        let pid = self.process.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for the end of a server that was told to end. How it ended, and the keys of the calls that it counted.
    #[allow(dead_code, reason = "not every test program signals")]
    pub(crate) fn ended(mut self) -> (ExitStatus, Vec<u64>) {
        tokio::task::block_in_place(|| {
            let keys = self
                .lines
                .by_ref()
                .lines()
                .map(|key| key.unwrap().parse().unwrap())
                .collect();
            (self.process.wait().unwrap(), keys)
        })
    }

    /// Ends the server in good order while the client is connected. It has to say that nothing was cut off.
    pub(crate) async fn stop(mut self) {
        drop(self.process.stdin.take());
        let process = &mut self.process;
        let status = tokio::task::block_in_place(|| process.wait().unwrap());
        assert!(status.success(), "{status}");
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // After a test that has failed. One that has ended cannot be killed.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
