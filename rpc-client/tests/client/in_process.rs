//! Services in the same process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rpc_client::{InProcess, in_process};
use rpc_core::{CallError, Context, FailureKind, PeerAddress, Receiver, Sender, StreamError, service};

use crate::{Odd, Probe, ProbeClient, ProbeServer, started, within};

#[derive(Default)]
struct Here {
    /// Set when the future of `hang` is dropped.
    dropped: Arc<AtomicBool>,
}

struct SetOnDrop(Arc<AtomicBool>);

impl Drop for SetOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Probe for Here {
    async fn next(&self, number: u64) -> u64 {
        number + 1
    }

    async fn even(&self, number: u64) -> Result<u64, Odd> {
        if number.is_multiple_of(2) {
            Ok(number)
        } else {
            Err(Odd { number })
        }
    }

    async fn swallow(&self, bytes: &[u8]) -> u64 {
        bytes.iter().map(|byte| u64::from(*byte)).sum()
    }

    async fn fill(&self, len: u64) -> Vec<u8> {
        (0..len).map(|index| index.to_le_bytes()[0]).collect()
    }

    async fn hang(&self) -> u64 {
        let _guard = SetOnDrop(Arc::clone(&self.dropped));
        std::future::pending().await
    }

    async fn explode(&self) -> u64 {
        panic!("handler of a test")
    }

    fn work(&self, number: u64) -> u64 {
        number + 1
    }

    fn explode_at_work(&self) -> u64 {
        panic!("handler of a test")
    }
}

fn client() -> ProbeClient<InProcess<ProbeServer<Here>>> {
    ProbeClient::new(in_process(ProbeServer::new(Here::default())))
}

fn failure(error: &CallError) -> (FailureKind, bool) {
    (error.failure().unwrap().kind(), error.may_have_run())
}

#[tokio::test]
async fn a_value_comes_back() {
    assert_eq!(*client().next(1).await.unwrap(), 2);
    assert_eq!(client().next(1).owned().await.unwrap(), 2);
    assert_eq!(*client().swallow(&[1; 1000]).await.unwrap(), 1000);
    assert_eq!(client().fill(3).await.unwrap().as_slice(), [0, 1, 2]);
}

#[tokio::test]
async fn an_error_of_the_method_comes_back_as_such() {
    assert_eq!(*client().even(4).await.unwrap(), 4);
    assert_eq!(
        client().even(3).await.unwrap_err(),
        CallError::Method(Odd { number: 3 })
    );
}

#[tokio::test]
async fn a_plain_handler_runs_on_the_spot() {
    assert_eq!(*client().work(1).await.unwrap(), 2);
}

#[tokio::test]
async fn a_panic_is_a_failure_of_its_call() {
    let client = client();
    for error in [
        client.explode().await.unwrap_err(),
        client.explode_at_work().await.unwrap_err(),
    ] {
        assert_eq!(failure(&error), (FailureKind::ServerFailed, true));
        assert!(
            error
                .to_string()
                .ends_with("server failed: handler panicked (the method may have run)"),
            "{error}"
        );
    }
    assert_eq!(*client.next(1).await.unwrap(), 2);
}

#[tokio::test]
async fn a_deadline_drops_the_handler() {
    let here = Here::default();
    let dropped = Arc::clone(&here.dropped);
    let client = ProbeClient::new(in_process(ProbeServer::new(here)));
    let error = within(client.hang().timeout(Duration::from_millis(20)))
        .await
        .unwrap_err();
    assert_eq!(failure(&error), (FailureKind::DeadlineExceeded, true));
    assert!(dropped.load(Ordering::Relaxed));
}

#[tokio::test]
async fn a_call_whose_deadline_has_passed_is_not_started() {
    let error = client().explode().deadline(Instant::now()).await.unwrap_err();
    assert_eq!(failure(&error), (FailureKind::DeadlineExceeded, false));
}

#[tokio::test]
async fn dropping_a_call_drops_the_handler() {
    let here = Here::default();
    let dropped = Arc::clone(&here.dropped);
    let client = ProbeClient::new(in_process(ProbeServer::new(here)));
    let call = started(client.hang()).await;
    assert!(!dropped.load(Ordering::Relaxed));
    drop(call);
    assert!(dropped.load(Ordering::Relaxed));
}

#[tokio::test]
async fn arguments_are_limited_as_on_a_connection() {
    let error = client().swallow(&vec![0; 4 << 20]).await.unwrap_err();
    assert_eq!(failure(&error), (FailureKind::LocalLimit, false));
}

/// A service that tells who called.
#[service]
trait Door {
    async fn is_in_process(&self, cx: &Context) -> bool;
}

struct Doorman;

impl Door for Doorman {
    async fn is_in_process(&self, cx: &Context) -> bool {
        cx.peer().address == PeerAddress::InProcess && cx.peer().credentials.is_none()
    }
}

#[tokio::test]
async fn a_handler_knows_that_its_caller_is_in_the_process() {
    let client = DoorClient::new(in_process(DoorServer::new(Doorman)));
    assert!(*client.is_in_process().await.unwrap());
}

mod elsewhere {
    use rpc_core::service;

    /// The same service, of another build.
    #[service(name = "Probe")]
    pub(super) trait NewProbe {
        async fn next(&self, number: u32) -> u64;
        async fn added(&self) -> u64;
    }
}

#[tokio::test]
async fn another_build_of_the_service_is_told_apart() {
    let caller = in_process(ProbeServer::new(Here::default()));
    let newer = elsewhere::NewProbeClient::new(caller);
    let error = newer.next(1).await.unwrap_err();
    assert_eq!(failure(&error), (FailureKind::SchemaMismatch, false));
    assert!(
        error.to_string().contains("Probe.next(number: u64) -> u64"),
        "{error}"
    );
    assert_eq!(
        failure(&newer.added().await.unwrap_err()),
        (FailureKind::UnknownMethod, false)
    );
}

/// A service that hands long bytes on.
#[service]
trait Relay {
    async fn turn(&self, number: u64, bytes: Bytes) -> (Bytes, u64);
}

struct Mirror;

impl Relay for Mirror {
    async fn turn(&self, number: u64, bytes: Bytes) -> (Bytes, u64) {
        (bytes, number)
    }
}

#[tokio::test]
async fn long_bytes_that_are_attached_to_a_frame_arrive() {
    let client = RelayClient::new(in_process(RelayServer::new(Mirror)));
    for len in [0, 1_000, 16_383, 16_384, 100_001] {
        let bytes = Bytes::from(vec![7; len]);
        let (back, number) = client.turn(3, &bytes).owned().await.unwrap();
        assert_eq!((back, number), (bytes, 3));
    }
}

/// A service with channels.
#[service]
trait Counting {
    async fn count(&self, up_to: u64, numbers: Sender<u64>) -> u64;
    fn doubled(&self, numbers: Receiver<u64>, doubled: Sender<u64>);
    async fn sum(&self, numbers: Receiver<u64>) -> Result<u64, String>;
}

struct Counter;

impl Counting for Counter {
    async fn count(&self, up_to: u64, mut numbers: Sender<u64>) -> u64 {
        for number in 0..up_to {
            if numbers.send(&number).await.is_err() {
                return number;
            }
        }
        up_to
    }

    fn doubled(&self, mut numbers: Receiver<u64>, mut doubled: Sender<u64>) {
        while let Ok(Some(number)) = numbers.blocking_recv() {
            doubled.blocking_send(&(number.to_native() * 2)).unwrap();
        }
    }

    async fn sum(&self, mut numbers: Receiver<u64>) -> Result<u64, String> {
        let mut sum = 0;
        while let Some(number) = numbers.recv().await.map_err(|error| error.to_string())? {
            sum += number.to_native();
        }
        Ok(sum)
    }
}

fn counting() -> CountingClient<InProcess<CountingServer<Counter>>> {
    CountingClient::new(in_process(CountingServer::new(Counter)))
}

#[tokio::test]
async fn channels_go_on_while_nobody_polls_the_call() {
    let (mut numbers, call) = counting().count(50_000).open().await.unwrap();
    let mut next = 0;
    while let Some(number) = within(numbers.recv()).await.unwrap() {
        assert_eq!(*number, next);
        next += 1;
    }
    assert_eq!((next, call.owned().await), (50_000, Ok(50_000)));
}

#[tokio::test]
async fn a_handler_that_blocks_has_channels_too() {
    let (mut numbers, mut doubled, call) = counting().doubled().open().await.unwrap();
    for number in 0..1_000 {
        numbers.send(&number).await.unwrap();
        assert_eq!(*within(doubled.recv()).await.unwrap().unwrap(), 2 * number);
    }
    numbers.finish().unwrap();
    within(call).await.unwrap();
}

#[tokio::test]
async fn dropping_an_end_or_the_call_is_seen_on_the_other_side() {
    let (numbers, call) = counting().sum().open().await.unwrap();
    drop(numbers);
    let error = within(call).await.unwrap_err().to_string();
    assert!(error.contains("before its time"), "{error}");
    let (mut numbers, call) = counting().count(u64::MAX).open().await.unwrap();
    assert!(within(numbers.recv()).await.unwrap().is_some());
    drop(call);
    // What had been sent is still there, and then the reason.
    let end = loop {
        match within(numbers.recv()).await {
            Ok(Some(_)) => {}
            end => break end,
        }
    };
    let StreamError::Call(failure) = end.unwrap_err() else {
        panic!("another end")
    };
    assert_eq!(failure.kind(), FailureKind::Cancelled);
}
