use rpc_core::service;


#[service]
trait Directory {
    async fn echo(&self, text: &str) -> &str;
}

struct Store;

impl Directory for Store {
    async fn echo(&self, text: &str) -> &str {
        text
    }
}

fn main() {}
