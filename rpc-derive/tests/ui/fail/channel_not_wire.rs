use rpc_core::{Receiver, Sender, service};


struct Plain;

#[service]
trait Directory {
    async fn scan(&self, rows: Sender<Plain>);
    async fn import(&self, rows: Receiver<Option<Plain>>);
}

fn main() {}
