use rpc_core::{Dispatch, message, service};

#[message]
struct Profile {
    name: String,
}

/// Each line that is wrong is reported, and what uses the service is not.
#[service]
trait Directory {
    async fn count(&self) -> usize;
    async fn lookup(&self, profile: &Profile) -> String;
    #[rpc(cached)]
    async fn fine(&self, name: &str) -> &str;
}

struct Store(String);

impl Directory for Store {
    async fn count(&self) -> usize {
        0
    }

    async fn lookup(&self, profile: &Profile) -> String {
        profile.name.clone()
    }

    async fn fine(&self, _name: &str) -> &str {
        &self.0
    }
}

fn serve(_: impl Dispatch) {}

fn use_it<C>(caller: C) -> DirectoryClient<C> {
    serve(DirectoryServer::new(Store(String::new())));
    DirectoryClient::new(caller)
}

fn main() {}
