//! Generated items are as visible as the trait; supertraits stay.

mod inner {
    use std::fmt::Debug;

    #[rpc_core::service]
    trait Private: Debug {
        async fn f(&self);
    }

    #[rpc_core::service]
    pub(super) trait Super: Send + Sync {
        async fn f(&self);
    }

    #[rpc_core::service(name = "Directory")]
    pub(crate) trait Crate: 'static {
        async fn f(&self);
    }

    #[rpc_core::message]
    pub(super) struct Message {
        pub(super) field: u8,
    }

    fn spawn<T: Send + 'static>(_: T) {}

    pub fn private<S: Private, C>(server: &PrivateServer<S>, client: PrivateClient<C>) -> C
    where
        C: rpc_core::Caller,
    {
        let _ = server.clone();
        spawn(client.f());
        client.caller().clone()
    }
}

use inner::{Crate, CrateClient, CrateServer, SuperClient, SuperServer};

struct Store;

impl Crate for Store {
    async fn f(&self) {}
}

fn main() {
    let _ = CrateServer::new(Store);
    let _ = CrateClient::descriptor();
    let _: Option<(SuperServer<u8>, SuperClient<u8>)> = None;
    let message = inner::Message { field: 1 };
    let _ = message.field;
    let _: Option<inner::ArchivedMessage> = None;
}
