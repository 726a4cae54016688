//! The client.

use std::cell::RefCell;
use std::rc::Rc;

use capnp::capability::Response;
use capnp_rpc::rpc_twoparty_capnp::Side;
use harness::data::{Block, ItemWalk, ListSums, PageWalk};
use harness::{Address, BLOCK, Client, Connection, Lanes, Options, Result, Task};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::spawn_local;

use crate::bench_capnp::bench;
use crate::settings;

/// One connection.
#[derive(Clone)]
pub(crate) struct Caller(bench::Client);

impl Connection for Caller {
    async fn connect(address: &Address, _: &Options) -> Result<Self> {
        let mut system = match address {
            Address::Tcp(socket) => {
                let stream = TcpStream::connect(socket).await?;
                stream.set_nodelay(true)?;
                let (reader, writer) = stream.into_split();
                settings::system(reader, writer, Side::Client, None)
            }
            Address::Unix(path) => {
                let (reader, writer) = UnixStream::connect(path).await?.into_split();
                settings::system(reader, writer, Side::Client, None)
            }
        };
        let caller = Self(system.bootstrap(Side::Server));
        spawn_local(system);
        // The bootstrap is a promise: this waits for what it stands for.
        caller.echo(&[0; BLOCK]).await?;
        Ok(caller)
    }

    fn spawn(&self, lanes: &Lanes) -> Vec<Task> {
        lanes.start(|lane| spawn_local(lane.run(self.clone())))
    }
}

impl Client for Caller {
    type Echo = Echo;

    async fn echo(&self, block: &Block) -> Result<Echo> {
        let mut request = self.0.echo_request();
        request.get().set_data(block);
        Ok(Echo(request.send().promise.await?))
    }

    async fn list(&self) -> Result<ListSums> {
        let response = self.0.list_request().send().promise.await?;
        let mut sums = ListSums::default();
        for record in response.get()?.get_records()? {
            sums.add(record.get_score(), record.get_name()?.to_str()?.len());
        }
        Ok(sums)
    }

    async fn blob(&self, length: u64) -> Result<u64> {
        let mut request = self.0.blob_request();
        request.get().set_length(length);
        let response = request.send().promise.await?;
        let mut walk = PageWalk::default();
        walk.add(response.get()?.get_data()?);
        walk.finish()
    }

    async fn items(&self, count: u64) -> Result<u64> {
        let sink = Rc::new(Sink::default());
        let mut request = self.0.items_request();
        request.get().set_count(count);
        request
            .get()
            .set_sink(capnp_rpc::new_client_from_rc(Rc::clone(&sink)));
        request.send().promise.await?;
        sink.0.take().finish()
    }
}

/// An echo, read where it was received.
pub(crate) struct Echo(Response<bench::echo_results::Owned>);

impl AsRef<[u8]> for Echo {
    fn as_ref(&self) -> &[u8] {
        let data = self.0.get().and_then(|results| results.get_data());
        data.unwrap_or_default()
    }
}

/// Where the server pushes items.
#[derive(Default)]
struct Sink(RefCell<ItemWalk>);

impl bench::sink::Server for Sink {
    async fn push(self: Rc<Self>, params: bench::sink::PushParams) -> capnp::Result<()> {
        self.0.borrow_mut().add(params.get()?.get_item()?);
        Ok(())
    }

    async fn done(
        self: Rc<Self>,
        _: bench::sink::DoneParams,
        _: bench::sink::DoneResults,
    ) -> capnp::Result<()> {
        Ok(())
    }
}
