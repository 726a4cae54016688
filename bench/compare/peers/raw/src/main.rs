//! The floors: frames with a length in front, and nothing above the socket.

mod echo;
mod socket;

use std::process::ExitCode;
use std::sync::Arc;

use harness::{Address, Call, Connection, Lanes, Options, Peer, Ready, Result, Task};
use tokio::sync::Mutex;

use crate::socket::Socket;

fn main() -> ExitCode {
    harness::main::<Raw>()
}

struct Raw;

impl Peer for Raw {
    const PACKAGE: &'static str = "tokio";
    type Connection = RawConnection;

    fn name(_: &Options) -> &'static str {
        "raw-tokio"
    }

    fn absent(options: &Options) -> Option<String> {
        let is_missing = options.workload.call() != Call::Echo;
        is_missing.then(|| "not written yet".to_owned())
    }

    async fn serve(address: Address, _: &Options, ready: Ready) -> Result<()> {
        socket::accept(address, ready, |socket| {
            // A connection that fails is seen by its client.
            tokio::spawn(echo::serve(socket));
        })
        .await
    }
}

/// A socket, which one task at a time has for itself.
struct RawConnection(Arc<Mutex<Socket>>);

impl Connection for RawConnection {
    async fn connect(address: &Address, _: &Options) -> Result<Self> {
        Ok(Self(Arc::new(Mutex::new(Socket::connect(address).await?))))
    }

    /// One task, with a window of as many calls as are to be in flight.
    fn spawn(&self, lanes: &Lanes) -> Vec<Task> {
        let (socket, lanes) = (Arc::clone(&self.0), lanes.clone());
        vec![tokio::spawn(async move {
            let mut socket = socket.lock_owned().await;
            echo::call(&mut socket, lanes.in_flight, &lanes.lane).await
        })]
    }
}
