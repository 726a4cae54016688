//! Every shape of return value, implemented as servers do.

use std::sync::Arc;

use rpc_core::{Call, Caller, message, service};

#[message]
#[derive(Clone)]
pub struct Profile {
    pub name: String,
}

#[message]
pub struct Failure;

#[service]
pub trait Returns {
    async fn nothing(&self);
    async fn unit(&self) -> ();
    async fn value(&self) -> Profile;
    async fn reference(&self, key: &str) -> &Profile;
    async fn text(&self) -> &str;
    async fn slice(&self, prefix: &[u8]) -> &[Profile];
    async fn shared(&self) -> Arc<Profile>;
    async fn shared_text(&self) -> Arc<str>;
    async fn fallible(&self) -> Result<Profile, Failure>;
    async fn fallible_reference(&self, key: &str) -> std::result::Result<&Profile, Failure>;
    async fn fallible_shared(&self) -> Result<Arc<[Profile]>, Failure>;
    fn on_workers(&self, key: &str) -> Result<&str, Failure>;
    fn future(&self) -> u8;
}

pub struct Store {
    profiles: Vec<Profile>,
}

impl Returns for Store {
    async fn nothing(&self) {}

    async fn unit(&self) {}

    async fn value(&self) -> Profile {
        self.profiles[0].clone()
    }

    async fn reference(&self, key: &str) -> &Profile {
        let found = self.profiles.iter().find(|profile| profile.name == key);
        std::future::ready(()).await;
        found.unwrap_or(&self.profiles[0])
    }

    async fn text(&self) -> &str {
        &self.profiles[0].name
    }

    async fn slice(&self, prefix: &[u8]) -> &[Profile] {
        &self.profiles[prefix.len()..]
    }

    async fn shared(&self) -> Arc<Profile> {
        Arc::new(self.profiles[0].clone())
    }

    async fn shared_text(&self) -> Arc<str> {
        "text".into()
    }

    async fn fallible(&self) -> Result<Profile, Failure> {
        Err(Failure)
    }

    async fn fallible_reference(&self, _key: &str) -> Result<&Profile, Failure> {
        Ok(&self.profiles[0])
    }

    async fn fallible_shared(&self) -> Result<Arc<[Profile]>, Failure> {
        Ok(self.profiles.as_slice().into())
    }

    fn on_workers(&self, _key: &str) -> Result<&str, Failure> {
        Ok(&self.profiles[0].name)
    }

    fn future(&self) -> u8 {
        7
    }
}

pub fn types<C: Caller>(client: &ReturnsClient<C>) -> (Call<C, Vec<Profile>>, Call<C, String, Failure>) {
    (client.slice(b""), client.on_workers("key"))
}

fn main() {
    let _ = ReturnsServer::new(Store { profiles: vec![] });
}
