//! The client.

use bytes::Bytes;
use harness::data::{Block, ItemWalk, ListSums, PageWalk};
use harness::{Address, Client, Connection, Lanes, Options, Result, Task};
use remoc::ConnectExt as _;
use remoc::rtc::Client as _;
use tokio::net::{TcpStream, UnixStream};

use crate::api::{Bench as _, BenchClient};
use crate::settings;

/// One connection.
#[derive(Clone)]
pub(crate) struct Caller(BenchClient);

impl Connection for Caller {
    async fn connect(address: &Address, _: &Options) -> Result<Self> {
        let mut client: BenchClient = match address {
            Address::Tcp(socket) => {
                let stream = TcpStream::connect(socket).await?;
                stream.set_nodelay(true)?;
                let (reader, writer) = stream.into_split();
                remoc::Connect::io(settings::cfg(), reader, writer)
                    .consume()
                    .await?
            }
            Address::Unix(path) => {
                let (reader, writer) = UnixStream::connect(path).await?.into_split();
                remoc::Connect::io(settings::cfg(), reader, writer)
                    .consume()
                    .await?
            }
        };
        client.set_max_response_size(settings::MESSAGE);
        Ok(Self(client))
    }

    fn spawn(&self, lanes: &Lanes) -> Vec<Task> {
        lanes.start(|lane| tokio::spawn(lane.run(self.clone())))
    }
}

impl Client for Caller {
    type Echo = Bytes;

    async fn echo(&self, block: &Block) -> Result<Bytes> {
        Ok(self.0.echo(Bytes::copy_from_slice(block)).await?)
    }

    async fn list(&self) -> Result<ListSums> {
        let mut sums = ListSums::default();
        for record in self.0.list().await?.iter() {
            sums.add(record.score, record.name.len());
        }
        Ok(sums)
    }

    async fn blob(&self, length: u64) -> Result<u64> {
        let mut walk = PageWalk::default();
        walk.add(&self.0.blob(length).await?);
        walk.finish()
    }

    async fn items(&self, count: u64) -> Result<u64> {
        let mut items = self.0.items(count).await?;
        let mut walk = ItemWalk::default();
        while let Some(item) = items.recv().await? {
            walk.add(&item);
        }
        walk.finish()
    }
}
