//! The client.

use harness::data::{Block, ItemWalk, ListSums, PageWalk};
use harness::{Address, Client, Connection, Lanes, Options, Result, Task};

use crate::api::BenchClient;

/// One connection.
#[derive(Clone)]
pub(crate) struct Caller(BenchClient);

impl Connection for Caller {
    async fn connect(address: &Address, _: &Options) -> Result<Self> {
        let address = match address {
            Address::Tcp(socket) => format!("tcp://{socket}"),
            Address::Unix(path) => format!("local://{}", path.display()),
        };
        Ok(Self(vox::connect(address).await?))
    }

    fn spawn(&self, lanes: &Lanes) -> Vec<Task> {
        lanes.start(|lane| tokio::spawn(lane.run(self.clone())))
    }
}

impl Client for Caller {
    type Echo = Vec<u8>;

    async fn echo(&self, block: &Block) -> Result<Vec<u8>> {
        Ok(self.0.echo(block.to_vec()).await?)
    }

    async fn list(&self) -> Result<ListSums> {
        let mut sums = ListSums::default();
        for record in self.0.list().await? {
            sums.add(record.score, record.name.len());
        }
        Ok(sums)
    }

    async fn blob(&self, length: u64) -> Result<u64> {
        let mut walk = PageWalk::default();
        self.0.blob(length).await?.map(|blob| walk.add(blob));
        walk.finish()
    }

    async fn items(&self, count: u64) -> Result<u64> {
        let (sender, mut receiver) = vox::channel();
        let receive = async {
            let mut walk = ItemWalk::default();
            while let Some(item) = receiver.recv().await? {
                item.map(|item: Vec<u8>| walk.add(&item));
            }
            walk.finish()
        };
        let (answer, items) = tokio::join!(self.0.items(count, sender), receive);
        answer?;
        items
    }
}
