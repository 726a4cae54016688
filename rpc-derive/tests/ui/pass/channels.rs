//! Channels in every place, and one-way methods, called as clients do.

use rpc_core::stream::{RunningCall, StreamCall};
use rpc_core::{Archived, Call, CallError, Caller, Context, Receiver, Sender, message, service};

#[message]
pub struct Row {
    pub key: String,
}

/// The channel of another crate, which is not in the way.
pub mod other {
    pub struct Sender<T>(pub T);
}

#[service]
pub trait Channels {
    async fn sends(&self, rows: Sender<Row>);
    async fn receives(&self, rows: Receiver<Row>) -> u64;
    async fn both(&self, from: Receiver<(u8, String)>, into: Sender<Vec<Row>>) -> Result<Row, Row>;
    async fn by_path(&self, cx: &Context, rows: rpc_core::Sender<Option<u8>>);
    async fn mixed(&self, text: &str, rows: Sender<u8>, row: &Archived<Row>, more: Receiver<u8>, own: Row, last: u8);
    fn on_workers(&self, cx: &Context, rows: Sender<Row>, block: &[u8]) -> &Row;
    async fn r#raw(&self, r#in: Receiver<u8>) -> u8;
    #[rpc(oneway)]
    async fn notify(&self, text: &str);
    #[rpc(oneway, idempotent, timeout = "2s")]
    fn tell(&self, row: Row) -> ();
}

pub async fn call<C: Caller>(client: &ChannelsClient<C>, row: &Row) -> Result<u8, Box<dyn std::error::Error>> {
    let call: StreamCall<C, (Receiver<Row>,), ()> = client.sends();
    let (mut rows, call): (Receiver<Row>, RunningCall<C, ()>) = call.open().await?;
    if let Some(row) = rows.recv().await? {
        let _: &str = row.key.as_str();
    }
    call.await?;
    let _: StreamCall<C, (Sender<Row>,), u64> = client.receives();
    let opening: StreamCall<C, (Sender<(u8, String)>, Receiver<Vec<Row>>), Row, Row> = client.both();
    let opened = opening.open().await;
    let _: Result<(Sender<(u8, String)>, Receiver<Vec<Row>>, _), CallError<Row>> = opened;
    let _ = client.by_path();
    let _ = client.mixed("text", row, row, 7);
    let _ = client.on_workers(b"block");
    let (mut numbers, call) = client.raw().open().await?;
    numbers.send(&1).await?;
    numbers.finish()?;
    let told: Call<C, ()> = client.tell(row);
    told.await?;
    client.notify("text").await?;
    Ok(*call.await?)
}

fn main() {}
