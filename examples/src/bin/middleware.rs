//! Middleware on both sides: who calls what and how it ends; a server that sheds load, and a client that tries again within its budget.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use rpc_client::Channel;
use rpc_client::layers::Retry;
use rpc_core::incoming::{Completed, IncomingCall};
use rpc_core::{
    Answer, CallFailure, Caller, ClientMiddleware, Dispatch, OutgoingCall, ServerMiddleware, service,
};
use rpc_server::Server;
use rpc_server::layers::{ConcurrencyLimit, Timeout};

#[service]
pub trait Kitchen {
    async fn cook(&self, dish: &str) -> String;
}

struct OneStove;

impl Kitchen for OneStove {
    async fn cook(&self, dish: &str) -> String {
        tokio::time::sleep(Duration::from_millis(20)).await;
        format!("{dish}, hot")
    }
}

/// Says what passes, and how it ends.
struct Log(&'static str);

impl ClientMiddleware for Log {
    async fn call<C: Caller>(&self, mut call: OutgoingCall, next: &C) -> Result<Answer, CallFailure> {
        let (at, method, sent) = (self.0, call.method.name, call.len());
        // Metadata that is too long would be left out.
        let _ = call.metadata.insert("tenant", "blue");
        let outcome = next.start(call).await;
        match &outcome {
            Ok(answer) => println!("{at}: {method}, {sent} bytes there, {} back", answer.len()),
            Err(failure) => println!("{at}: {method}, {failure}"),
        }
        outcome
    }
}

impl ServerMiddleware for Log {
    async fn call<D: Dispatch>(&self, call: IncomingCall, next: &D) -> Completed {
        let (at, got) = (self.0, call.len());
        let method = next.method_of(&call).map_or("?", |method| method.name);
        let tenant = call.context.metadata().get_str("tenant").map(str::to_owned);
        let completed = next.dispatch(call).await;
        let (code, len) = (completed.code(), completed.len());
        println!("{at}: {method} for {tenant:?}: {code}, {got} bytes in, {len} out");
        completed
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // The layer added last is the outermost: it sees a call first.
    let kitchen = KitchenServer::new(OneStove)
        .layer(Timeout::new(Duration::from_secs(1)))
        .layer(ConcurrencyLimit::new(1).shed())
        .layer(Log("server"));
    let server = Server::builder()
        .service(kitchen)
        .listen("tcp://127.0.0.1:0")
        .start()?;

    let retry = Arc::new(Retry::new().attempts(8));
    let channel = Channel::connect(server.addresses()[0].clone()).await?;
    // Inside of the retries, each attempt is logged.
    let caller = channel.layer(Log("client")).layer(Arc::clone(&retry));
    let kitchen = KitchenClient::new(caller);
    let (soup, bread) = tokio::join!(kitchen.cook("soup"), kitchen.cook("bread"));
    println!("{} and {}", soup?.as_str(), bread?.as_str());
    println!("{} retries are left in the budget", retry.budget_left());
    server.shutdown().await;
    Ok(())
}
