//! A chat: twenty clients on streams in both directions; each gets every message, a slow one holds up nobody, and all leave in good order.

use std::collections::HashSet;
use std::error::Error;
use std::sync::Arc;

use rpc_client::Channel;
use rpc_core::{Receiver, Sender, service};
use rpc_server::Server;
use tokio::sync::{Barrier, broadcast};

type Failure = Box<dyn Error + Send + Sync>;
const CLIENTS: usize = 20;
const MESSAGES: usize = 50; // of each; all together are more than a channel's credit

#[service]
pub trait Chat {
    /// Ends when the client has said all and was sent all.
    async fn join(&self, name: &str, said: Receiver<String>, heard: Sender<String>) -> Result<(), String>;
}

/// Keeps what slow clients have not taken yet. In a chat that never ends the oldest would be lost to them.
struct Room(broadcast::Sender<String>);

impl Chat for Room {
    async fn join(
        &self,
        name: &str,
        mut said: Receiver<String>,
        mut heard: Sender<String>,
    ) -> Result<(), String> {
        let mut all = self.0.subscribe();
        heard.send(&format!("welcome, {name}")).await.map_err(text)?;
        let talk = async {
            while let Some(line) = said.recv().await.map_err(text)? {
                self.0.send(format!("{name}: {}", line.as_str())).map_err(text)?;
            }
            Ok(())
        };
        let listen = async {
            for _ in 0..CLIENTS * MESSAGES {
                let line = all.recv().await.map_err(text)?;
                heard.send(&line).await.map_err(text)?; // waits for this client only
            }
            Ok(())
        };
        tokio::try_join!(talk, listen).map(drop)
    }
}

fn text(error: impl Error) -> String {
    error.to_string()
}

/// One client. They begin when all are there; the first one is slow: it reads nothing until all others have left.
async fn client(chat: ChatClient<Channel>, number: usize, all: Arc<Barrier>) -> Result<usize, Failure> {
    let (mut said, mut heard, call) = chat.join(&format!("client {number}")).open().await?;
    heard.recv().await?.ok_or("no welcome")?;
    all.wait().await;
    for line in 0..MESSAGES {
        said.send(&format!("line {line}{:300}", ".")).await?;
    }
    said.finish()?;
    if number == 0 {
        all.wait().await;
        println!("all others have left before the slow client read a message");
    }
    let mut lines = HashSet::new();
    while let Some(line) = heard.recv().await? {
        lines.insert(line.as_str().to_owned());
    }
    call.await?;
    if number != 0 {
        all.wait().await;
    }
    Ok(lines.len())
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let room = Room(broadcast::channel(CLIENTS * MESSAGES).0);
    let server = Server::builder()
        .service(ChatServer::new(room))
        .listen("tcp://127.0.0.1:0")
        .start()?;
    let all = Arc::new(Barrier::new(CLIENTS));
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        let chat = ChatClient::new(Channel::connect(server.addresses()[0].clone()).await?);
        clients.push(tokio::spawn(client(chat, number, Arc::clone(&all))));
    }
    let mut delivered = 0;
    for client in clients {
        delivered += client.await??;
    }
    println!("{CLIENTS} clients said {MESSAGES} messages each; {delivered} were delivered");
    assert_eq!(delivered, CLIENTS * CLIENTS * MESSAGES);
    println!("connections cut off: {}", server.shutdown().await.cut_off);
    Ok(())
}
