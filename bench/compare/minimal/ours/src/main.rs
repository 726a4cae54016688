//! A server, a client and one call of this project.

#[rpc_core::service]
pub trait Adder {
    async fn add(&self, a: i64, b: i64) -> i64;
}

struct Plain;

impl Adder for Plain {
    async fn add(&self, a: i64, b: i64) -> i64 {
        a + b
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = rpc_server::Server::builder()
        .service(AdderServer::new(Plain))
        .listen("tcp://127.0.0.1:0")
        .start()?;
    let channel = rpc_client::Channel::connect(server.addresses()[0].clone()).await?;
    println!("2 + 3 = {}", AdderClient::new(channel).add(2, 3).owned().await?);
    Ok(())
}
