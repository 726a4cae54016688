use rpc_core::service;


#[service]
trait Directory {
    async fn count(&self) -> u32;
    fn count(&self) -> u64;
}

fn main() {}
