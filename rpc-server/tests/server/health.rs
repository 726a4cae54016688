//! The built-in health service: what it says of services, changes, and the drain.

use std::time::Duration;

use rpc_client::Channel;
use rpc_core::health::{Health, HealthServiceClient, UnknownService};
use rpc_core::{CallError, service};
use rpc_server::Server;

#[service]
trait Empty {
    async fn nothing(&self);
}

struct Plain;

impl Empty for Plain {
    async fn nothing(&self) {}
}

fn server() -> Server {
    Server::builder()
        .service(EmptyServer::new(Plain))
        .listen("tcp://127.0.0.1:0")
        .start()
        .unwrap()
}

async fn client(server: &Server) -> HealthServiceClient<Channel> {
    HealthServiceClient::new(Channel::connect(server.addresses()[0].clone()).await.unwrap())
}

async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(20), future)
        .await
        .expect("the test hangs")
}

#[tokio::test]
async fn services_are_serving_until_somebody_says_otherwise() {
    let server = server();
    let health = client(&server).await;
    assert_eq!(health.check("").owned().await, Ok(Health::Serving));
    assert_eq!(health.check("Empty").owned().await, Ok(Health::Serving));
    server.health().set("Empty", Health::NotServing);
    assert_eq!(health.check("Empty").owned().await, Ok(Health::NotServing));
    assert_eq!(health.check("").owned().await, Ok(Health::Serving));
    let name = "Other".to_owned();
    let unknown = CallError::Method(UnknownService { name });
    assert_eq!(health.check("Other").owned().await, Err(unknown));
    server.shutdown().await;
}

#[tokio::test]
async fn whoever_watches_sees_changes_and_the_drain_which_waits_for_nobody() {
    let server = server();
    let (mut changes, call) = client(&server).await.watch("Empty").open().await.unwrap();
    let reporter = server.health();
    let mut next = async || {
        let change = within(changes.recv()).await.unwrap();
        change.map(|health| health.deserialize().unwrap())
    };
    assert_eq!(next().await, Some(Health::Serving));
    reporter.set("Empty", Health::NotServing);
    assert_eq!(next().await, Some(Health::NotServing));
    let drained = tokio::spawn(server.shutdown());
    assert_eq!(next().await, Some(Health::Draining));
    assert_eq!(next().await, None);
    within(call).await.unwrap();
    assert_eq!(within(drained).await.unwrap().cut_off, 0);
}

#[tokio::test]
async fn a_server_can_do_without() {
    let server = Server::builder()
        .service(EmptyServer::new(Plain))
        .health_service(false)
        .listen("tcp://127.0.0.1:0")
        .start()
        .unwrap();
    let error = client(&server).await.check("").await.unwrap_err();
    let kind = error.failure().map(|failure| failure.kind());
    assert_eq!(kind, Some(rpc_core::FailureKind::UnknownMethod));
    server.shutdown().await;
}
