//! Limits: what is full refuses at once or waits, what is late is not run, and what runs out comes back.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use rpc_client::Channel;
use rpc_core::{CallError, Code, FailureKind, Limits, service};
use rpc_server::{Server, Stats};
use tokio::task::JoinSet;

use crate::support::child::{self, ChildServer};
use crate::support::lab::{Event, Lab};
use crate::support::raw::{FAILURE, PREFACE, REPLY, RawPeer, call, cancel, code, number, timed_call};
use crate::support::{builder, client, failure, patient_limits, serve, until, until_blocking, within};

/// R9: the queue refuses at once, everything else goes on.
#[tokio::test]
async fn a_full_worker_queue_refuses_at_once() {
    let lab = Lab::default();
    let server = builder(&lab)
        .workers(1)
        .worker_queue(2)
        .listen("tcp://127.0.0.1:0")
        .start()
        .unwrap();
    let client = client(&server).await;
    let running = tokio::spawn(client.block(1).owned());
    until("job runs", || lab.saw(Event::Started(1))).await;
    let queued = [2, 3].map(|key| tokio::spawn(client.block(key).owned()));
    until("jobs are queued", || server.stats().calls == 3).await;
    for _ in 0..10 {
        let refused = failure(within(client.block(4)).await);
        assert_eq!(
            (refused.kind(), refused.code()),
            (FailureKind::Refused, Some(Code::REFUSED))
        );
        assert_eq!(refused.text(), "worker queue is full: 2 jobs (worker_queue)");
        assert!(!refused.may_have_run());
    }
    assert_eq!(within(client.echo("text").owned()).await.unwrap(), "text");
    for key in 1..=3 {
        lab.release(key);
    }
    for job in std::iter::once(running).chain(queued) {
        assert_eq!(within(job).await.unwrap(), Ok(true));
    }
    assert_eq!(within(client.add_at_work(1).owned()).await, Ok(1));
    assert_eq!(lab.count(|event| *event == Event::Started(4)), 0);
}

#[tokio::test]
async fn a_server_without_workers_refuses_every_job() {
    let lab = Lab::default();
    let server = builder(&lab)
        .workers(0)
        .listen("tcp://127.0.0.1:0")
        .start()
        .unwrap();
    let client = client(&server).await;
    let refused = failure(within(client.add_at_work(1)).await);
    assert_eq!(refused.kind(), FailureKind::Refused);
    assert_eq!(within(client.add(1).owned()).await, Ok(1));
}

/// T8, P-35: a job whose time is up before its turn has come is not run, and its caller is told that it has not.
#[test]
fn a_job_that_expires_in_the_queue_is_never_run() {
    let lab = Lab::default();
    let server = builder(&lab)
        .workers(1)
        .listen("tcp://127.0.0.1:0")
        .start()
        .unwrap();
    let mut peer = RawPeer::greeted(&server.addresses()[0]);
    peer.send(&call(0, "block", &number(1)));
    until_blocking("job runs", || lab.saw(Event::Started(1)));
    let start = Instant::now();
    peer.send(
        &[
            timed_call(1, "add_at_work", 10_000, &number(1)),
            call(2, "add_at_work", &number(2)),
        ]
        .concat(),
    );
    until_blocking("both are queued", || server.stats().calls == 3);
    until_blocking("its time is up", || start.elapsed() > Duration::from_millis(50));
    lab.release(1);
    let mut answers = [peer.answer(), peer.answer(), peer.answer()];
    answers.sort_by_key(|answer| answer.call);
    let [released, expired, kept] = answers;
    assert_eq!(released.kind, REPLY);
    assert_eq!(
        (expired.kind, expired.aux),
        (FAILURE, code::EXPIRED),
        "{}",
        expired.text()
    );
    assert_eq!(kept.number(), 2);
    assert_eq!(lab.additions(), 1);
}

/// R9: jobs that were given up in the queue do not keep others out of it.
#[test]
fn cancelled_jobs_make_room_in_a_full_queue() {
    let lab = Lab::default();
    let server = builder(&lab)
        .workers(1)
        .worker_queue(2)
        .listen("tcp://127.0.0.1:0")
        .start()
        .unwrap();
    let mut peer = RawPeer::greeted(&server.addresses()[0]);
    peer.send(&call(0, "block", &number(1)));
    until_blocking("job runs", || lab.saw(Event::Started(1)));
    peer.send(&[call(1, "block", &number(2)), call(2, "block", &number(3))].concat());
    until_blocking("both are queued", || server.stats().calls == 3);
    peer.send(&[cancel(1), cancel(2), call(3, "add_at_work", &number(1))].concat());
    let mut cancelled = [peer.answer(), peer.answer()].map(|answer| (answer.call, answer.kind, answer.aux));
    cancelled.sort_unstable();
    assert_eq!(
        cancelled,
        [(1, FAILURE, code::CANCELLED), (2, FAILURE, code::CANCELLED)]
    );
    lab.release(1);
    let mut done = [peer.answer(), peer.answer()].map(|answer| (answer.call, answer.kind));
    done.sort_unstable();
    assert_eq!(done, [(0, REPLY), (3, REPLY)]);
    assert_eq!(lab.count(|event| matches!(event, Event::Started(_))), 1);
}

/// T1: a call whose time is up is not sent.
#[tokio::test]
async fn a_call_without_time_does_not_run() {
    let lab = Lab::default();
    let server = serve(&lab);
    let client = client(&server).await;
    let late = [
        within(client.add(1).timeout(Duration::ZERO)).await,
        within(client.add(1).deadline(Instant::now())).await,
    ];
    for late in late.map(failure) {
        assert_eq!(late.kind(), FailureKind::DeadlineExceeded);
        assert!(!late.may_have_run());
    }
    assert_eq!((server.stats().calls, lab.additions()), (0, 0));
    // The shortest time there is may be enough, and whoever is told that it was not can rely on what it is told.
    for _ in 0..50 {
        let before = lab.additions();
        match within(client.add(1).timeout(Duration::from_micros(1))).await {
            Ok(_) => assert_eq!(lab.additions(), before + 1),
            Err(CallError::Failed(late)) => {
                assert_eq!(late.kind(), FailureKind::DeadlineExceeded);
                within(client.echo("behind it")).await.unwrap();
                assert!(late.may_have_run() || lab.additions() == before, "{late}");
            }
            Err(other) => panic!("{other:?}"),
        }
    }
    // T2: a time beyond what the clock can count is none.
    assert!(within(client.add(1).timeout(Duration::MAX)).await.is_ok());
}

/// P-35: the time of a call passes also while others keep the thread of its connection.
#[test]
fn a_call_whose_time_is_taken_by_another_is_not_started() {
    let lab = Lab::default();
    let server = serve(&lab);
    let mut peer = RawPeer::greeted(&server.addresses()[0]);
    let both = [
        call(0, "stall", &number(1)),
        timed_call(1, "add", 5_000, &number(1)),
    ];
    peer.send(&both.concat());
    until_blocking("handler stalls", || lab.saw(Event::Started(1)));
    let start = Instant::now();
    until_blocking("time is up", || start.elapsed() > Duration::from_millis(20));
    lab.release(1);
    assert_eq!(peer.answer().number(), 1);
    assert_eq!(
        peer.failure(),
        (
            code::EXPIRED,
            "time ran out before the method was started".to_owned()
        )
    );
    assert_eq!(lab.additions(), 0);
}

/// At the limit, connections wait: without being closed, and without the room that listeners hold on which nobody comes.
#[test]
fn connections_beyond_the_limit_wait_for_the_others_to_close() {
    let lab = Lab::default();
    let server = builder(&lab)
        .limits(patient_limits())
        .reactors(2)
        .max_connections(1)
        .listen("tcp://127.0.0.1:0")
        .listen("tcp://127.0.0.1:0")
        .start()
        .unwrap();
    for round in 0..3 {
        for address in server.addresses() {
            let mut first = RawPeer::greeted(address);
            let mut second = RawPeer::connect(address);
            second.send(&[&PREFACE[..], &call(0, "add", &number(1))].concat());
            let before = lab.additions();
            for _ in 0..10 {
                first.send(&call(0, "echo", &[0xff; 8]));
                assert_eq!(first.answer().kind, REPLY);
            }
            assert_eq!(
                (lab.additions(), server.stats().connections),
                (before, 1),
                "round {round}"
            );
            drop(first);
            second.read_preface();
            assert_eq!(second.answer().number(), before + 1);
            drop(second);
            until_blocking("both are gone", || server.stats().connections == 0);
        }
    }
}

/// P-30: calls beyond what the server takes wait at the client, and all of them are answered.
#[tokio::test]
async fn calls_beyond_the_limit_wait_for_others_to_end() {
    let lab = Lab::default();
    let limits = Limits {
        max_calls: 16,
        ..Limits::default()
    };
    let server = builder(&lab)
        .limits(limits)
        .listen("tcp://127.0.0.1:0")
        .start()
        .unwrap();
    let client = client(&server).await;
    let mut calls = JoinSet::new();
    for key in 0..100 {
        calls.spawn(client.hold(key).owned());
    }
    let running = || lab.count(|event| matches!(event, Event::Started(_)));
    let ended = || lab.count(|event| matches!(event, Event::Finished(_)));
    until("sixteen run", || running() == 16).await;
    for key in 0..100 {
        lab.release(key);
    }
    let mut keys: Vec<_> = within(calls.join_all())
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    keys.sort_unstable();
    assert!(keys.into_iter().eq(0..100));
    assert_eq!((running(), ended()), (100, 100));
}

/// What a server in another process has counted.
#[service]
trait Remote {
    async fn accepted_and_paused(&self) -> (u64, u64);
    async fn open(&self) -> u64;
}

#[derive(Clone, Default)]
struct Itself(Arc<OnceLock<Server>>);

impl Itself {
    fn stats(&self) -> Stats {
        self.0.get().map(Server::stats).unwrap_or_default()
    }
}

impl Remote for Itself {
    async fn accepted_and_paused(&self) -> (u64, u64) {
        (self.stats().accepted, self.stats().accept_pauses)
    }

    async fn open(&self) -> u64 {
        self.stats().connections
    }
}

/// R5: a process without file descriptors serves whom it has, and everybody else once there are some.
#[tokio::test]
async fn running_out_of_file_descriptors_pauses_accepting_and_nothing_else() {
    if child::is_server() {
        let itself = Itself::default();
        let server = Server::builder()
            .service(RemoteServer::new(itself.clone()))
            .limits(patient_limits())
            .reactors(1)
            .listen("tcp://127.0.0.1:0")
            .start()
            .unwrap();
        let address = server.addresses()[0].clone();
        assert!(itself.0.set(server).is_ok());
        child::serve(&address);
    }
    let test = "limits::running_out_of_file_descriptors_pauses_accepting_and_nothing_else";
    let server = ChildServer::spawn(test, 40);
    let connect = || async { RemoteClient::new(Channel::connect(server.address.clone()).await.unwrap()) };
    let client = within(connect()).await;
    let crowd: Vec<_> = (0..60).map(|_| RawPeer::connect(&server.address)).collect();
    let paused = async {
        // Every look is a call that is answered meanwhile.
        while client.accepted_and_paused().owned().await.unwrap().1 < 3 {}
    };
    within(paused).await;
    let (accepted, _) = within(client.accepted_and_paused().owned()).await.unwrap();
    assert!(
        (5..40).contains(&accepted),
        "{accepted} connections with 40 descriptors"
    );
    // Who comes now waits.
    let newcomer =
        tokio::spawn(async move { Channel::connect(server.address.clone()).await.map(|_| server) });
    for _ in 0..50 {
        within(client.open()).await.unwrap();
    }
    assert!(!newcomer.is_finished());
    drop(crowd);
    let server = within(newcomer).await.unwrap().unwrap();
    let closed = async { while client.open().owned().await.unwrap() > 2 {} };
    within(closed).await;
    let other = RemoteClient::new(within(Channel::connect(server.address.clone())).await.unwrap());
    assert!(within(other.accepted_and_paused().owned()).await.unwrap().0 > 60);
}

/// What a refused call is told names the limit that the operator has to change, and is counted nowhere as a fault.
#[test]
fn a_call_id_beyond_the_limit_is_refused() {
    let limits = Limits {
        max_calls: 16,
        ..Limits::default()
    };
    let server = builder(&Lab::default())
        .limits(limits)
        .listen("tcp://127.0.0.1:0")
        .start()
        .unwrap();
    let mut peer = RawPeer::greeted(&server.addresses()[0]);
    peer.send(&[call(16, "add", &number(1)), call(15, "add", &number(1))].concat());
    let refused = peer.answer();
    assert_eq!((refused.kind, refused.aux), (FAILURE, code::REFUSED));
    assert_eq!(
        refused.text(),
        "call id 16 is not below the limit of 16 calls in flight"
    );
    assert_eq!(peer.answer().number(), 1);
}
