//! What the tests share: a service whose handlers do as they are told, clients of it, and waiting that ends.

pub(crate) mod child;
pub(crate) mod flow;
pub(crate) mod lab;
pub(crate) mod panics;
pub(crate) mod proxy;
pub(crate) mod raw;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rpc_client::Channel;
use rpc_core::{CallError, CallFailure, Limits};
use rpc_server::{Address, Server, ServerBuilder};

use self::flow::FlowServer;
use self::lab::{ExperimentsClient, ExperimentsServer, Lab};

pub(crate) type Client = ExperimentsClient<Channel>;

/// How long a test waits for what has to happen at once, before it fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A server with a lab, on one reactor and a free TCP port.
pub(crate) fn serve(lab: &Lab) -> Server {
    builder(lab).listen("tcp://127.0.0.1:0").start().unwrap()
}

/// A server with a lab, that still has to be told where to listen.
pub(crate) fn builder(lab: &Lab) -> ServerBuilder {
    Server::builder()
        .service(ExperimentsServer::new(lab.clone()))
        .service(FlowServer::new(lab.clone()))
        .reactors(1)
        .workers(2)
}

/// A client of a server's first address.
pub(crate) async fn client(server: &Server) -> Client {
    client_at(&server.addresses()[0]).await
}

pub(crate) async fn client_at(address: &Address) -> Client {
    within(async { ExperimentsClient::new(Channel::connect(address.clone()).await.unwrap()) }).await
}

/// Limits with so much time for handshakes that none is ended by it.
pub(crate) fn patient_limits() -> Limits {
    Limits {
        handshake_timeout: Duration::from_secs(600),
        ..Limits::default()
    }
}

/// Runs a future that has to be done soon.
pub(crate) async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("a future was not done in time")
}

/// Waits for a condition that has to come true soon.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "not in time: {what}");
        // Between looks, tasks of this runtime and threads of others run.
        std::thread::yield_now();
        tokio::task::yield_now().await;
    }
}

/// The same outside of a runtime.
pub(crate) fn until_blocking(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "not in time: {what}");
        std::thread::yield_now();
    }
}

/// The failure of a call that has to fail.
pub(crate) fn failure<T: std::fmt::Debug, E: std::fmt::Debug>(
    result: Result<T, CallError<E>>,
) -> CallFailure {
    match result {
        Err(CallError::Failed(failure)) => failure,
        other => panic!("no failure but {other:?}"),
    }
}

/// A path for a socket file that no other test has.
pub(crate) fn socket_path() -> PathBuf {
    std::env::temp_dir().join(format!("{}.sock", unique_name()))
}

/// A name that no other test, and no other run of the tests, has.
pub(crate) fn unique_name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("rpc-server-test-{}-{number}", std::process::id())
}
