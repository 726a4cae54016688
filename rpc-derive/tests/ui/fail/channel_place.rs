use rpc_core::{Receiver, Sender, message, service};

#[message]
struct Request {
    replies: Sender<String>,
}

#[service]
trait Directory {
    async fn maybe(&self, rows: Option<Sender<String>>);
    async fn several(&self, rows: Vec<Receiver<String>>);
    async fn pair(&self, rows: (Sender<String>, u8));
    async fn nested(&self, rows: Sender<Sender<String>>);
    async fn returned(&self) -> Receiver<String>;
    async fn fallible(&self) -> Result<Receiver<String>, String>;
}

fn main() {}
