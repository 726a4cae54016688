//! A server, a client and one call of capnp-rpc, after its calculator.

use std::error::Error;
use std::rc::Rc;

use capnp_rpc::rpc_twoparty_capnp::Side;
use capnp_rpc::{RpcSystem, twoparty};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::compat::{TokioAsyncReadCompatExt, TokioAsyncWriteCompatExt};

capnp::generated_code!(mod adder_capnp);
use adder_capnp::adder;

struct Plain;

impl adder::Server for Plain {
    async fn add(
        self: Rc<Self>,
        params: adder::AddParams,
        mut results: adder::AddResults,
    ) -> capnp::Result<()> {
        let terms = params.get()?;
        results.get().set_sum(terms.get_a() + terms.get_b());
        Ok(())
    }
}

fn system(stream: TcpStream, side: Side, bootstrap: Option<capnp::capability::Client>) -> RpcSystem<Side> {
    let (reader, writer) = stream.into_split();
    let network = twoparty::VatNetwork::new(reader.compat(), writer.compat_write(), side, Default::default());
    RpcSystem::new(Box::new(network), bootstrap)
}

async fn run() -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::task::spawn_local(async move {
        let (stream, _) = listener.accept().await?;
        let plain: adder::Client = capnp_rpc::new_client(Plain);
        let served = system(stream, Side::Server, Some(plain.client)).await;
        served.map_err(std::io::Error::other)
    });
    let mut client = system(TcpStream::connect(address).await?, Side::Client, None);
    let adder: adder::Client = client.bootstrap(Side::Server);
    tokio::task::spawn_local(client);
    let mut request = adder.add_request();
    request.get().set_a(2);
    request.get().set_b(3);
    println!("2 + 3 = {}", request.send().promise.await?.get()?.get_sum());
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    tokio::task::LocalSet::new().run_until(run()).await
}
