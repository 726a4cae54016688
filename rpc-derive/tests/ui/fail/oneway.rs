use rpc_core::{Receiver, Sender, service};


#[service]
trait Directory {
    #[rpc(oneway)]
    async fn returns(&self, text: &str) -> u64;
    #[rpc(oneway)]
    fn fails(&self, text: &str) -> Result<(), String>;
    #[rpc(oneway, idempotent)]
    async fn sends(&self, rows: Sender<String>);
    #[rpc(oneway)]
    async fn receives(&self, text: &str, rows: Receiver<String>) -> ();
    #[rpc(oneway, oneway)]
    async fn twice(&self);
    #[rpc(oneway = true)]
    async fn value(&self);
    #[rpc(idempotent = false, oneway(false))]
    async fn values(&self);
}

fn main() {}
