//! Deadlines: by call, by client and by method; inherited by the calls that a handler makes; and what is known about a call whose time is up.

use std::error::Error;
use std::time::{Duration, Instant};

use rpc_client::Channel;
use rpc_core::{CallError, Context, Limits, service};
use rpc_server::Server;

#[service]
pub trait Back {
    /// How many milliseconds are left to the caller.
    async fn time_left(&self, cx: &Context) -> Option<u64>;
    /// Never ends.
    async fn hang(&self) -> bool;
    #[rpc(timeout = "40ms")]
    async fn impatient(&self) -> bool;
}

#[service]
pub trait Front {
    /// Asks the other service, without saying how long that may take.
    async fn time_left(&self) -> Option<u64>;
}

struct Slow;

impl Back for Slow {
    async fn time_left(&self, cx: &Context) -> Option<u64> {
        cx.time_left(Instant::now()).map(|left| left.as_millis() as u64)
    }

    async fn hang(&self) -> bool {
        std::future::pending().await
    }

    async fn impatient(&self) -> bool {
        std::future::pending().await
    }
}

struct Through(BackClient<Channel>);

impl Front for Through {
    async fn time_left(&self) -> Option<u64> {
        self.0.time_left().owned().await.ok().flatten()
    }
}

async fn show<T>(what: &str, call: impl Future<Output = Result<T, CallError>>) {
    let start = Instant::now();
    if let Err(CallError::Failed(failure)) = call.await {
        println!("{what}: gave up after {:.0?}\n    {failure}", start.elapsed());
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let limits = Limits {
        max_calls: 16,
        ..Limits::default()
    };
    let server = Server::builder().limits(limits).service(BackServer::new(Slow));
    let server = server.listen("tcp://127.0.0.1:0").start()?;
    let address = server.addresses()[0].clone();
    let back = BackClient::new(Channel::connect(address.clone()).await?);
    let front = FrontServer::new(Through(back.clone()));
    let front_server = Server::builder().service(front);
    let front_server = front_server.listen("tcp://127.0.0.1:0").start()?;
    let front = FrontClient::new(Channel::connect(front_server.addresses()[0].clone()).await?);

    let left = back.time_left().owned().await?;
    println!("without a deadline, time left: {left:?} ms");
    let left = front.time_left().timeout(Duration::from_secs(5)).owned().await?;
    println!("5 s, seen by the service behind the one that was called: {left:?} ms");
    assert!(left.is_some_and(|left| left <= 5_000), "the deadline got lost");

    let hasty = Channel::builder().call_timeout(Some(Duration::from_millis(30)));
    let hasty = BackClient::new(hasty.connect(address).await?);
    show("by call", hasty.hang().timeout(Duration::from_millis(20))).await;
    show("by client", hasty.hang()).await;
    show("by method", hasty.impatient()).await;

    // As many calls as the server takes at a time: the next one waits here, and is known not to have run.
    let running: Vec<_> = (0..16).map(|_| tokio::spawn(hasty.hang())).collect();
    tokio::task::yield_now().await;
    show("in the queue", hasty.hang().timeout(Duration::from_millis(10))).await;
    for call in running {
        assert!(call.await?.is_err_and(|error| error.may_have_run()));
    }
    front_server.shutdown().await;
    server.shutdown().await;
    Ok(())
}
