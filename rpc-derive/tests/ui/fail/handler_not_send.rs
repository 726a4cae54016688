use std::rc::Rc;

use rpc_core::service;

#[service]
trait Directory {
    async fn count(&self) -> u32;
}

struct Store;

impl Directory for Store {
    async fn count(&self) -> u32 {
        let count = Rc::new(1);
        std::future::ready(()).await;
        *count
    }
}

fn main() {}
