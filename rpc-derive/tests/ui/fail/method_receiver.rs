use rpc_core::service;


#[service]
trait Directory {
    async fn without() -> u32;
    async fn by_value(self) -> u32;
    async fn exclusive(&mut self) -> u32;
    async fn shared(self: std::sync::Arc<Self>) -> u32;
    async fn first(name: &str) -> u32;
}

fn main() {}
