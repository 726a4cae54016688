//! The smallest complete program: a service, a server, a client.

use std::collections::HashMap;
use std::error::Error;
use std::time::Duration;

use rpc_client::Channel;
use rpc_core::{message, service};
use rpc_server::Server;

#[message]
pub struct Profile {
    pub name: String,
    pub tags: Vec<String>,
    pub score: f64,
}

#[service]
pub trait Directory {
    /// `name` borrows from the receive buffer; the profile is sent from where it is.
    async fn lookup(&self, name: &str) -> Result<&Profile, String>;
}

struct InMemory(HashMap<String, Profile>);

impl Directory for InMemory {
    async fn lookup(&self, name: &str) -> Result<&Profile, String> {
        self.0.get(name).ok_or_else(|| format!("no profile of {name}"))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let ada = Profile {
        name: "ada".into(),
        tags: vec!["engine".into(), "notes".into()],
        score: 9.5,
    };
    let service = InMemory(HashMap::from([(ada.name.clone(), ada)]));
    let server = Server::builder()
        .service(DirectoryServer::new(service))
        .listen("tcp://127.0.0.1:0")
        .start()?;

    let directory = DirectoryClient::new(Channel::connect(server.addresses()[0].clone()).await?);
    let profile = directory.lookup("ada").await?; // validated once, read in place
    println!(
        "{} has score {} and {} tags",
        profile.name,
        profile.score,
        profile.tags.len()
    );
    if let Err(error) = directory.lookup("bob").timeout(Duration::from_secs(1)).await {
        println!("{error}");
    }
    server.shutdown().await;
    Ok(())
}
