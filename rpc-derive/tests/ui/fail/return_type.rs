use std::rc::Rc;

use rpc_core::service;

#[service]
trait Directory {
    async fn machine(&self) -> usize;
    async fn opaque(&self) -> impl ToString;
    async fn maybe(&self) -> Option<&str>;
    async fn pair(&self) -> Result<(u8, &str), u8>;
    async fn borrowed_error(&self) -> Result<u8, &str>;
    async fn counted(&self) -> Rc<u8>;
    async fn never(&self) -> !;
    async fn nested(&self) -> &Option<&str>;
}

fn main() {}
