//! The client: a call per method.

use harness::data::PageWalk;
use harness::{Address, Block, Client, Connection, Lanes, ListSums, Options, Result, Task};
use serde_bytes::ByteArray;
use tarpc::client::Config;
use tarpc::context;
use tokio::net::{TcpStream, UnixStream};

use crate::service::CompareClient;
use crate::transport::{QUEUED, Socket, framed};

/// A client, and the task behind it.
#[derive(Clone)]
pub(crate) struct TarpcClient(CompareClient);

impl TarpcClient {
    fn over(socket: impl Socket) -> Self {
        let mut config = Config::default();
        config.pending_request_buffer = QUEUED;
        Self(CompareClient::new(config, framed(socket)).spawn())
    }
}

impl Connection for TarpcClient {
    async fn connect(address: &Address, _: &Options) -> Result<Self> {
        Ok(match address {
            Address::Tcp(address) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                Self::over(stream)
            }
            Address::Unix(path) => Self::over(UnixStream::connect(path).await?),
        })
    }

    fn spawn(&self, lanes: &Lanes) -> Vec<Task> {
        lanes.start(|lane| tokio::spawn(lane.run(self.clone())))
    }
}

impl Client for TarpcClient {
    type Echo = Block;

    async fn echo(&self, block: &Block) -> Result<Block> {
        let echo = self.0.echo(context::current(), ByteArray::new(*block)).await?;
        Ok(echo.into_array())
    }

    async fn list(&self) -> Result<ListSums> {
        let mut sums = ListSums::default();
        for record in self.0.list(context::current()).await?.iter() {
            sums.add(record.score, record.name.len());
        }
        Ok(sums)
    }

    async fn blob(&self, _: u64) -> Result<u64> {
        let mut walk = PageWalk::default();
        walk.add(&self.0.blob(context::current()).await?);
        walk.finish()
    }

    async fn items(&self, _: u64) -> Result<u64> {
        Err("tarpc has no streams".into())
    }
}
