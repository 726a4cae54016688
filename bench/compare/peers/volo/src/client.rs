//! The client.

use bytes::Bytes;
use harness::data::{Block, ListSums, PageWalk};
use harness::{Address, BLOCK, Client, Connection, Lanes, Options, Result, Task};
use volo::net::Address as VoloAddress;

use crate::generated::volo_gen::bench::{BenchClient, BenchClientBuilder};
use crate::settings;

/// One connection, or a pool of them: see [`settings::is_multiplexed`].
#[derive(Clone)]
pub(crate) struct Caller(BenchClient);

impl Connection for Caller {
    async fn connect(address: &Address, options: &Options) -> Result<Self> {
        let address = match address {
            Address::Tcp(socket) => VoloAddress::from(*socket),
            Address::Unix(path) => VoloAddress::from(std::os::unix::net::SocketAddr::from_pathname(path)?),
        };
        let builder = BenchClientBuilder::new("bench").address(address);
        let builder = builder
            .make_codec(settings::codec())
            .multiplex(settings::is_multiplexed(options));
        let caller = Self(builder.rpc_timeout(None).build());
        // It connects with the first call.
        caller.echo(&[0; BLOCK]).await?;
        Ok(caller)
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
        for record in &self.0.list().await?.records {
            sums.add(record.score, record.name.len());
        }
        Ok(sums)
    }

    async fn blob(&self, length: u64) -> Result<u64> {
        let mut walk = PageWalk::default();
        walk.add(&self.0.blob(i64::try_from(length)?).await?);
        walk.finish()
    }

    async fn items(&self, _: u64) -> Result<u64> {
        Err("Thrift has no streams".into())
    }
}
