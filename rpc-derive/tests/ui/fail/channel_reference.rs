use rpc_core::{Receiver, Sender, service};


#[service]
trait Directory {
    async fn scan(&self, prefix: &str, rows: &Sender<String>) -> u64;
    async fn import(&self, rows: &mut Receiver<String>) -> u64;
    fn on_workers(&self, rows: &mut rpc_core::Sender<String>) -> u64;
}

fn main() {}
