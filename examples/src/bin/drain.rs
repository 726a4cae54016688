//! Shutdown in good order: what was taken is finished, whatever is in flight; nothing is lost, and the client goes on with the next server.

use std::error::Error;
use std::time::Duration;

use rpc_client::Channel;
use rpc_core::{Receiver, Sender, service};
use rpc_server::{Server, StartError};
use tokio::sync::Semaphore;

#[service]
pub trait Work {
    /// Ends when it may.
    async fn slow(&self, number: u32) -> u32;
    /// Sends back what it gets.
    async fn echo(&self, items: Receiver<u32>, back: Sender<u32>) -> u32;
    /// Which server this is.
    async fn name(&self) -> String;
}

/// How many calls of `slow` may end.
static MAY_END: Semaphore = Semaphore::const_new(0);

struct Worker(&'static str);

impl Work for Worker {
    async fn slow(&self, number: u32) -> u32 {
        if let Ok(permit) = MAY_END.acquire().await {
            permit.forget();
        }
        number
    }

    async fn echo(&self, mut items: Receiver<u32>, mut back: Sender<u32>) -> u32 {
        let mut count = 0;
        while let Ok(Some(item)) = items.recv().await {
            count += u32::from(back.send(&item.to_native()).await.is_ok());
        }
        count
    }

    async fn name(&self) -> String {
        self.0.to_owned()
    }
}

fn start(name: &'static str, address: &str) -> Result<Server, StartError> {
    let service = WorkServer::new(Worker(name));
    Server::builder().service(service).listen(address).start()
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::temp_dir().join(format!("drain-{}.sock", std::process::id()));
    let address = format!("unix://{}", path.display());
    let first = start("the first server", &address)?;
    let work = WorkClient::new(Channel::connect(address.as_str()).await?);

    let calls: Vec<_> = (0..50)
        .map(|number| tokio::spawn(work.slow(number).owned()))
        .collect();
    let (mut items, mut back, echo) = work.echo().open().await?;
    let name = work.name().owned().await?;
    println!("in flight: {} calls and a stream with {name}", calls.len());

    // It takes nothing more, and its socket file is free for the next one.
    let draining = tokio::spawn(first.shutdown());
    let second = loop {
        match start("the second server", &address) {
            Err(StartError::Bind(_)) => tokio::time::sleep(Duration::from_millis(1)).await,
            started => break started?,
        }
    };
    // A call that came too late would not have run, and could be made again.
    let name = work.name().owned().await?;
    println!("a new call is answered by {name}");
    for item in 0..1_000 {
        items.send(&item).await?;
        back.recv().await?.ok_or("the stream was cut off")?;
    }
    items.finish()?;
    let count = echo.await?.to_native();
    println!("the stream goes on during the drain: {count} items, then a clean end");
    MAY_END.add_permits(calls.len());
    for (number, call) in (0..).zip(calls) {
        assert_eq!(call.await??, number);
    }
    let cut_off = draining.await?.cut_off;
    println!("all calls were answered; connections cut off: {cut_off}");
    second.shutdown().await;
    Ok(())
}
