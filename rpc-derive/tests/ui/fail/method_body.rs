use rpc_core::service;


#[service]
trait Directory {
    async fn count(&self) -> u32 {
        0
    }
}

fn main() {}
