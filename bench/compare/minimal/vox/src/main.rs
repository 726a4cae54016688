//! A server, a client and one call of vox, after the example of its documentation.

#[vox::service]
trait Adder {
    async fn add(&self, a: i64, b: i64) -> i64;
}

#[derive(Clone)]
struct Plain;

impl Adder for Plain {
    async fn add(&self, a: i64, b: i64) -> i64 {
        a + b
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(vox::serve_listener(listener, AdderDispatcher::new(Plain)));
    let adder: AdderClient = vox::connect(address).await?;
    println!("2 + 3 = {}", adder.add(2, 3).await?);
    Ok(())
}
