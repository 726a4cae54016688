use rpc_core::service;


#[service]
trait Directory {
    async fn lookup<'a>(&'a self, name: &'a str) -> &'a str;
    async fn name(&self) -> &'static str;
    async fn set(&self, name: &'static str);
    async fn any(&self, name: &'_ str) -> Result<&'static str, u8>;
}

fn main() {}
