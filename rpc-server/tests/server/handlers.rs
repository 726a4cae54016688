//! Handlers that panic: one call fails, nothing else does, and the peer learns nothing of what the panic said.

use std::panic::{self, panic_any};
use std::sync::Once;

use rpc_client::Channel;
use rpc_core::{Code, FailureKind, service};
use rpc_server::Server;
use tokio::task::JoinSet;

use crate::support::{failure, until, within};

/// What no peer may ever see.
const SECRET: &str = "the secret of the panic";

#[service]
trait Fuses {
    async fn ping(&self) -> bool;
    fn ping_at_work(&self) -> bool;
    /// Panics at once, with one of four payloads.
    async fn blow(&self, how: u8);
    fn blow_at_work(&self, how: u8);
    /// Panics after it has waited.
    async fn blow_later(&self);
    /// Returns, and panics when a local variable is dropped.
    async fn blow_in_drop(&self, later: bool);
    fn blow_in_drop_at_work(&self);
    /// Never returns; panics when it is dropped.
    async fn blow_when_stopped(&self);
}

struct Box13;

/// Panics when it is dropped, unless something else is panicking: that would end the process.
struct Mine;

impl Drop for Mine {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("{SECRET}");
        }
    }
}

/// A payload with fields.
struct Custom(#[expect(dead_code, reason = "it only has to be there")] [u64; 1_000]);

fn blow(how: u8) {
    match how {
        // The payload is a `&'static str`.
        0 => panic!("the secret of the panic"),
        // It is a `String`.
        1 => panic!("{SECRET} {how}"),
        2 => panic_any(Custom([7; 1_000])),
        _ => panic_any(Mine),
    }
}

impl Fuses for Box13 {
    async fn ping(&self) -> bool {
        true
    }

    fn ping_at_work(&self) -> bool {
        true
    }

    async fn blow(&self, how: u8) {
        blow(how);
    }

    fn blow_at_work(&self, how: u8) {
        blow(how);
    }

    async fn blow_later(&self) {
        tokio::task::yield_now().await;
        panic!("{SECRET}");
    }

    async fn blow_in_drop(&self, later: bool) {
        let _mine = Mine;
        if later {
            tokio::task::yield_now().await;
        }
    }

    fn blow_in_drop_at_work(&self) {
        let _mine = Mine;
    }

    async fn blow_when_stopped(&self) {
        let _mine = Mine;
        std::future::pending::<()>().await;
    }
}

/// Keeps the thousands of panics in this file, and no others, off the terminal.
fn hush() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let others = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let is_handler = std::thread::current()
                .name()
                .is_some_and(|name| name.starts_with("rpc-"));
            let is_here = info.location().is_some_and(|place| place.file() == file!());
            if !(is_handler && is_here) {
                others(info);
            }
        }));
    });
}

async fn fuses() -> (Server, FusesClient<Channel>) {
    hush();
    let server = Server::builder()
        .service(FusesServer::new(Box13))
        .reactors(1)
        .workers(2)
        .listen("tcp://127.0.0.1:0")
        .start()
        .unwrap();
    let channel = within(Channel::connect(server.addresses()[0].clone()))
        .await
        .unwrap();
    (server, FusesClient::new(channel))
}

/// The call has failed as after a panic, and says so without repeating it; the connection and the worker live.
async fn assert_blown<T: std::fmt::Debug>(
    result: Result<T, rpc_core::CallError>,
    client: &FusesClient<Channel>,
) {
    let blown = failure(result);
    assert_eq!(
        (blown.code(), blown.kind()),
        (Some(Code::INTERNAL), FailureKind::ServerFailed)
    );
    assert!(blown.may_have_run());
    assert_eq!(blown.text(), "handler panicked");
    assert!(!format!("{blown} {blown:?}").contains("secret"));
    assert_eq!(within(client.ping().owned()).await, Ok(true));
    assert_eq!(within(client.ping_at_work().owned()).await, Ok(true));
}

/// H1
#[tokio::test]
async fn a_panic_at_once_is_a_failure_of_its_call_whatever_it_carries() {
    let (server, client) = fuses().await;
    for how in 0..4 {
        assert_blown(within(client.blow(how)).await, &client).await;
        assert_blown(within(client.blow_at_work(how)).await, &client).await;
    }
    until("panics are counted", || server.stats().handler_panics == 8).await;
    assert_eq!((server.stats().accepted, server.stats().connections), (1, 1));
}

/// H2
#[tokio::test]
async fn a_panic_after_an_await_is_a_failure_of_its_call() {
    let (server, client) = fuses().await;
    // More often than there are slots: each is given back.
    for _ in 0..20 {
        let mut calls = JoinSet::new();
        for _ in 0..100 {
            calls.spawn(client.blow_later().owned());
        }
        let results = within(calls.join_all()).await;
        assert!(
            results
                .into_iter()
                .all(|result| failure(result).code() == Some(Code::INTERNAL))
        );
    }
    assert_blown(within(client.blow_later()).await, &client).await;
    assert_eq!(server.stats().handler_panics, 2_001);
}

/// H4
#[tokio::test]
async fn a_panic_of_a_destructor_is_a_failure_of_its_call() {
    let (server, client) = fuses().await;
    assert_blown(within(client.blow_in_drop(false)).await, &client).await;
    assert_blown(within(client.blow_in_drop(true)).await, &client).await;
    assert_blown(within(client.blow_in_drop_at_work()).await, &client).await;
    until("panics are counted", || server.stats().handler_panics == 3).await;
}

/// H4: the handler is dropped because nobody waits for it any more, and panics then.
#[tokio::test]
async fn a_panic_while_a_call_is_stopped_harms_nobody() {
    let (server, client) = fuses().await;
    for _ in 0..3 {
        let mut call = Box::pin(client.blow_when_stopped());
        tokio::select! {
            biased;
            _ = &mut call => panic!("it never returns"),
            pong = within(client.ping()) => drop(pong.unwrap()),
        }
        drop(call);
        assert_eq!(within(client.ping().owned()).await, Ok(true));
    }
    // The connection goes while a handler runs.
    let channel = within(Channel::connect(server.addresses()[0].clone()))
        .await
        .unwrap();
    let other = FusesClient::new(channel);
    let mut call = Box::pin(other.blow_when_stopped());
    tokio::select! {
        biased;
        _ = &mut call => panic!("it never returns"),
        pong = within(other.ping()) => drop(pong.unwrap()),
    }
    drop((call, other));
    until("the other connection is closed", || {
        server.stats().connections == 1
    })
    .await;
    assert_eq!(within(client.ping().owned()).await, Ok(true));
}

/// H8
#[tokio::test]
async fn a_thousand_panicking_jobs_leave_the_pool_as_it_was() {
    let (server, client) = fuses().await;
    let mut calls = JoinSet::new();
    for number in 0..1_000_u16 {
        let [_, how] = (number % 4).to_be_bytes();
        calls.spawn(client.blow_at_work(how).owned());
    }
    for result in within(calls.join_all()).await {
        assert_eq!(failure(result).code(), Some(Code::INTERNAL));
    }
    until("panics are counted", || server.stats().handler_panics == 1_000).await;
    assert_eq!(within(client.ping_at_work().owned()).await, Ok(true));
    assert_eq!(
        within(server.shutdown()).await.cut_off,
        0,
        "every thread of the pool has ended"
    );
}
