use rpc_core::{Archived, Receiver, Sender, service};


#[service]
trait Directory {
    async fn machine(&self, rows: Sender<usize>);
    async fn text(&self, rows: Receiver<&str>);
    async fn slice(&self, rows: Sender<&[u8]>);
    async fn shared(&self, rows: Sender<std::sync::Arc<String>>);
    async fn archived(&self, rows: Receiver<Archived<String>>);
    async fn dynamic(&self, rows: Sender<Box<dyn ToString>>);
    async fn itself(&self, rows: Sender<Box<Self>>);
}

fn main() {}
