use rpc_core::service;


struct Sender<T>(T);
struct Receiver<T>(T);

#[service]
trait Directory {
    async fn scan(&self, prefix: &str, rows: Sender<String>) -> u64;
    async fn import(&self, rows: Receiver<String>) -> u64;
    #[rpc(oneway)]
    async fn notify(&self, text: &str);
}

fn main() {}
