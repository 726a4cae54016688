use rpc_core::service;


#[service]
trait Directory {
    async fn new(&self) -> u32;
    async fn caller(&self) -> u32;
    async fn descriptor(&self) -> u32;
    async fn clone(&self) -> u32;
}

fn main() {}
