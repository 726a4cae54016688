use rpc_core::{message, service};

#[message]
struct Profile {
    name: String,
}

#[service]
trait Directory {
    async fn mutable(&self, name: &mut String);
    async fn message(&self, profile: &Profile);
    async fn archived(&self, profile: &ArchivedProfile);
    async fn slice(&self, profiles: &[Profile]);
    async fn numbers(&self, numbers: &[u64]);
    async fn dynamic(&self, text: &dyn ToString);
}

fn main() {}
