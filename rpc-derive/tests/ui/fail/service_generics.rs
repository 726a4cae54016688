use rpc_core::service;


#[service]
trait Directory<T, const N: usize> {
    async fn count(&self) -> u32;
}

#[service]
trait Lifetime<'a> {
    async fn count(&self) -> u32;
}

#[service]
trait Bounded
where
    Self: Clone,
{
    async fn count(&self) -> u32;
}

fn main() {}
