//! The server and its service.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;

use harness::{Address, Ready, Result, data};
use tokio::net::TcpListener;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use vox::transport::local::LocalLinkAcceptor;
use vox::transport::tcp::StreamLink;
use vox::{Tx, VoxListener};

use crate::api::{Bench, BenchDispatcher, Bytes, Record};

/// Serves until the process ends.
pub(crate) async fn serve(address: Address, ready: Ready) -> Result<()> {
    let dispatcher = BenchDispatcher::new(Service::new());
    match address {
        Address::Tcp(socket) => {
            let listener = TcpListener::bind(socket).await?;
            ready.listening(&Address::Tcp(listener.local_addr()?))?;
            vox::serve_listener(WithoutDelay(listener), dispatcher).await?;
        }
        Address::Unix(path) => {
            let listener = LocalLinkAcceptor::bind(path.to_string_lossy())?;
            ready.listening(&Address::Unix(path))?;
            vox::serve_listener(listener, dispatcher).await?;
        }
    }
    Ok(())
}

/// A listener that sets `TCP_NODELAY` on what it accepts, as vox itself does on what it connects.
struct WithoutDelay(TcpListener);

impl VoxListener for WithoutDelay {
    type Link = StreamLink<OwnedReadHalf, OwnedWriteHalf>;

    async fn accept(&mut self) -> io::Result<Self::Link> {
        let (stream, _) = self.0.accept().await?;
        stream.set_nodelay(true)?;
        Ok(StreamLink::tcp(stream))
    }
}

#[derive(Clone)]
struct Service {
    records: Arc<Vec<Record>>,
    /// What is borrowed from may be read after the handler has gone, so it has to live as long as the process.
    blob: Bytes<'static>,
}

impl Service {
    fn new() -> Self {
        let records = data::records().map(|record| Record {
            id: record.id,
            name: record.name,
            tags: record.tags,
            score: record.score,
        });
        Self {
            records: Arc::new(records.collect()),
            blob: data::blob(64 << 20).leak(),
        }
    }
}

impl Bench for Service {
    async fn echo(&self, data: Vec<u8>) -> Vec<u8> {
        data
    }

    async fn list(&self) -> Vec<Record> {
        self.records.to_vec()
    }

    async fn blob<'vox>(&self, call: impl vox::Call<'vox, Bytes<'vox>, Infallible>, length: u64) {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        call.ok(&self.blob[..length.min(self.blob.len())]).await;
    }

    async fn items(&self, count: u64, items: Tx<Vec<u8>>) {
        for number in 0..count {
            // Fails when the client has gone.
            if items.send(data::item(number).to_vec()).await.is_err() {
                break;
            }
        }
        // What goes wrong here, the receiver notices.
        let _ = items.close(Default::default()).await;
    }
}
