use rpc_core::{Receiver, Sender, service};


#[service]
trait Directory {
    async fn none(&self, rows: Sender<>);
    async fn two(&self, rows: Receiver<String, u64>);
    async fn lifetime(&self, rows: Sender<'_, String>);
}

fn main() {}
