//! The server and its service.

use std::rc::Rc;

use capnp_rpc::rpc_twoparty_capnp::Side;
use harness::{Address, Ready, Result, data};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::spawn_local;

use crate::bench_capnp::bench;
use crate::settings;

/// Serves until the process ends.
pub(crate) async fn serve(address: Address, ready: Ready) -> Result<()> {
    let service: bench::Client = capnp_rpc::new_client(Service::new());
    match address {
        Address::Tcp(socket) => {
            let listener = TcpListener::bind(socket).await?;
            ready.listening(&Address::Tcp(listener.local_addr()?))?;
            loop {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                let (reader, writer) = stream.into_split();
                serve_connection(reader, writer, &service);
            }
        }
        Address::Unix(path) => {
            let listener = UnixListener::bind(&path)?;
            ready.listening(&Address::Unix(path))?;
            loop {
                let (reader, writer) = listener.accept().await?.0.into_split();
                serve_connection(reader, writer, &service);
            }
        }
    }
}

fn serve_connection(
    reader: impl AsyncRead + Unpin + 'static,
    writer: impl AsyncWrite + Unpin + 'static,
    service: &bench::Client,
) {
    let bootstrap = Some(service.clone().client);
    spawn_local(settings::system(reader, writer, Side::Server, bootstrap));
}

struct Service {
    records: Vec<data::Record>,
    blob: Vec<u8>,
}

impl Service {
    fn new() -> Self {
        Self {
            records: data::records().collect(),
            blob: data::blob(64 << 20),
        }
    }
}

impl bench::Server for Service {
    async fn echo(
        self: Rc<Self>,
        params: bench::EchoParams,
        mut results: bench::EchoResults,
    ) -> capnp::Result<()> {
        results.get().set_data(params.get()?.get_data()?);
        Ok(())
    }

    async fn list(
        self: Rc<Self>,
        _: bench::ListParams,
        mut results: bench::ListResults,
    ) -> capnp::Result<()> {
        let count = to_u32(self.records.len())?;
        let mut list = results.get().init_records(count);
        for (index, record) in (0..).zip(&self.records) {
            let mut entry = list.reborrow().get(index);
            entry.set_id(record.id);
            entry.set_name(&record.name);
            entry.set_score(record.score);
            let mut tags = entry.init_tags(to_u32(record.tags.len())?);
            for (index, tag) in (0..).zip(&record.tags) {
                tags.set(index, tag);
            }
        }
        Ok(())
    }

    async fn blob(
        self: Rc<Self>,
        params: bench::BlobParams,
        mut results: bench::BlobResults,
    ) -> capnp::Result<()> {
        let length = usize::try_from(params.get()?.get_length()).unwrap_or(usize::MAX);
        let blob = self.blob.get(..length);
        let blob = blob.ok_or_else(|| capnp::Error::failed("longer than the body".to_owned()))?;
        results.get().set_data(blob);
        Ok(())
    }

    async fn items(self: Rc<Self>, params: bench::ItemsParams, _: bench::ItemsResults) -> capnp::Result<()> {
        let params = params.get()?;
        let sink = params.get_sink()?;
        for number in 0..params.get_count() {
            let mut request = sink.push_request();
            request.get().set_item(&data::item(number));
            // Ready as long as the window is not full.
            request.send().await?;
        }
        sink.done_request().send().promise.await?;
        Ok(())
    }
}

fn to_u32(count: usize) -> capnp::Result<u32> {
    u32::try_from(count).map_err(|error| capnp::Error::failed(error.to_string()))
}
