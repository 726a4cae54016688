//! The server's process, and a client that is connected to it.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
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
    process: Child,
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
        let mut stdout = BufReader::new(process.stdout.take().unwrap());
        stdout.read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "the server did not start");
        let channel = Channel::connect(line.trim_end()).await.unwrap();
        let client = InteropClient::new(channel.clone());
        Self {
            channel,
            client,
            process,
        }
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
