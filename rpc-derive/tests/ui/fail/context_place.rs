use rpc_core::{Context, service};

#[service]
trait Directory {
    async fn last(&self, name: &str, cx: &Context);
    async fn owned(&self, cx: Context);
    async fn twice(&self, a: &Context, b: &Context);
}

fn main() {}
