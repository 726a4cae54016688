//! Burst: connections that are opened, greeted and used by many at once while the server begins to shut down.

mod callers;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rpc_core::service;
use rpc_server::{Address, Server, ServerBuilder};

use self::callers::{Outcome, Part, call_as_client, call_by_hand};
use crate::support::{socket_path, until_blocking};

/// What the burst calls.
#[service]
trait Tally {
    /// Counts the call.
    async fn count(&self, key: u64) -> u64;
    /// The same on a worker.
    fn count_at_work(&self, key: u64) -> u64;
    /// Counts the call and never returns.
    async fn linger(&self, key: u64) -> u64;
}

/// How often each call ran, by the handlers' own count.
#[derive(Clone, Default)]
struct Runs(Arc<Mutex<BTreeMap<u64, u32>>>);

impl Runs {
    fn note(&self, key: u64) -> u64 {
        *self.0.lock().unwrap().entry(key).or_default() += 1;
        key
    }

    fn of(&self, key: u64) -> u32 {
        self.0.lock().unwrap().get(&key).copied().unwrap_or_default()
    }

    fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

impl Tally for Runs {
    async fn count(&self, key: u64) -> u64 {
        self.note(key)
    }

    fn count_at_work(&self, key: u64) -> u64 {
        self.note(key)
    }

    async fn linger(&self, key: u64) -> u64 {
        self.note(key);
        std::future::pending().await
    }
}

/// Threads, and connections of each, one after the other.
const THREADS: usize = 40;
const CONNECTIONS: usize = 5;
/// No test takes as long.
const GRACE: Duration = Duration::from_secs(600);

fn tally(runs: &Runs) -> ServerBuilder {
    Server::builder()
        .service(TallyServer::new(runs.clone()))
        .reactors(2)
        .workers(1)
        .grace(GRACE)
        .listen("tcp://127.0.0.1:0")
        .listen(format!("unix://{}", socket_path().display()))
}

/// What has become of the calls of the burst, by their keys.
type Outcomes = BTreeMap<u64, Outcome>;

/// Calls from many connections while `meanwhile` happens to the server.
fn burst(addresses: &[Address], meanwhile: impl FnOnce()) -> Outcomes {
    std::thread::scope(|scope| {
        let callers: Vec<_> = (0..THREADS)
            .map(|thread| {
                let part = Part {
                    address: &addresses[thread / 2 % addresses.len()],
                    first_key: (thread * CONNECTIONS * callers::CALLS) as u64,
                    connections: CONNECTIONS,
                };
                scope.spawn(move || match thread % 2 {
                    0 => call_by_hand(&part),
                    _ => call_as_client(&part),
                })
            })
            .collect();
        meanwhile();
        callers
            .into_iter()
            .flat_map(|caller| caller.join().unwrap())
            .collect()
    })
}

/// Nobody was told anything wrong about a call. How many there were that ran, that did not run, and of which their callers do not know.
fn assert_true(outcomes: &Outcomes, runs: &Runs) -> [usize; 3] {
    for (key, outcome) in outcomes {
        let possible = match outcome {
            Outcome::Answered => 1..=1,
            Outcome::DidNotRun => 0..=0,
            Outcome::Unknown => 0..=1,
        };
        assert!(
            possible.contains(&runs.of(*key)),
            "{key}: {outcome:?}, and it ran {} times",
            runs.of(*key)
        );
    }
    [Outcome::Answered, Outcome::DidNotRun, Outcome::Unknown]
        .map(|wanted| outcomes.values().filter(|outcome| **outcome == wanted).count())
}

/// Shuts a server down when it has accepted so many connections of a burst: every call was answered, or its caller knows that it did not run.
#[expect(clippy::print_stdout, reason = "shown by a test that fails")]
fn assert_nobody_in_doubt(builder: impl Fn(&Runs) -> ServerBuilder, accepted: u64) {
    let runs = Runs::default();
    let server = builder(&runs).start().unwrap();
    let addresses = server.addresses().to_vec();
    let mut cut_off = usize::MAX;
    let outcomes = burst(&addresses, || {
        until_blocking("the burst has begun", || server.stats().accepted >= accepted);
        cut_off = server.shutdown_blocking().cut_off;
    });
    let [answered, did_not_run, unknown] = assert_true(&outcomes, &runs);
    println!("after {accepted}: {answered} answered, {did_not_run} did not run");
    assert_eq!((cut_off, unknown), (0, 0));
    assert_eq!(runs.count(), answered, "what ran was answered");
}

/// L7
#[test]
fn a_shutdown_during_a_burst_leaves_nobody_in_doubt() {
    for accepted in [1, 10, 30, 60, 100, 150] {
        assert_nobody_in_doubt(tally, accepted);
    }
}

/// L7: most of the burst is accepted by the kernel only, or waits for room.
#[test]
fn a_shutdown_leaves_nobody_in_doubt_who_waits_for_room() {
    for accepted in [1, 5, 20, 50] {
        assert_nobody_in_doubt(|runs| tally(runs).max_connections(3), accepted);
        assert_nobody_in_doubt(|runs| tally(runs).max_handshakes(1), accepted);
    }
}

/// L7: the second signal ends what the first one waits for, at once, and nobody is told that a call did not run which did.
#[test]
fn a_second_signal_during_a_burst_ends_it_at_once() {
    for accepted in [1, 30, 100] {
        let runs = Runs::default();
        let server = tally(&runs).start().unwrap();
        let (addresses, closer) = (server.addresses().to_vec(), server.closer());
        let mut stuck = callers::Stuck::call(&addresses[0]);
        until_blocking("a call runs that does not end", || {
            runs.of(callers::Stuck::KEY) == 1
        });
        let start = Instant::now();
        let outcomes = burst(&addresses, || {
            until_blocking("the burst has begun", || server.stats().accepted >= accepted);
            let shutdown = std::thread::spawn(|| server.shutdown_blocking());
            stuck.expect_announcement();
            assert!(!shutdown.is_finished());
            closer.close();
            until_blocking("shutdown is over", || shutdown.is_finished());
            assert!(shutdown.join().unwrap().cut_off >= 1);
        });
        assert!(start.elapsed() < GRACE / 10);
        stuck.expect_end();
        println!("after {accepted}: {:?}", assert_true(&outcomes, &runs));
    }
}
