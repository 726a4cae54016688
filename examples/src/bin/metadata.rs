//! Metadata: what travels besides arguments and values, with a call, a reply, an error and the end of a stream; and trace context.

use std::error::Error;

use rpc_client::Channel;
use rpc_core::trace::{TRACEPARENT, TraceContext};
use rpc_core::{CallError, Context, Metadata, Sender, service};
use rpc_server::Server;

#[service]
pub trait Orders {
    async fn place(&self, cx: &Context, item: &str) -> Result<u64, String>;
    async fn list(&self, names: Sender<String>);
    /// Which trace and step the call belongs to.
    async fn trace(&self, cx: &Context) -> Option<String>;
}

struct Shop;

impl Orders for Shop {
    async fn place(&self, cx: &Context, item: &str) -> Result<u64, String> {
        let tenant = cx.metadata().get_str("tenant").ok_or("who is asking?")?;
        let note = format!("{tenant} has 2 calls left");
        // It goes with the answer, whichever that is.
        cx.add_reply_metadata("quota", note)
            .map_err(|error| error.to_string())?;
        match item {
            "tea" => Ok(1_701),
            _ => Err(format!("no {item} in stock")),
        }
    }

    async fn list(&self, mut names: Sender<String>) {
        for name in ["tea", "biscuits"] {
            if names.send(&name.to_owned()).await.is_err() {
                return;
            }
        }
        let mut end = Metadata::new();
        if end.insert("next-page", "none").is_ok() {
            let _ = names.finish_with(end);
        }
    }

    async fn trace(&self, cx: &Context) -> Option<String> {
        let trace = TraceContext::of(cx.metadata())?;
        Some(format!("{:032x}", trace.trace_id()))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let server = Server::builder()
        .service(OrdersServer::new(Shop))
        .listen("tcp://127.0.0.1:0")
        .start()?;
    let orders = OrdersClient::new(Channel::connect(server.addresses()[0].clone()).await?);
    let mut metadata = Metadata::new();
    metadata.insert("tenant", "blue")?;
    metadata.insert("authorization", "Bearer 0123456789")?;
    metadata.insert("binary", [0, 159, 146, 150])?;
    println!("sent: {metadata:?}"); // secrets are not shown

    let reply = orders.place("tea").metadata(metadata.clone()).await?;
    println!("order {}; with the reply came {:?}", *reply, reply.metadata());

    let (result, received) = orders.place("coffee").metadata(metadata).detailed().await;
    if let Err(CallError::Method(error)) = result {
        println!("{error}; with the error came {received:?}");
    }
    if let Err(error) = orders.place("tea").await {
        println!("without metadata: {error}");
    }

    let (mut names, call) = orders.list().open().await?;
    while let Some(name) = names.recv().await? {
        println!("listed {}", name.as_str());
    }
    println!("with the end came {:?}", names.end_metadata());
    call.await?;

    // With the feature `tracing` this happens by itself, on every call.
    let trace = TraceContext::root();
    let mut metadata = Metadata::new();
    metadata.insert(TRACEPARENT, trace.child().to_string())?;
    let seen = orders.trace().metadata(metadata).owned().await?;
    println!("the handler belongs to trace {}", seen.as_deref().unwrap_or("-"));
    assert_eq!(seen, Some(format!("{:032x}", trace.trace_id())));
    server.shutdown().await;
    Ok(())
}
