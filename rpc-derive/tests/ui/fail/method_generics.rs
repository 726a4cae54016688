use rpc_core::service;


#[service]
trait Directory {
    async fn store<T>(&self, value: T);
    async fn block<const N: usize>(&self, block: [u8; N]);
    async fn bounded(&self)
    where
        Self: Clone;
}

fn main() {}
