use rpc_core::service;


#[service]
trait Directory {
    async fn count(&self) -> u32;
    #[cfg(unix)]
    async fn credentials(&self) -> u32;
}

fn main() {}
