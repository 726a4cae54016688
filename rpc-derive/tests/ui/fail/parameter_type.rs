use std::sync::Arc;

use rpc_core::{Archived, service};

#[service]
trait Directory {
    async fn maybe(&self, name: Option<&str>);
    async fn pair(&self, pair: (u32, &[u8]));
    async fn opaque(&self, text: impl ToString);
    async fn dynamic(&self, text: Box<dyn ToString>);
    async fn machine(&self, count: usize);
    async fn shared(&self, name: Arc<String>);
    async fn nested(&self, archived: Vec<Archived<String>>);
    async fn itself(&self, other: Self);
    async fn function(&self, callback: fn(u32));
}

fn main() {}
