//! Well-behaved peers: every transport, every way to start, many calls, large calls, every shape of argument and reply.

use std::collections::{BTreeSet, HashMap};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use rpc_client::Channel;
use rpc_core::{Archived, CallError, Code, Context, FailureKind, Limits, PeerAddress, message, service};
use rpc_server::Server;
use tokio::task::JoinSet;

use crate::support::lab::{Event, ExperimentsClient, Lab, pattern, weight};
use crate::support::raw::{REPLY, RawPeer, call, number};
use crate::support::{
    Client, builder, client, client_at, failure, serve, socket_path, unique_name, until, within,
};

/// Where a handler runs and who it thinks calls.
#[service]
trait Where {
    async fn thread(&self) -> String;
    fn thread_at_work(&self) -> String;
    async fn who_calls(&self, cx: &Context) -> String;
    /// The distance in memory between the beginnings of both arguments.
    async fn distance(&self, text: &str, block: &[u8]) -> u64;
    fn distance_at_work(&self, text: &str, block: &[u8]) -> u64;
}

struct Here;

fn thread_name() -> String {
    std::thread::current().name().unwrap_or_default().to_owned()
}

fn distance(text: &str, block: &[u8]) -> u64 {
    block.as_ptr().addr().wrapping_sub(text.as_ptr().addr()) as u64
}

impl Where for Here {
    async fn thread(&self) -> String {
        thread_name()
    }

    fn thread_at_work(&self) -> String {
        thread_name()
    }

    async fn who_calls(&self, cx: &Context) -> String {
        match (&cx.peer().address, cx.peer().credentials) {
            (PeerAddress::Tcp(address), None) => format!("tcp {}", address.ip()),
            (PeerAddress::Unix(None), Some(credentials)) => {
                format!("process {}", credentials.process.unwrap_or_default())
            }
            other => format!("{other:?}"),
        }
    }

    async fn distance(&self, text: &str, block: &[u8]) -> u64 {
        tokio::task::yield_now().await;
        distance(text, block)
    }

    fn distance_at_work(&self, text: &str, block: &[u8]) -> u64 {
        distance(text, block)
    }
}

#[tokio::test]
async fn one_server_listens_on_every_kind_of_address_at_once() {
    let path = socket_path();
    let abstract_name = unique_name();
    let mut server = builder(&Lab::default())
        .service(WhereServer::new(Here))
        .listen("tcp://127.0.0.1:0")
        .listen(format!("unix://{}", path.display()))
        .listen(format!("unix-abstract:{abstract_name}"));
    let us = format!("process {}", std::process::id());
    let mut callers = vec!["tcp 127.0.0.1".to_owned(), us.clone(), us];
    // Not every machine has IPv6.
    if TcpListener::bind("[::1]:0").is_ok() {
        server = server.listen("tcp://[::1]:0");
        callers.push("tcp ::1".to_owned());
    }
    let server = server.start().unwrap();
    assert_eq!(server.addresses().len(), callers.len());
    for (address, caller) in server.addresses().iter().zip(callers) {
        let channel = within(Channel::connect(address.clone())).await.unwrap();
        let echo = ExperimentsClient::new(channel.clone()).echo("text").owned();
        assert_eq!(within(echo).await.unwrap(), "text", "{address}");
        // Both services share the connection.
        let known = within(WhereClient::new(channel).who_calls().owned())
            .await
            .unwrap();
        assert_eq!(known, caller, "{address}");
    }
    assert_eq!(server.stats().connections_failed, 0);
}

/// Clients of a server's first address, and the threads that answer them.
async fn threads(server: &Server, connections: usize) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut clients = Vec::new();
    for _ in 0..connections {
        let channel = within(Channel::connect(server.addresses()[0].clone())).await;
        let client = WhereClient::new(channel.unwrap());
        names.insert(within(client.thread().owned()).await.unwrap());
        let worker = within(client.thread_at_work().owned()).await.unwrap();
        assert!(worker.starts_with("rpc-worker-"), "{worker}");
        clients.push(client);
    }
    names
}

#[tokio::test]
async fn reactors_run_the_connections_on_their_own_threads() {
    let names = |reactors| {
        (0..reactors)
            .map(|number| format!("rpc-reactor-{number}"))
            .collect()
    };
    for reactors in [1, 2] {
        let all: BTreeSet<String> = names(reactors);
        let start = |address: String| {
            let server = Server::builder()
                .service(WhereServer::new(Here))
                .reactors(reactors);
            server.listen(address).start().unwrap()
        };
        // A Unix listener cannot be shared: its connections are dealt out in turn.
        let unix = start(format!("unix://{}", socket_path().display()));
        assert_eq!(threads(&unix, 4).await, all);
        // The kernel spreads TCP connections as it likes.
        let tcp = start("tcp://127.0.0.1:0".to_owned());
        assert!(threads(&tcp, 4).await.is_subset(&all));
    }
}

#[tokio::test(flavor = "current_thread")]
async fn serves_inside_a_single_threaded_runtime() {
    let server = Server::builder()
        .service(WhereServer::new(Here))
        .listen("tcp://127.0.0.1:0");
    let server = server.start_here().unwrap();
    assert_eq!(threads(&server, 2).await, BTreeSet::from([thread_name()]));
    assert_eq!(within(server.shutdown()).await.cut_off, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn serves_inside_a_runtime_with_several_threads() {
    let lab = Lab::default();
    let server = builder(&lab).listen("tcp://127.0.0.1:0").start_here().unwrap();
    let client = client(&server).await;
    add_concurrently(&lab, &[client], 500).await;
    assert_eq!(within(server.shutdown()).await.cut_off, 0);
}

/// Starts as many calls at once, dealt over the clients, and checks that each has run exactly once.
async fn add_concurrently(lab: &Lab, clients: &[Client], count: u64) {
    let mut calls = JoinSet::new();
    for (number, client) in (1..=count).zip(clients.iter().cycle()) {
        let client = client.clone();
        calls.spawn(async move {
            match number % 2 {
                0 => client.add(number).owned().await,
                _ => client.add_at_work(number).owned().await,
            }
        });
    }
    let results = within(calls.join_all()).await;
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    assert_eq!((lab.additions(), lab.sum()), (count, count * (count + 1) / 2));
}

#[tokio::test]
async fn a_thousand_concurrent_calls_are_each_answered_once() {
    for connections in [1, 8] {
        let lab = Lab::default();
        let server = serve(&lab);
        let mut clients = Vec::new();
        for _ in 0..connections {
            clients.push(client(&server).await);
        }
        add_concurrently(&lab, &clients, 1_000).await;
        assert_eq!(server.stats().calls, 1_000);
        assert_eq!(server.stats().connections, connections);
    }
}

#[tokio::test]
async fn large_arguments_and_replies_arrive_intact() {
    let server = serve(&Lab::default());
    let client = client(&server).await;
    let len = 3 << 20;
    let block = pattern(len);
    let weights = tokio::join!(
        within(client.weigh(&block).owned()),
        within(client.weigh_at_work(&block).owned()),
    );
    assert_eq!(weights, (Ok(weight(&block)), Ok(weight(&block))));
    let (one, small, two) = tokio::join!(
        within(client.fill(len).owned()),
        within(client.echo("small")),
        within(client.fill(len).owned())
    );
    assert!(one.unwrap() == block && two.unwrap() == block);
    assert_eq!(small.unwrap().as_str(), "small");
}

/// A2-like for sizes: what does not fit is a failure of that call only.
#[tokio::test]
async fn a_reply_above_the_limit_of_the_client_is_a_failure_of_that_call() {
    let server = serve(&Lab::default());
    let limits = Limits {
        max_body: 100_000,
        ..Limits::default()
    };
    let channel = Channel::builder()
        .limits(limits)
        .connect(server.addresses()[0].clone());
    let client = ExperimentsClient::new(within(channel).await.unwrap());
    let too_large = failure(within(client.fill(100_001)).await);
    assert_eq!(too_large.code(), Some(Code::REPLY_TOO_LARGE));
    assert_eq!(too_large.kind(), FailureKind::ServerFailed);
    assert!(too_large.may_have_run());
    assert!(too_large.text().contains("100000"), "{too_large}");
    // 8 bytes of the limit are the root of the archive.
    assert_eq!(within(client.fill(99_992)).await.unwrap().len(), 99_992);
}

#[tokio::test]
async fn arguments_above_the_limit_of_the_server_are_not_sent() {
    let lab = Lab::default();
    let limits = Limits {
        max_body: 100_000,
        ..Limits::default()
    };
    let server = builder(&lab)
        .limits(limits)
        .listen("tcp://127.0.0.1:0")
        .start()
        .unwrap();
    let client = client(&server).await;
    let too_large = failure(within(client.weigh(&pattern(100_001))).await);
    assert_eq!(too_large.kind(), FailureKind::LocalLimit);
    assert!(!too_large.may_have_run());
    assert!(
        too_large.text().contains("100000") && too_large.text().contains("max_body"),
        "{too_large}"
    );
    assert_eq!(server.stats().calls, 0);
    assert_eq!(
        within(client.weigh(&[7; 99_000]).owned()).await,
        Ok((99_000, 7 * 99_000))
    );
}

/// Two copies would be two allocations, which cannot lie 33 bytes apart.
#[tokio::test]
async fn handlers_borrow_their_arguments_from_the_receive_buffer() {
    let server = Server::builder()
        .service(WhereServer::new(Here))
        .listen("tcp://127.0.0.1:0");
    let server = server.start().unwrap();
    let channel = within(Channel::connect(server.addresses()[0].clone()))
        .await
        .unwrap();
    let client = WhereClient::new(channel);
    let text = "a text that is not stored inline.";
    let block = pattern(5_000);
    assert_eq!(within(client.distance(text, &block).owned()).await, Ok(33));
    assert_eq!(
        within(client.distance_at_work(text, &block).owned()).await,
        Ok(33)
    );
}

#[tokio::test]
async fn calls_are_answered_in_the_order_in_which_they_end() {
    let lab = Lab::default();
    let server = serve(&lab);
    let client = client(&server).await;
    let held: Vec<_> = (0..3).map(|key| tokio::spawn(client.hold(key).owned())).collect();
    for key in 0..3 {
        until("handler started", || lab.saw(Event::Started(key))).await;
    }
    assert_eq!(
        within(client.echo("meanwhile")).await.unwrap().as_str(),
        "meanwhile"
    );
    for (key, call) in (0..3).zip(held).collect::<Vec<_>>().into_iter().rev() {
        assert!(!call.is_finished());
        lab.release(key);
        assert_eq!(within(call).await.unwrap(), Ok(key));
    }
}

#[message]
#[derive(Clone, Debug, PartialEq)]
struct Profile {
    name: String,
    tags: Vec<String>,
    score: f64,
}

#[message]
#[derive(Clone, Debug, PartialEq, Eq)]
enum LookupError {
    Busy { retry_after: Duration },
    Gone(u32, String),
    Missing,
}

/// Every shape of argument and of return value.
#[service]
trait Shapes {
    async fn nothing(&self);
    fn nothing_at_work(&self);
    async fn in_place(
        &self,
        cx: &Context,
        profile: &Archived<Profile>,
        others: &[Archived<Profile>],
    ) -> String;
    fn in_place_at_work(&self, cx: &Context, profile: &Archived<Profile>, block: &[u8], text: &str)
    -> String;
    async fn owned(&self, profile: Profile, text: Box<str>, number: i128, letter: char) -> Profile;
    async fn map(&self, map: HashMap<String, Vec<u32>>, key: (u8, Option<String>)) -> Vec<u32>;
    async fn by_reference(&self) -> &Profile;
    fn text_by_reference(&self) -> &str;
    async fn slice_by_reference(&self) -> &[Profile];
    async fn shared(&self) -> Arc<Profile>;
    fn shared_slice(&self) -> Arc<[Profile]>;
    async fn fallible(&self, code: u8) -> Result<Profile, LookupError>;
    fn fallible_at_work(&self, code: u8) -> Result<&Profile, LookupError>;
    async fn fallible_nothing(&self, code: u8) -> Result<(), LookupError>;
}

struct Store(Vec<Profile>);

fn ada() -> Profile {
    Profile {
        name: "ada lovelace".into(),
        tags: vec!["first".into(), "programmer".into()],
        score: 1.5,
    }
}

fn error(code: u8) -> Result<(), LookupError> {
    match code {
        0 => Ok(()),
        1 => Err(LookupError::Missing),
        2 => Err(LookupError::Busy {
            retry_after: Duration::from_millis(20),
        }),
        _ => Err(LookupError::Gone(code.into(), "long gone by now".into())),
    }
}

impl Shapes for Store {
    async fn nothing(&self) {}

    fn nothing_at_work(&self) {}

    async fn in_place(
        &self,
        cx: &Context,
        profile: &Archived<Profile>,
        others: &[Archived<Profile>],
    ) -> String {
        tokio::task::yield_now().await;
        let tags: usize = others.iter().map(|other| other.tags.len()).sum();
        format!("{} {tags} {}", profile.name.as_str(), cx.is_cancelled())
    }

    fn in_place_at_work(
        &self,
        cx: &Context,
        profile: &Archived<Profile>,
        block: &[u8],
        text: &str,
    ) -> String {
        format!(
            "{} {} {text} {}",
            profile.name.as_str(),
            block.len(),
            cx.is_cancelled()
        )
    }

    async fn owned(&self, profile: Profile, text: Box<str>, number: i128, letter: char) -> Profile {
        tokio::task::yield_now().await;
        Profile {
            name: format!("{text} {number} {letter}"),
            ..profile
        }
    }

    async fn map(&self, map: HashMap<String, Vec<u32>>, key: (u8, Option<String>)) -> Vec<u32> {
        map.get(&key.1.unwrap_or_default()).cloned().unwrap_or_default()
    }

    async fn by_reference(&self) -> &Profile {
        tokio::task::yield_now().await;
        &self.0[0]
    }

    fn text_by_reference(&self) -> &str {
        &self.0[0].name
    }

    async fn slice_by_reference(&self) -> &[Profile] {
        &self.0
    }

    async fn shared(&self) -> Arc<Profile> {
        Arc::new(ada())
    }

    fn shared_slice(&self) -> Arc<[Profile]> {
        self.0.as_slice().into()
    }

    async fn fallible(&self, code: u8) -> Result<Profile, LookupError> {
        error(code).map(|()| ada())
    }

    fn fallible_at_work(&self, code: u8) -> Result<&Profile, LookupError> {
        error(code).map(|()| &self.0[0])
    }

    async fn fallible_nothing(&self, code: u8) -> Result<(), LookupError> {
        error(code)
    }
}

async fn shapes() -> (Server, ShapesClient<Channel>) {
    let server = Server::builder()
        .service(ShapesServer::new(Store(vec![ada(), ada()])))
        .reactors(1)
        .listen("tcp://127.0.0.1:0")
        .start()
        .unwrap();
    let channel = within(Channel::connect(server.addresses()[0].clone()))
        .await
        .unwrap();
    (server, ShapesClient::new(channel))
}

#[tokio::test]
async fn arguments_of_every_shape_go_over_the_wire() {
    let (_server, client) = shapes().await;
    assert_eq!(within(client.nothing().owned()).await, Ok(()));
    assert_eq!(within(client.nothing_at_work().owned()).await, Ok(()));
    let in_place = client.in_place(&ada(), &[ada(), ada()]);
    assert_eq!(within(in_place.owned()).await.unwrap(), "ada lovelace 4 false");
    let in_place = client.in_place_at_work(&ada(), &[1, 2, 3], "text");
    assert_eq!(
        within(in_place.owned()).await.unwrap(),
        "ada lovelace 3 text false"
    );
    let owned = client.owned(&ada(), &"box".into(), -1, 'ß');
    let expected = Profile {
        name: "box -1 ß".into(),
        ..ada()
    };
    assert_eq!(within(owned.owned()).await, Ok(expected));
    let map = HashMap::from([("key".to_owned(), vec![1, 2])]);
    let looked_up = client.map(&map, &(0, Some("key".into())));
    assert_eq!(within(looked_up.owned()).await, Ok(vec![1, 2]));
}

/// A call owns its arguments in archived form, so its future can go to another thread, whatever was borrowed for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_of_every_shape_pass_through_spawn() {
    let (_server, client) = shapes().await;
    let map = HashMap::from([("key".to_owned(), vec![1, 2])]);
    let nothing = tokio::spawn(client.nothing());
    let at_work = tokio::spawn(client.nothing_at_work());
    let in_place = tokio::spawn(client.in_place(&ada(), &[ada()]).owned());
    let borrowed = tokio::spawn(client.in_place_at_work(&ada(), &[1, 2, 3], "text"));
    let owned = tokio::spawn(client.owned(&ada(), &"box".into(), -1, 'ß').owned());
    let looked_up = tokio::spawn(client.map(&map, &(0, Some("key".into()))));
    let referred = tokio::spawn(client.slice_by_reference());
    let shared = tokio::spawn(client.shared().timeout(Duration::from_secs(60)));
    let fallible = tokio::spawn(client.fallible(1));
    assert!(within(nothing).await.unwrap().is_ok() && within(at_work).await.unwrap().is_ok());
    assert!(within(in_place).await.unwrap().is_ok() && within(borrowed).await.unwrap().is_ok());
    assert!(within(owned).await.unwrap().is_ok() && within(looked_up).await.unwrap().is_ok());
    assert_eq!(within(referred).await.unwrap().unwrap().len(), 2);
    assert_eq!(within(shared).await.unwrap().unwrap().name, "ada lovelace");
    let missing = within(fallible).await.unwrap().map(|_| ());
    assert_eq!(missing, Err(CallError::Method(LookupError::Missing)));
}

#[tokio::test]
async fn replies_and_errors_of_every_shape_come_back() {
    let (_server, client) = shapes().await;
    assert_eq!(within(client.by_reference().owned()).await, Ok(ada()));
    assert_eq!(
        within(client.text_by_reference()).await.unwrap().as_str(),
        "ada lovelace"
    );
    assert_eq!(
        within(client.slice_by_reference().owned()).await.unwrap(),
        [ada(), ada()]
    );
    assert_eq!(within(client.shared().owned()).await, Ok(ada()));
    assert_eq!(
        within(client.shared_slice().owned()).await.unwrap(),
        [ada(), ada()]
    );
    assert_eq!(within(client.fallible(0).owned()).await, Ok(ada()));
    assert_eq!(within(client.fallible_at_work(0).owned()).await, Ok(ada()));
    assert_eq!(within(client.fallible_nothing(0).owned()).await, Ok(()));
    let missing = CallError::Method(LookupError::Missing);
    assert_eq!(within(client.fallible(1).owned()).await, Err(missing));
    let busy = error(2).map_err(CallError::Method);
    assert_eq!(within(client.fallible_nothing(2).owned()).await, busy);
    let gone = error(3).map(|()| ada()).map_err(CallError::Method);
    assert_eq!(within(client.fallible_at_work(3).owned()).await, gone);
}

#[tokio::test]
async fn every_connection_of_a_server_is_served_by_the_same_service() {
    let lab = Lab::default();
    let server = serve(&lab);
    for number in 1..=3 {
        let client = client_at(&server.addresses()[0]).await;
        assert_eq!(within(client.add(1).owned()).await, Ok(number));
    }
    until("closed connections are forgotten", || {
        server.stats().connections == 0
    })
    .await;
    assert_eq!(server.stats().accepted, 3);
}

/// A hundred calls that come in one piece, of which the last keeps the connection's thread busy.
#[test]
fn of_many_calls_at_once_the_first_are_answered_while_the_last_run() {
    let lab = Lab::default();
    let server = serve(&lab);
    let mut peer = RawPeer::greeted(&server.addresses()[0]);
    let quick = (0..99).flat_map(|id| call(id, "add", &number(1)));
    let slow = call(99, "stall", &number(7));
    peer.send(&quick.chain(slow).collect::<Vec<u8>>());
    for id in 0..64 {
        let reply = peer.answer();
        assert_eq!((reply.kind, reply.call), (REPLY, id), "{reply:?}");
    }
    assert!(!lab.saw(Event::Finished(7)));
    lab.release(7);
    for id in 64..100 {
        let reply = peer.answer();
        assert_eq!((reply.kind, reply.call), (REPLY, id), "{reply:?}");
    }
    assert_eq!(lab.sum(), 99);
}
