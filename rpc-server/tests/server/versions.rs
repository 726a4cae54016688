//! Versions of a service: what did not change keeps working, what did is refused with both signatures.

use rpc_client::Channel;
use rpc_core::{CallFailure, Code, FailureKind};
use rpc_server::{Server, StartError};

use crate::support::{failure, within};

/// The service as it was.
mod v1 {
    use rpc_core::{message, service};

    #[message]
    #[derive(Debug)]
    pub(crate) struct Profile {
        pub(crate) name: String,
        pub(crate) score: u32,
    }

    #[service]
    pub(crate) trait Directory {
        async fn lookup(&self, name: &str) -> Profile;
        async fn greet(&self, name: &str) -> String;
        fn digest(&self, block: &[u8]) -> u64;
        async fn forget(&self, name: &str) -> bool;
    }

    pub(crate) struct Old;

    impl Directory for Old {
        async fn lookup(&self, name: &str) -> Profile {
            Profile {
                name: format!("old {name}"),
                score: 1,
            }
        }

        async fn greet(&self, name: &str) -> String {
            format!("hello, {name}")
        }

        fn digest(&self, block: &[u8]) -> u64 {
            block.len() as u64
        }

        async fn forget(&self, _name: &str) -> bool {
            true
        }
    }
}

/// The service as it is: a field of `Profile` has another type, `digest` runs elsewhere, `forget` is gone, `remember` is new.
mod v2 {
    use rpc_core::{message, service};

    #[message]
    #[derive(Debug)]
    pub(crate) struct Profile {
        pub(crate) name: String,
        pub(crate) score: f64,
    }

    #[service(name = "Directory")]
    pub(crate) trait DirectoryOfToday {
        async fn remember(&self, name: &str) -> bool;
        async fn lookup(&self, name: &str) -> Profile;
        async fn greet(&self, name: &str) -> String;
        async fn digest(&self, block: Vec<u8>) -> u64;
    }

    pub(crate) struct New;

    impl DirectoryOfToday for New {
        async fn remember(&self, _name: &str) -> bool {
            true
        }

        async fn lookup(&self, name: &str) -> Profile {
            Profile {
                name: format!("new {name}"),
                score: 1.5,
            }
        }

        async fn greet(&self, name: &str) -> String {
            format!("good day, {name}")
        }

        async fn digest(&self, block: Vec<u8>) -> u64 {
            1_000 + block.len() as u64
        }
    }
}

/// A service with other methods than the two, so that it can be served beside them.
mod v3 {
    use rpc_core::service;

    #[service(name = "Directory")]
    pub(crate) trait DirectoryOfTomorrow {
        async fn lookup(&self, name: &str, exact: bool) -> String;
    }

    pub(crate) struct Next;

    impl DirectoryOfTomorrow for Next {
        async fn lookup(&self, name: &str, exact: bool) -> String {
            format!("{name} {exact}")
        }
    }
}

fn start(server: rpc_server::ServerBuilder) -> Server {
    server.reactors(1).listen("tcp://127.0.0.1:0").start().unwrap()
}

async fn connect(server: &Server) -> Channel {
    within(Channel::connect(server.addresses()[0].clone()))
        .await
        .unwrap()
}

/// What a mismatch has to tell: both signatures, and the lines that differ.
fn assert_shows(failure: &CallFailure, ours: &str, theirs: &str) {
    assert_eq!(failure.kind(), FailureKind::SchemaMismatch, "{failure}");
    assert_eq!(failure.code(), Some(Code::SCHEMA_MISMATCH));
    assert!(!failure.may_have_run());
    let text = failure.text();
    let (signatures, difference) = text.split_once("difference:").unwrap();
    for part in [
        "Directory.lookup(name: String) -> Profile",
        "this client:",
        "the server:",
        ours,
        theirs,
    ] {
        assert!(signatures.contains(part), "{part:?} is not in:\n{text}");
    }
    let difference: Vec<_> = difference.trim().lines().map(str::trim).collect();
    assert_eq!(difference, [format!("- {ours}"), format!("+ {theirs}")]);
}

/// P-62, P26, L15: an old client and a new server.
#[tokio::test]
async fn an_old_client_keeps_what_did_not_change() {
    let server = start(Server::builder().service(v2::DirectoryOfTodayServer::new(v2::New)));
    let client = v1::DirectoryClient::new(connect(&server).await);
    assert_eq!(
        within(client.greet("ada").owned()).await.unwrap(),
        "good day, ada"
    );
    // Where a handler runs and how it takes its arguments is not on the wire.
    assert_eq!(within(client.digest(&[0; 7]).owned()).await, Ok(1_007));
    let changed = failure(within(client.lookup("ada")).await);
    assert_shows(&changed, "score: u32,", "score: f64,");
    let removed = failure(within(client.forget("ada")).await);
    assert_eq!(
        (removed.kind(), removed.code()),
        (FailureKind::UnknownMethod, Some(Code::UNKNOWN_METHOD))
    );
    assert!(!removed.may_have_run());
    // The connection is none the worse for it.
    assert_eq!(
        within(client.greet("bob").owned()).await.unwrap(),
        "good day, bob"
    );
    assert_eq!(
        (server.stats().accepted, server.stats().connections_failed),
        (1, 0)
    );
}

/// P-62, P26, L15: a new client and an old server.
#[tokio::test]
async fn a_new_client_keeps_what_did_not_change() {
    let server = start(Server::builder().service(v1::DirectoryServer::new(v1::Old)));
    let client = v2::DirectoryOfTodayClient::new(connect(&server).await);
    assert_eq!(within(client.greet("ada").owned()).await.unwrap(), "hello, ada");
    assert_eq!(within(client.digest(&vec![0; 7]).owned()).await, Ok(7));
    let changed = failure(within(client.lookup("ada")).await);
    assert_shows(&changed, "score: f64,", "score: u32,");
    let unknown = failure(within(client.remember("ada")).await);
    assert_eq!(unknown.kind(), FailureKind::UnknownMethod);
}

/// P-62: during a roll-out one server serves both.
#[tokio::test]
async fn two_versions_are_served_side_by_side() {
    let server = start(
        Server::builder()
            .service(v1::DirectoryServer::new(v1::Old))
            .service(v3::DirectoryOfTomorrowServer::new(v3::Next)),
    );
    let channel = connect(&server).await;
    let old = v1::DirectoryClient::new(channel.clone());
    let next = v3::DirectoryOfTomorrowClient::new(channel.clone());
    let profile = within(old.lookup("ada").owned()).await.unwrap();
    assert_eq!((profile.name.as_str(), profile.score), ("old ada", 1));
    assert_eq!(
        within(next.lookup("ada", true).owned()).await.unwrap(),
        "ada true"
    );
    // A third is told of both.
    let today = v2::DirectoryOfTodayClient::new(channel);
    let mismatch = failure(within(today.lookup("ada")).await);
    for line in [
        "score: f64,",
        "+ score: u32,",
        "+ Directory.lookup(name: String, exact: bool) -> String",
    ] {
        assert!(mismatch.text().contains(line), "{line:?} is not in:\n{mismatch}");
    }
}

/// P-62
#[tokio::test]
async fn methods_that_two_versions_share_are_answered_by_the_one_that_was_added_first() {
    let server = start(
        Server::builder()
            .service(v2::DirectoryOfTodayServer::new(v2::New))
            .service(v1::DirectoryServer::new(v1::Old)),
    );
    let channel = connect(&server).await;
    let old = v1::DirectoryClient::new(channel.clone());
    let new = v2::DirectoryOfTodayClient::new(channel);
    for greeting in [
        within(old.greet("ada").owned()).await,
        within(new.greet("ada").owned()).await,
    ] {
        assert_eq!(greeting.unwrap(), "good day, ada");
    }
    // What differs, or is there in one only, is answered by its own.
    assert_eq!(within(old.lookup("ada").owned()).await.unwrap().score, 1);
    assert!(within(old.forget("ada").owned()).await.unwrap());
    assert!(within(new.remember("ada").owned()).await.is_ok());
}

#[test]
fn the_same_service_twice_is_found_at_the_start() {
    let twice = Server::builder()
        .service(v1::DirectoryServer::new(v1::Old))
        .service(v1::DirectoryServer::new(v1::Old))
        .listen("tcp://127.0.0.1:0");
    let error = twice.start().unwrap_err();
    assert!(
        matches!(&error, StartError::DuplicateService { name } if name == "Directory"),
        "{error}"
    );
}
