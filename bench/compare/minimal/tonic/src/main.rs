//! A server, a client and one call of tonic, after its "hello world".

use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

use adder::adder_client::AdderClient;
use adder::adder_server::{Adder, AdderServer};
use adder::{Sum, Terms};

mod adder {
    tonic::include_proto!("adder");
}

struct Plain;

#[tonic::async_trait]
impl Adder for Plain {
    async fn add(&self, request: Request<Terms>) -> Result<Response<Sum>, Status> {
        let Terms { a, b } = request.into_inner();
        Ok(Response::new(Sum { sum: a + b }))
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let server = tonic::transport::Server::builder().add_service(AdderServer::new(Plain));
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    let mut client = AdderClient::connect(format!("http://{address}")).await?;
    println!(
        "2 + 3 = {}",
        client.add(Terms { a: 2, b: 3 }).await?.into_inner().sum
    );
    Ok(())
}
