//! A client without a runtime: the threads that call do the work, over one connection.

use std::error::Error;
use std::thread;
use std::time::Duration;

use rpc_client::blocking::BlockingChannel;
use rpc_core::{CallError, service};
use rpc_server::Server;

#[service]
pub trait Dictionary {
    async fn longest(&self, text: &str) -> Option<String>;
    async fn translate(&self, word: &str) -> Result<String, String>;
}

struct German;

impl Dictionary for German {
    async fn longest(&self, text: &str) -> Option<String> {
        let longest = text.split_whitespace().max_by_key(|word| word.len());
        longest.map(str::to_owned)
    }

    async fn translate(&self, word: &str) -> Result<String, String> {
        match word {
            "thread" => Ok("Faden".into()),
            "socket" => Ok("Steckdose".into()),
            _ => Err(format!("no word for {word}")),
        }
    }
}

// No `async`, no runtime: the server of this example has threads of its own.
fn main() -> Result<(), Box<dyn Error>> {
    let server = Server::builder()
        .service(DictionaryServer::new(German))
        .listen("tcp://127.0.0.1:0")
        .start()?;

    let channel = BlockingChannel::connect(server.addresses()[0].clone())?;
    let dictionary = DictionaryClient::new(channel);
    let longest = dictionary.longest("a thread reads").wait()?;
    println!("longest: {:?}", longest.as_ref().map(|word| word.as_str()));

    // Clones share the connection; one of the threads that wait reads for all.
    let threads = ["thread", "socket", "future"].map(|word| {
        let dictionary = dictionary.clone();
        thread::spawn(move || {
            let call = dictionary.translate(word).timeout(Duration::from_secs(1));
            (word, call.owned().wait())
        })
    });
    for thread in threads {
        match thread.join().map_err(|_| "a thread panicked")? {
            (word, Ok(translated)) => println!("{word}: {translated}"),
            (word, Err(CallError::Method(reason))) => println!("{word}: {reason}"),
            (_, Err(failed)) => return Err(failed.into()),
        }
    }
    drop(dictionary);
    server.shutdown_blocking();
    Ok(())
}
