use rpc_core::service;


#[service]
trait Directory {
    async fn io(&self) -> std::io::Result<u8>;
}

fn main() {}
