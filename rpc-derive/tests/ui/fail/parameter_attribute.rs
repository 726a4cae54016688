use rpc_core::service;


#[service]
trait Directory {
    async fn lookup(&self, #[allow(unused)] name: &str);
}

fn main() {}
