//! Cancelling: whoever drops a call stops its handler, wherever that runs; and a stream ends on both sides.

use std::error::Error;

use rpc_client::Channel;
use rpc_core::{Context, Sender, service};
use rpc_server::Server;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

#[service]
pub trait Work {
    /// Never ends by itself.
    async fn wait(&self) -> u32;
    /// Nor this, on the worker pool: nobody can stop a thread, so it asks.
    fn compute(&self, cx: &Context) -> u64;
    /// Counts until nobody listens.
    async fn count(&self, numbers: Sender<u64>);
}

/// Tells what happens in the handlers.
struct Worker(UnboundedSender<String>);

impl Worker {
    fn tell(&self, what: &str) {
        let _ = self.0.send(what.to_owned());
    }
}

/// Dropped with the handler's future.
struct Guard<'a>(&'a Worker);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.0.tell("the handler was dropped");
    }
}

impl Work for Worker {
    async fn wait(&self) -> u32 {
        let _guard = Guard(self);
        self.tell("the handler runs");
        std::future::pending().await
    }

    fn compute(&self, cx: &Context) -> u64 {
        self.tell("the job runs");
        let rounds = (0..).take_while(|_| !cx.is_cancelled()).count();
        self.tell("the job has seen that its caller is gone");
        rounds as u64
    }

    async fn count(&self, mut numbers: Sender<u64>) {
        let _guard = Guard(self);
        while numbers.send(&1).await.is_ok() {}
        self.tell("the handler sees that nobody listens");
    }
}

async fn next(told: &mut UnboundedReceiver<String>) {
    println!("  {}", told.recv().await.unwrap_or_default());
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (tell, mut told) = unbounded_channel();
    let server = Server::builder().service(WorkServer::new(Worker(tell)));
    let server = server.listen("tcp://127.0.0.1:0").start()?;
    let work = WorkClient::new(Channel::connect(server.addresses()[0].clone()).await?);

    println!("an async handler:");
    let call = tokio::spawn(work.wait());
    next(&mut told).await;
    call.abort(); // drops the call
    next(&mut told).await;

    println!("a job on the worker pool:");
    let call = tokio::spawn(work.compute());
    next(&mut told).await;
    call.abort();
    next(&mut told).await;

    println!("a stream whose receiver is dropped, while its call goes on:");
    let (mut numbers, call) = work.count().open().await?;
    numbers.recv().await?;
    drop(numbers);
    call.await?;
    next(&mut told).await;
    next(&mut told).await;

    println!("a stream whose call is dropped:");
    let (mut numbers, call) = work.count().open().await?;
    numbers.recv().await?;
    drop(call);
    next(&mut told).await;
    while let Ok(number) = numbers.recv().await {
        assert!(number.is_some(), "a clean end");
    }
    server.shutdown().await;
    Ok(())
}
