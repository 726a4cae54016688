//! The client: a call per method, and two ways of waiting for its answer.

use std::sync::Arc;

use harness::data::{ItemWalk, PageWalk};
use harness::{
    Address, Block, Call, Client, Connection, Lane, LaneReport, Lanes, Latencies, ListSums, Options,
};
use harness::{Result, Task, data};
use rpc_client::Channel;
use rpc_client::blocking::BlockingChannel;
use rpc_core::Reply;
use tokio::task::spawn_blocking;

use crate::service::CompareClient;
use crate::{CHANNEL_CONNECTIONS, busy_poll, limits};

/// A channel to the server, and who waits for its answers.
pub(crate) enum Ours {
    /// Tasks of the runtime.
    Tasks(AsyncClient),
    /// A thread that blocks.
    Thread(Arc<BlockingClient>),
}

impl Connection for Ours {
    async fn connect(address: &Address, options: &Options) -> Result<Self> {
        if options.blocking {
            let (address, options) = (address.clone(), options.clone());
            let client = spawn_blocking(move || BlockingClient::connect(&address, &options)).await??;
            return Ok(Self::Thread(Arc::new(client)));
        }
        Ok(Self::Tasks(AsyncClient::connect(address, options).await?))
    }

    fn spawn(&self, lanes: &Lanes) -> Vec<Task> {
        match self {
            Self::Tasks(client) => lanes.start(|lane| tokio::spawn(lane.run(client.clone()))),
            Self::Thread(client) => lanes.start(|lane| {
                let client = Arc::clone(client);
                spawn_blocking(move || client.run(&lane))
            }),
        }
    }
}

/// The client as tasks use it.
#[derive(Clone)]
pub(crate) struct AsyncClient(CompareClient<Channel>);

impl AsyncClient {
    async fn connect(address: &Address, options: &Options) -> Result<Self> {
        let connections = options.extra(CHANNEL_CONNECTIONS).map_or(Ok(1), str::parse)?;
        let channel = Channel::builder()
            .limits(limits(options))
            .connections(connections)
            .busy_poll(busy_poll(options)?)
            .connect(address.to_string());
        Ok(Self(CompareClient::new(channel.await?)))
    }
}

/// An echo, where it was received.
pub(crate) struct Echo(Reply<Block>);

impl AsRef<[u8]> for Echo {
    fn as_ref(&self) -> &[u8] {
        &*self.0
    }
}

impl Client for AsyncClient {
    type Echo = Echo;

    async fn echo(&self, block: &Block) -> Result<Echo> {
        Ok(Echo(self.0.echo(block).await?))
    }

    async fn list(&self) -> Result<ListSums> {
        let mut sums = ListSums::default();
        for record in self.0.list().await?.iter() {
            sums.add(record.score.to_native(), record.name.len());
        }
        Ok(sums)
    }

    async fn blob(&self, len: u64) -> Result<u64> {
        let mut walk = PageWalk::default();
        walk.add(&self.0.blob(len).await?);
        walk.finish()
    }

    async fn items(&self, count: u64) -> Result<u64> {
        let (mut items, call) = self.0.items(count).open().await?;
        let mut walk = ItemWalk::default();
        while let Some(item) = items.recv().await? {
            walk.add(&*item);
        }
        if call.await?.to_native() != count {
            return Err(data::wrong("the end of the stream"));
        }
        walk.finish()
    }
}

/// The client as a program without a runtime uses it.
pub(crate) struct BlockingClient(CompareClient<BlockingChannel>);

impl BlockingClient {
    fn connect(address: &Address, options: &Options) -> Result<Self> {
        let channel = BlockingChannel::builder()
            .limits(limits(options))
            .busy_poll(busy_poll(options)?)
            .connect_blocking(address.to_string())?;
        Ok(Self(CompareClient::new(channel)))
    }

    /// Makes echo calls until the lane is over.
    fn run(&self, lane: &Lane) -> Result<LaneReport> {
        let mut latencies = Latencies::new(lane.takes_latencies);
        let mut calls = 0;
        while !lane.until.is_over(calls) {
            let block = data::block(lane.number, calls);
            if *self.0.echo(&block).wait()? != block {
                return Err(data::wrong("the echo"));
            }
            calls += 1;
            latencies.lap();
        }
        Ok(LaneReport {
            operations: calls,
            bytes: calls * harness::BLOCK as u64,
            latencies,
        })
    }
}

/// Whether the blocking client can do it.
pub(crate) fn can_block_for(call: Call) -> bool {
    call == Call::Echo
}
