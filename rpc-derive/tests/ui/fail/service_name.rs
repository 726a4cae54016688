use rpc_core::service;


#[service(name = "a.b")]
trait Dotted {
    async fn count(&self) -> u32;
}

#[service(name = "")]
trait Empty {
    async fn count(&self) -> u32;
}

fn main() {}
