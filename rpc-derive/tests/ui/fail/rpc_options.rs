use rpc_core::service;


#[service]
trait Directory {
    #[rpc(cached)]
    async fn unknown(&self);
    #[rpc(retries = 3, idempotent)]
    async fn unknown_with_value(&self);
    #[rpc(retries(3))]
    async fn unknown_with_list(&self);
    #[rpc]
    async fn empty(&self);
    #[rpc(timeout = "2h")]
    async fn unit(&self);
    #[rpc(timeout = "0s")]
    async fn zero(&self);
    #[rpc(timeout = 2)]
    async fn number(&self);
    #[rpc(timeout)]
    async fn without_value(&self);
    #[rpc(idempotent, idempotent)]
    #[rpc(timeout = "1s", timeout = "2s")]
    async fn twice(&self);
}

fn main() {}
