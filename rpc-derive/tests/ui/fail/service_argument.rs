use rpc_core::service;


#[service(version = 2)]
trait Directory {
    async fn count(&self) -> u32;
}

#[service(name = Other)]
trait Other {
    async fn count(&self) -> u32;
}

fn main() {}
