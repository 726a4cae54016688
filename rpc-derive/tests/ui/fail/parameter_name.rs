use rpc_core::service;


#[service]
trait Directory {
    async fn pattern(&self, (a, b): (u32, u32));
    async fn wildcard(&self, _: u32);
    async fn mutable(&self, mut number: u32);
}

fn main() {}
