//! tarpc, with bincode over a socket.

mod client;
mod service;
mod transport;

use std::process::ExitCode;

use futures::StreamExt as _;
use harness::{Address, Call, Options, Peer, Ready, Result};
use tarpc::server::{BaseChannel, Channel as _, Config};
use tokio::net::{TcpListener, UnixListener};

use crate::client::TarpcClient;
use crate::service::{Compare as _, Service};
use crate::transport::{QUEUED, Socket, framed};

fn main() -> ExitCode {
    harness::main::<Tarpc>()
}

struct Tarpc;

impl Peer for Tarpc {
    const PACKAGE: &'static str = "tarpc";
    type Connection = TarpcClient;

    fn name(_: &Options) -> &'static str {
        "tarpc"
    }

    fn absent(options: &Options) -> Option<String> {
        if options.blocking {
            return Some("tarpc has no blocking client".to_owned());
        }
        matches!(options.workload.call(), Call::Items(_)).then(|| "tarpc has no streams".to_owned())
    }

    fn note(_: &Options) -> Option<String> {
        Some(format!(
            "bincode; nodelay; max_frame_length raised; pending buffers {QUEUED}; lists and bodies sent from an Arc"
        ))
    }

    async fn serve(address: Address, options: &Options, ready: Ready) -> Result<()> {
        let service = Service::new(options.workload.call());
        match address {
            Address::Tcp(address) => {
                let listener = TcpListener::bind(address).await?;
                ready.listening(&Address::Tcp(listener.local_addr()?))?;
                loop {
                    let (stream, _) = listener.accept().await?;
                    stream.set_nodelay(true)?;
                    serve_connection(stream, service.clone());
                }
            }
            Address::Unix(path) => {
                let listener = UnixListener::bind(&path)?;
                ready.listening(&Address::Unix(path))?;
                loop {
                    serve_connection(listener.accept().await?.0, service.clone());
                }
            }
        }
    }
}

/// A task per connection, and one per request, as the example service of tarpc has them.
fn serve_connection(socket: impl Socket, service: Service) {
    let config = Config {
        pending_response_buffer: QUEUED,
    };
    let channel = BaseChannel::new(config, framed(socket));
    tokio::spawn(channel.execute(service.serve()).for_each(async |request| {
        tokio::spawn(request);
    }));
}
