//! Busy polling: a thread that looks for more does not sleep, lets everybody else of its runtime go on, and stops looking in time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rpc_client::Channel;
use rpc_client::blocking::BlockingChannel;
use rpc_core::FailureKind;
use rpc_server::{Server, ServerBuilder};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tokio::time::sleep;

use crate::support::lab::{ExperimentsClient, Lab};
use crate::support::{Client, PATIENCE, builder, client, failure, serve, until, until_blocking, within};

const OFF: Duration = Duration::ZERO;
/// So short that a test sees the end of it.
const SHORT: Duration = Duration::from_millis(1);
/// So long that none does.
const LONG: Duration = Duration::from_secs(600);

/// How often the thread of a runtime has gone to sleep.
#[derive(Clone, Default)]
struct Sleeps(Arc<AtomicUsize>);

impl Sleeps {
    fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    /// Waits, on that runtime, until its thread has gone to sleep once more.
    async fn another(&self) {
        let (before, end) = (self.count(), Instant::now() + PATIENCE);
        while self.count() == before {
            assert!(Instant::now() < end, "the thread does not sleep");
            sleep(SHORT).await;
        }
    }
}

/// A runtime whose sleeps are counted.
fn runtime() -> (Runtime, Sleeps) {
    let sleeps = Sleeps::default();
    let counted = sleeps.clone();
    let mut builder = Builder::new_current_thread();
    builder.enable_all().on_thread_park(move || {
        counted.0.fetch_add(1, Ordering::SeqCst);
    });
    (builder.build().unwrap(), sleeps)
}

/// A client that looks for answers for so long.
async fn looker(server: &Server, time: Duration) -> Client {
    let channel = Channel::builder()
        .keep_alive(None, Duration::ZERO)
        .busy_poll(time);
    let channel = within(channel.connect(server.addresses()[0].clone()));
    ExperimentsClient::new(channel.await.unwrap())
}

/// A server that looks for calls for so long.
fn looking_server(time: Duration) -> ServerBuilder {
    let server = builder(&Lab::default()).busy_poll(time);
    server.listen("tcp://127.0.0.1:0")
}

/// Repeats a series of calls until the thread has not slept in one of them: on a busy machine a look comes late, and the connection rests.
fn until_awake(mut slept: impl FnMut() -> usize) {
    let end = Instant::now() + 3 * PATIENCE;
    while slept() > 0 {
        assert!(Instant::now() < end, "the thread sleeps in every series");
    }
}

/// How often the thread of a client sleeps in a series of calls one after the other.
fn sleeps_of_client(client: &Client, (runtime, sleeps): &(Runtime, Sleeps)) -> usize {
    let before = sleeps.count();
    runtime.block_on(async {
        for number in 0..10 {
            within(client.add(number)).await.unwrap();
        }
    });
    sleeps.count() - before
}

#[test]
fn a_client_that_looks_for_answers_does_not_sleep_meanwhile() {
    let server = serve(&Lab::default());
    let runtime = runtime();
    let connect = |time| runtime.0.block_on(looker(&server, time));
    let (sleeps, looks) = (connect(OFF), connect(LONG));
    assert!(sleeps_of_client(&sleeps, &runtime) > 0);
    until_awake(|| sleeps_of_client(&looks, &runtime));
}

/// Runs a server of one thread for a client of another, which is told how often that sleeps.
fn with_server(time: Duration, run: impl FnOnce(&BlockingClient, &Sleeps)) {
    let (runtime, sleeps) = runtime();
    let (started, address) = std::sync::mpsc::channel();
    let (stop, stopped) = oneshot::channel::<()>();
    let server = thread::spawn(move || {
        runtime.block_on(async {
            let server = looking_server(time).start_here().unwrap();
            started.send(server.addresses()[0].clone()).unwrap();
            let _ = stopped.await;
            within(server.shutdown()).await;
        });
    });
    let channel = BlockingChannel::connect(address.recv_timeout(PATIENCE).unwrap()).unwrap();
    run(&ExperimentsClient::new(channel), &sleeps);
    stop.send(()).unwrap();
    server.join().unwrap();
}

/// How often the thread of a server sleeps between the first and the last of a series of calls.
fn sleeps_of_server(client: &BlockingClient, sleeps: &Sleeps) -> usize {
    client.add(0).wait().unwrap();
    let before = sleeps.count();
    for number in 0..10 {
        client.add(number).wait().unwrap();
    }
    sleeps.count() - before
}

#[test]
fn a_server_that_looks_for_calls_does_not_sleep_between_them() {
    with_server(OFF, |client, sleeps| {
        assert!(sleeps_of_server(client, sleeps) > 0)
    });
    with_server(LONG, |client, sleeps| {
        until_awake(|| sleeps_of_server(client, sleeps))
    });
}

#[test]
fn a_client_whose_answer_takes_its_time_sleeps_in_the_end() {
    let lab = Lab::default();
    let server = serve(&lab);
    let (runtime, sleeps) = runtime();
    runtime.block_on(async {
        let client = looker(&server, SHORT).await;
        let held = tokio::spawn(client.hold(1).owned().into_future());
        sleeps.another().await;
        lab.release(1);
        assert_eq!(within(held).await.unwrap().unwrap(), 1);
    });
}

#[test]
fn a_client_looks_again_for_the_answer_of_every_call() {
    let server = serve(&Lab::default());
    let (runtime, sleeps) = runtime();
    runtime.block_on(async {
        let client = looker(&server, SHORT).await;
        // Also while another one is under way that takes its time.
        let other = client.clone();
        let _held = tokio::spawn(async move { other.hold(1).await.map(drop) });
        let end = Instant::now() + PATIENCE;
        loop {
            // The time for the answer before is over.
            sleep(2 * SHORT).await;
            let before = sleeps.count();
            within(client.add(1)).await.unwrap();
            // On a busy machine some answers take longer.
            if sleeps.count() == before {
                break;
            }
            assert!(Instant::now() < end, "it sleeps at every call");
        }
    });
}

#[test]
fn a_server_without_calls_sleeps_in_the_end() {
    let (runtime, sleeps) = runtime();
    runtime.block_on(async {
        let server = looking_server(SHORT).start_here().unwrap();
        let client = client(&server).await;
        within(client.add(1)).await.unwrap();
        sleeps.another().await;
        within(client.add(1)).await.unwrap();
    });
}

#[test]
fn others_of_the_runtime_go_on_and_deadlines_hold_while_a_client_looks() {
    let server = serve(&Lab::default());
    let (runtime, _) = runtime();
    runtime.block_on(async {
        let client = looker(&server, LONG).await;
        let other = tokio::spawn(sleep(SHORT));
        let failed = failure(within(client.hold(1).timeout(50 * SHORT)).await);
        assert_eq!(failed.kind(), FailureKind::DeadlineExceeded);
        within(other).await.unwrap();
    });
}

#[test]
fn a_clock_that_is_paused_is_not_kept_from_moving_on() {
    let server = serve(&Lab::default());
    let (runtime, _) = runtime();
    runtime.block_on(async {
        let client = looker(&server, SHORT).await;
        tokio::time::pause();
        // It moves on when the runtime has nothing else to do.
        let failed = failure(client.hold(1).timeout(LONG).await);
        assert_eq!(failed.kind(), FailureKind::DeadlineExceeded);
    });
}

type BlockingClient = ExperimentsClient<BlockingChannel>;

fn blocking_looker(server: &Server, time: Duration) -> BlockingClient {
    let channel = BlockingChannel::builder().busy_poll(time);
    ExperimentsClient::new(channel.connect_blocking(server.addresses()[0].clone()).unwrap())
}

/// How often this thread has gone to sleep, as the kernel counts. To give way is none.
fn sleeps_of_this_thread() -> usize {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    let mut lines = status.lines();
    let count = lines.find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    count.unwrap().trim().parse().unwrap()
}

#[test]
fn a_blocking_client_that_looks_for_answers_does_not_sleep_meanwhile() {
    let server = serve(&Lab::default());
    let slept = |client: &BlockingClient| {
        let before = sleeps_of_this_thread();
        for number in 0..10 {
            client.add(number).wait().unwrap();
        }
        sleeps_of_this_thread() - before
    };
    let (sleeps, looks) = (blocking_looker(&server, OFF), blocking_looker(&server, LONG));
    // An answer may be quicker than the sleep.
    until_blocking("the thread sleeps", || slept(&sleeps) > 0);
    until_awake(|| slept(&looks));
}

#[test]
fn a_blocking_client_that_looks_for_answers_goes_on_after_a_deadline() {
    let server = serve(&Lab::default());
    let client = blocking_looker(&server, LONG);
    assert_eq!(client.add(1).wait().unwrap().to_native(), 1);
    let failed = failure(client.hold(1).timeout(50 * SHORT).wait());
    assert_eq!(failed.kind(), FailureKind::DeadlineExceeded);
    assert_eq!(client.add(1).wait().unwrap().to_native(), 2);
}

/// Makes many calls at once, and looks whether each has its own answer.
async fn crowd(client: &Client) {
    let calls: Vec<_> = (0..64)
        .map(|number: u32| {
            let client = client.clone();
            tokio::spawn(async move { client.echo(&number.to_string()).owned().await.unwrap() })
        })
        .collect();
    for (number, call) in calls.into_iter().enumerate() {
        assert_eq!(within(call).await.unwrap(), number.to_string());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_of_one_runtime_that_look_answer_each_other() {
    let server = looking_server(LONG).start_here().unwrap();
    let client = looker(&server, LONG).await;
    for _ in 0..10 {
        crowd(&client).await;
    }
}

#[tokio::test]
async fn a_server_that_looks_shuts_down_and_lets_go_of_those_who_leave() {
    let server = looking_server(LONG).start().unwrap();
    let (leaves, stays) = (client(&server).await, client(&server).await);
    crowd(&leaves).await;
    crowd(&stays).await;
    drop(leaves);
    until("one connection has ended", || server.stats().connections == 1).await;
    within(server.shutdown()).await;
}
