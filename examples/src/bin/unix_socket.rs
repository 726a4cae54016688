//! One server on TCP and on a Unix socket at once; over the latter a handler knows who calls.

use std::error::Error;

use rpc_client::Channel;
use rpc_core::{Context, service};
use rpc_server::{Address, Server};

#[service]
pub trait Whoami {
    async fn whoami(&self, cx: &Context) -> String;
}

struct Mirror;

impl Whoami for Mirror {
    async fn whoami(&self, cx: &Context) -> String {
        match cx.peer().credentials {
            Some(caller) => format!(
                "user {} in process {}",
                caller.user,
                caller.process.unwrap_or_default()
            ),
            None => format!("somebody at {}", cx.peer().address),
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::temp_dir().join(format!("whoami-{}.sock", std::process::id()));
    let server = Server::builder()
        .service(WhoamiServer::new(Mirror))
        .listen("tcp://127.0.0.1:0")
        .listen(format!("unix://{}", path.display()))
        .unix_mode(0o600)
        .start()?;

    for address in server.addresses() {
        let whoami = WhoamiClient::new(Channel::connect(address.clone()).await?);
        let transport = if matches!(address, Address::Tcp { .. }) {
            "TCP"
        } else {
            "a Unix socket"
        };
        println!("over {transport} I am {}", whoami.whoami().await?.as_str());
    }

    server.shutdown().await;
    assert!(!path.exists(), "the socket file is removed with its server");
    Ok(())
}
