//! The server and its service.

use std::sync::Arc;

use bytes::Bytes;
use harness::{Address, Ready, Result, data};
use remoc::prelude::*;
use remoc::rtc::CallError;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};

use crate::api::{Bench, BenchClient, BenchServerShared, Record};
use crate::settings;

/// Serves until the process ends.
pub(crate) async fn serve(address: Address, ready: Ready) -> Result<()> {
    let service = Arc::new(Service::new());
    match address {
        Address::Tcp(socket) => {
            let listener = TcpListener::bind(socket).await?;
            ready.listening(&Address::Tcp(listener.local_addr()?))?;
            loop {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                let (reader, writer) = stream.into_split();
                tokio::spawn(serve_connection(reader, writer, Arc::clone(&service)));
            }
        }
        Address::Unix(path) => {
            let listener = UnixListener::bind(&path)?;
            ready.listening(&Address::Unix(path))?;
            loop {
                let (reader, writer) = listener.accept().await?.0.into_split();
                tokio::spawn(serve_connection(reader, writer, Arc::clone(&service)));
            }
        }
    }
}

/// Hands the client over, and serves it.
async fn serve_connection(
    reader: impl AsyncRead + Send + Sync + Unpin + 'static,
    writer: impl AsyncWrite + Send + Sync + Unpin + 'static,
    service: Arc<Service>,
) -> Result<()> {
    let (mut server, client): (_, BenchClient) = BenchServerShared::new(service);
    server.set_parallelism(settings::PARALLELISM);
    remoc::Connect::io(settings::cfg(), reader, writer)
        .provide(client)
        .await?;
    server.serve().await.map_err(|error| error.to_string())?;
    Ok(())
}

struct Service {
    records: Arc<Vec<Record>>,
    blob: Bytes,
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
            blob: data::blob(64 << 20).into(),
        }
    }
}

impl Bench for Service {
    async fn echo(&self, data: Bytes) -> Result<Bytes, CallError> {
        Ok(data)
    }

    async fn list(&self) -> Result<Arc<Vec<Record>>, CallError> {
        Ok(Arc::clone(&self.records))
    }

    async fn blob(&self, length: u64) -> Result<Bytes, CallError> {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        Ok(self.blob.slice(..length.min(self.blob.len())))
    }

    async fn items(&self, count: u64) -> Result<rch::mpsc::Receiver<Bytes>, CallError> {
        let (sender, receiver) = rch::mpsc::with_local_buffer(settings::ITEMS);
        tokio::spawn(async move {
            for number in 0..count {
                // Fails when the client has gone.
                if sender
                    .send(Bytes::copy_from_slice(&data::item(number)))
                    .await
                    .is_err()
                {
                    break;
                }
            }
        });
        Ok(receiver)
    }
}
