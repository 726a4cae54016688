//! The server and its service.

use std::sync::Arc;

use bytes::Bytes;
use harness::{Address, Options, Ready, Result, data};
use tokio::net::{TcpListener, UnixListener};
use volo::net::incoming::DefaultIncoming;
use volo_thrift::ServerError;

use crate::generated::volo_gen::bench::{Bench, BenchServer, Record, Records};
use crate::settings;

/// Serves until the process ends.
pub(crate) async fn serve(address: Address, options: &Options, ready: Ready) -> Result<()> {
    let incoming = match address {
        Address::Tcp(socket) => {
            let listener = TcpListener::bind(socket).await?;
            ready.listening(&Address::Tcp(listener.local_addr()?))?;
            // Sets TCP_NODELAY on what it accepts.
            DefaultIncoming::from(listener)
        }
        Address::Unix(path) => {
            let listener = UnixListener::bind(&path)?;
            ready.listening(&Address::Unix(path))?;
            DefaultIncoming::from(listener)
        }
    };
    let server = BenchServer::new(Service::new())
        .make_codec(settings::codec())
        .multiplex(settings::is_multiplexed(options));
    server.run(incoming).await
}

struct Service {
    records: Arc<Records>,
    blob: Bytes,
}

impl Service {
    fn new() -> Self {
        let records = data::records().map(|record| Record {
            id: i64::try_from(record.id).unwrap_or(i64::MAX),
            name: record.name.into(),
            tags: record.tags.into_iter().map(Into::into).collect(),
            score: record.score,
        });
        Self {
            records: Arc::new(Records {
                records: records.collect(),
            }),
            blob: data::blob(64 << 20).into(),
        }
    }
}

impl Bench for Service {
    async fn echo(&self, data: Bytes) -> Result<Bytes, ServerError> {
        Ok(data)
    }

    // In an `Arc` because of the annotation in `bench.thrift`: sent from where it is.
    async fn list(&self) -> Result<Arc<Records>, ServerError> {
        Ok(Arc::clone(&self.records))
    }

    async fn blob(&self, length: i64) -> Result<Bytes, ServerError> {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        Ok(self.blob.slice(..length.min(self.blob.len())))
    }
}
