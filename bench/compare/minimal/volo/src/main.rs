//! A server, a client and one call of volo-thrift, after the code that its own command generates.

use std::net::SocketAddr;

use generated::volo_gen::adder::{Adder, AdderClientBuilder, AdderServer};

mod generated {
    include!(concat!(env!("OUT_DIR"), "/volo_gen.rs"));
}

struct Plain;

impl Adder for Plain {
    async fn add(&self, a: i64, b: i64) -> Result<i64, volo_thrift::ServerError> {
        Ok(a + b)
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address: SocketAddr = listener.local_addr()?;
    let incoming = volo::net::incoming::DefaultIncoming::from(listener);
    tokio::spawn(AdderServer::new(Plain).run(incoming));
    let client = AdderClientBuilder::new("adder")
        .address(volo::net::Address::from(address))
        .build();
    println!("2 + 3 = {}", client.add(2, 3).await?);
    Ok(())
}
