//! The client.

use harness::data::{self, ItemWalk, ListSums, PageWalk};
use harness::{Address, Client, Connection, Lanes, Options, Result, Task};
use tonic::transport::{Channel, Endpoint};

use crate::bench_proto::bench_client::BenchClient;
use crate::bench_proto::{Block, Length, Nothing};
use crate::settings;

/// One connection. Its handle is cloned for every call, which is how tonic wants to be shared: `Channel` says that a clone is cheap.
#[derive(Clone)]
pub(crate) struct Caller(BenchClient<Channel>);

impl Connection for Caller {
    async fn connect(address: &Address, _: &Options) -> Result<Self> {
        let uri = match address {
            Address::Tcp(socket) => format!("http://{socket}"),
            Address::Unix(path) => format!("unix://{}", path.display()),
        };
        let channel = settings::client(Endpoint::from_shared(uri)?).connect().await?;
        Ok(Self(
            BenchClient::new(channel).max_decoding_message_size(settings::MESSAGE),
        ))
    }

    fn spawn(&self, lanes: &Lanes) -> Vec<Task> {
        lanes.start(|lane| tokio::spawn(lane.run(self.clone())))
    }
}

impl Client for Caller {
    type Echo = Vec<u8>;

    async fn echo(&self, block: &data::Block) -> Result<Vec<u8>> {
        let data = block.to_vec();
        Ok(self.0.clone().echo(Block { data }).await?.into_inner().data)
    }

    async fn list(&self) -> Result<ListSums> {
        let list = self.0.clone().list(Nothing {}).await?.into_inner();
        let mut sums = ListSums::default();
        for record in &list.records {
            sums.add(record.score, record.name.len());
        }
        Ok(sums)
    }

    async fn blob(&self, length: u64) -> Result<u64> {
        let blob = self.0.clone().blob(Length { length }).await?.into_inner();
        let mut walk = PageWalk::default();
        walk.add(&blob.data);
        walk.finish()
    }

    async fn items(&self, length: u64) -> Result<u64> {
        let mut items = self.0.clone().items(Length { length }).await?.into_inner();
        let mut walk = ItemWalk::default();
        while let Some(item) = items.message().await? {
            walk.add(&item.data);
        }
        walk.finish()
    }
}
