//! A server, a client and one call of remoc, after the example of its `rtc` module.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;

use remoc::prelude::*;
use remoc::rtc::CallError;
use tokio::net::{TcpListener, TcpStream};

#[rtc::remote]
trait Adder {
    async fn add(&self, a: i64, b: i64) -> Result<i64, CallError>;
}

struct Plain;

impl Adder for Plain {
    async fn add(&self, a: i64, b: i64) -> Result<i64, CallError> {
        Ok(a + b)
    }
}

async fn serve(listener: TcpListener) -> Result<(), Box<dyn Error>> {
    let (reader, writer) = listener.accept().await?.0.into_split();
    let (server, client): (_, AdderClient) = AdderServerShared::new(Arc::new(Plain));
    remoc::Connect::io(remoc::Cfg::default(), reader, writer)
        .provide(client)
        .await?;
    server.serve().await?;
    Ok(())
}

async fn call(address: SocketAddr) -> Result<i64, Box<dyn Error>> {
    let (reader, writer) = TcpStream::connect(address).await?.into_split();
    let adder: AdderClient = remoc::Connect::io(remoc::Cfg::default(), reader, writer)
        .consume()
        .await?;
    Ok(adder.add(2, 3).await?)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let (served, sum) = tokio::join!(serve(listener), call(address));
    served?;
    println!("2 + 3 = {}", sum?);
    Ok(())
}
