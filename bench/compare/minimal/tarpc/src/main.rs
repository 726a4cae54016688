//! A server, a client and one call of tarpc, after the example in its README.

use futures::StreamExt;
use tarpc::server::{BaseChannel, Channel};
use tarpc::tokio_serde::formats::Bincode;
use tarpc::{client, context, serde_transport};

#[tarpc::service]
trait Adder {
    async fn add(a: i64, b: i64) -> i64;
}

#[derive(Clone)]
struct Plain;

impl Adder for Plain {
    async fn add(self, _: context::Context, a: i64, b: i64) -> i64 {
        a + b
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut listener = serde_transport::tcp::listen("127.0.0.1:0", Bincode::default).await?;
    let address = listener.local_addr();
    tokio::spawn(async move {
        while let Some(Ok(transport)) = listener.next().await {
            let requests = BaseChannel::with_defaults(transport).execute(Plain.serve());
            tokio::spawn(requests.for_each(|response| async {
                tokio::spawn(response);
            }));
        }
    });
    let transport = serde_transport::tcp::connect(address, Bincode::default).await?;
    let adder = AdderClient::new(client::Config::default(), transport).spawn();
    println!("2 + 3 = {}", adder.add(context::current(), 2, 3).await?);
    Ok(())
}
