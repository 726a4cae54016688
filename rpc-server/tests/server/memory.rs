//! The memory budget of a server: many clients upload more than it may hold.

use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rpc_client::Channel;
use rpc_core::{Limits, service};
use rpc_server::Server;

use crate::support::child::{self, ChildServer};
use crate::support::lab::{Event, Lab};
use crate::support::raw::{FAILURE, Frame, REPLY, RawPeer, call, code, keep_call, number};
use crate::support::{PATIENCE, builder, patient_limits, until_blocking, within};

const MIB: usize = 1 << 20;

/// A budget of 16 MiB.
fn limits() -> Limits {
    Limits {
        max_body: 4 << 20,
        max_held: 8 << 20,
        ..patient_limits()
    }
}

/// R8: uploads beyond the budget are not read. When there is memory again they go on; only who has waited too long is refused.
#[test]
fn uploads_beyond_the_budget_wait_for_memory() {
    const LEN: u32 = 3 << 20;
    let lab = Lab::default();
    let server = builder(&lab)
        .limits(limits())
        .memory_budget(16 * MIB)
        .listen("tcp://127.0.0.1:0")
        .start()
        .unwrap();
    let mut peers: Vec<_> = (0..8).map(|_| RawPeer::greeted(&server.addresses()[0])).collect();
    let started = || lab.count(|event| *event == Event::Started(1));
    // Fifteen mebibytes are held by handlers.
    for (peer, count) in peers.iter_mut().zip(1..=5) {
        peer.send(&keep_call(0, 1, LEN));
        until_blocking("a handler has started", || started() == count);
    }
    let start = Instant::now();
    let mut probe = peers.pop().unwrap();
    let waiting: Vec<_> = peers
        .drain(5..)
        .map(|peer| thread::spawn(move || upload(peer, LEN)))
        .collect();
    until_blocking("the budget is used up", || {
        server.stats().memory > 16 << 20 || waiting.iter().all(thread::JoinHandle::is_finished)
    });
    for round in 1..=100 {
        probe.send(&call(0, "add", &number(1)));
        assert_eq!(probe.answer().number(), round, "small calls pass");
        // The room that bodies grow into.
        assert!(server.stats().memory < 24 << 20, "{:?}", server.stats());
    }
    assert_eq!(started(), 5);
    lab.release(1);
    let is_quick = start.elapsed() < Duration::from_millis(800);
    for upload in waiting {
        let (is_refused, peer) = upload.join().unwrap();
        assert!(!(is_quick && is_refused), "it had not waited for long");
        peers.push(peer);
    }
    for peer in &mut peers[..5] {
        assert_eq!(peer.answer().number(), u64::from(LEN));
    }
    // All of it is given back, and every connection is as good as before.
    until_blocking("memory is given back", || server.stats().memory == 0);
    for peer in peers {
        assert!(!upload(peer, LEN).0);
    }
}

/// Uploads, and returns whether that was refused.
fn upload(mut peer: RawPeer, len: u32) -> (bool, RawPeer) {
    peer.send(&keep_call(0, 1, len));
    let is_refused = is_refused(&peer.answer());
    (is_refused, peer)
}

fn is_refused(answer: &Frame) -> bool {
    let is_refused = (answer.kind, answer.aux) == (FAILURE, code::REFUSED);
    assert!(is_refused || answer.kind == REPLY, "{answer:?}");
    is_refused
}

/// R8: a hundred clients begin to upload 400 MiB and stop. Those beyond the budget are refused, small calls are answered, and the process stays small.
#[test]
fn uploads_that_are_never_completed_are_given_up_and_the_process_stays_small() {
    const CLIENTS: usize = 100;
    if child::is_server() {
        let lab = Lab::default();
        lab.release(1);
        let server = builder(&lab)
            .limits(limits())
            .memory_budget(16 * MIB)
            .reactors(2)
            .listen("tcp://127.0.0.1:0")
            .start()
            .unwrap();
        child::serve(&server.addresses()[0]);
    }
    let test = "memory::uploads_that_are_never_completed_are_given_up_and_the_process_stays_small";
    let server = ChildServer::spawn(test, 1_000);
    let all_have_begun = Arc::new(Barrier::new(CLIENTS + 1));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let mut peer = RawPeer::greeted(&server.address);
            let all_have_begun = Arc::clone(&all_have_begun);
            thread::spawn(move || {
                let body = keep_call(0, 1, 4_100_000);
                let (most, rest) = body.split_at(3 * MIB);
                peer.send(most);
                all_have_begun.wait();
                peer.send(rest);
                is_refused(&peer.answer())
            })
        })
        .collect();
    let mut probe = RawPeer::greeted(&server.address);
    let mut slowest = Duration::ZERO;
    for round in 0..500 {
        let asked = Instant::now();
        probe.send(&call(0, "add", &number(1)));
        assert_eq!(probe.answer().number(), round + 1);
        slowest = slowest.max(asked.elapsed());
    }
    all_have_begun.wait();
    assert!(slowest < PATIENCE, "{slowest:?}");
    let refused = clients.into_iter().map(|client| client.join().unwrap());
    let refused = refused.filter(|refused| *refused).count();
    // Five of them have 15 MiB, and less than twice that before their memory has grown to its end.
    assert!(refused >= CLIENTS - 10, "{refused} of {CLIENTS} were refused");
    let peak = server.peak_memory();
    assert!(peak < 100 * MIB, "{} MiB", peak / MIB);
    probe.send(&keep_call(1, 1, 4_100_000));
    assert_eq!(probe.answer().number(), 4_100_000);
}

#[service]
trait Uploads {
    /// Where the body is.
    async fn place(&self, body: Bytes) -> u64;
}

struct Places;

impl Uploads for Places {
    async fn place(&self, body: Bytes) -> u64 {
        body.as_ptr().addr() as u64
    }
}

/// New memory costs more than reading a body into it.
#[tokio::test]
async fn long_uploads_that_follow_each_other_arrive_in_the_same_memory() {
    let limits = Limits {
        max_body: 24 << 20,
        ..patient_limits()
    };
    let server = Server::builder()
        .service(UploadsServer::new(Places))
        .limits(limits)
        .reactors(1)
        .listen("tcp://127.0.0.1:0")
        .start()
        .unwrap();
    let body = Bytes::from(vec![7; 20 * MIB]);
    within(async {
        let mut places = Vec::new();
        let mut taken = Vec::new();
        for _ in 0..3 {
            // Whichever connection it is.
            let channel = Channel::builder().limits(limits);
            let channel = channel.connect(server.addresses()[0].clone()).await.unwrap();
            let client = UploadsClient::new(channel);
            places.push(client.place(&body).await.unwrap().to_native());
            // Memory that the server had given back would be this now.
            taken.push(vec![1; 20 * MIB]);
        }
        assert_eq!(places, [places[0]; 3]);
    })
    .await;
}
