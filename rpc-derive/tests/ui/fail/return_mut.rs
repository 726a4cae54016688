use rpc_core::service;


#[service]
trait Directory {
    async fn name(&self) -> &mut String;
    async fn fallible(&self) -> Result<&mut String, u8>;
}

fn main() {}
