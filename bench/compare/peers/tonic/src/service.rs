//! The server and its service.

use std::iter::Map;
use std::ops::Range;

use bytes::Bytes;
use futures_util::stream;
use harness::{Address, Ready, Result, data};
use tokio::net::{TcpListener, UnixListener};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

use crate::bench_proto::bench_server::{Bench, BenchServer};
use crate::bench_proto::{Block, Body, Length, Nothing, Record, Records};
use crate::settings;

/// Serves until the process ends.
pub(crate) async fn serve(address: Address, ready: Ready) -> Result<()> {
    let service = BenchServer::new(Service::new()).max_decoding_message_size(settings::MESSAGE);
    let router = settings::server().add_service(service);
    match address {
        Address::Tcp(socket) => {
            let listener = TcpListener::bind(socket).await?;
            ready.listening(&Address::Tcp(listener.local_addr()?))?;
            let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
            router.serve_with_incoming(incoming).await?;
        }
        Address::Unix(path) => {
            let listener = UnixListener::bind(&path)?;
            ready.listening(&Address::Unix(path))?;
            router
                .serve_with_incoming(UnixListenerStream::new(listener))
                .await?;
        }
    }
    Ok(())
}

struct Service {
    records: Records,
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
            records: Records {
                records: records.collect(),
            },
            blob: data::blob(64 << 20).into(),
        }
    }
}

#[tonic::async_trait]
impl Bench for Service {
    /// Ready whenever it is asked, so that tonic packs items into one frame. (That of `tokio-stream` rests after 32, and each frame is then as short.)
    type ItemsStream = stream::Iter<Map<Range<u64>, fn(u64) -> Result<Block, Status>>>;

    async fn echo(&self, request: Request<Block>) -> Result<Response<Block>, Status> {
        Ok(Response::new(request.into_inner()))
    }

    // A response is owned, so the list is cloned for every call.
    async fn list(&self, _: Request<Nothing>) -> Result<Response<Records>, Status> {
        Ok(Response::new(self.records.clone()))
    }

    async fn blob(&self, request: Request<Length>) -> Result<Response<Body>, Status> {
        let length = usize::try_from(request.into_inner().length).unwrap_or(usize::MAX);
        if length > self.blob.len() {
            return Err(Status::out_of_range("longer than the body"));
        }
        Ok(Response::new(Body {
            data: self.blob.slice(..length),
        }))
    }

    async fn items(&self, request: Request<Length>) -> Result<Response<Self::ItemsStream>, Status> {
        let items = (0..request.into_inner().length).map(item as fn(u64) -> Result<Block, Status>);
        Ok(Response::new(stream::iter(items)))
    }
}

fn item(number: u64) -> Result<Block, Status> {
    let data = data::item(number).to_vec();
    Ok(Block { data })
}
