use rpc_core::service;


#[service]
trait Directory {
    type Error;
    const LIMIT: u32;
    vec![];
    async fn count(&self) -> u32;
}

#[service]
trait Nothing {}

fn main() {}
