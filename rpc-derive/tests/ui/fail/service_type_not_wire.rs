use rpc_core::service;


struct Plain;

#[service]
trait Directory {
    async fn put(&self, plain: Plain);
    async fn take(&self) -> Option<Plain>;
    async fn fallible(&self) -> Result<(), Plain>;
}

fn main() {}
