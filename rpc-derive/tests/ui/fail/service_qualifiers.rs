use rpc_core::service;


#[service]
unsafe trait Directory {
    async fn count(&self) -> u32;
}

fn main() {}
