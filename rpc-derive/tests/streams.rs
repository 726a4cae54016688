//! Streams: channels of every kind and number go through client, dispatcher and user's method, in both directions at once.

#![allow(
    clippy::unwrap_used,
    reason = "handlers are part of the tests: what fails in them fails the test"
)]

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rpc_core::stream::{RunningCall, StreamCall};
use rpc_core::{
    Archived, CallError, Code, Context, FailureKind, Receiver, SendError, Sender, StreamError, message,
    service,
};

use crate::support::bridge::block_on;
use crate::support::{InProcess, assert_spawnable, run};

#[message]
#[derive(Clone, Debug, PartialEq)]
struct Row {
    key: String,
    value: u64,
}

#[message]
#[derive(Clone, Debug, PartialEq, Eq)]
struct Broken {
    after: u64,
}

#[service]
#[expect(clippy::too_many_arguments, reason = "channels between everything else")]
trait Tables {
    async fn scan(&self, prefix: &str, rows: Sender<Row>) -> u64;
    async fn import(&self, rows: Receiver<Row>, table: String) -> Result<u64, Broken>;
    async fn convert(&self, from: Receiver<u64>, into: Sender<String>);
    async fn sort(
        &self,
        odd: Sender<u64>,
        left: Receiver<u64>,
        even: Sender<u64>,
        right: Receiver<u64>,
    ) -> (u64, u64);
    async fn between(
        &self,
        cx: &Context,
        text: &str,
        first: Sender<String>,
        row: &Archived<Row>,
        second: Receiver<String>,
        rows: &[Archived<Row>],
        own: Row,
        third: Sender<Row>,
        number: u32,
    ) -> String;
    fn on_workers(
        &self,
        cx: &Context,
        offset: u64,
        from: Receiver<u64>,
        into: Sender<u64>,
    ) -> Result<u64, Broken>;
    async fn fails(&self, rows: Sender<u64>, after: u64) -> Result<(), Broken>;
    async fn endless(&self, rows: Sender<u64>) -> String;
    async fn takes_three(&self, rows: Receiver<u64>) -> u64;
    async fn large(&self, blocks: Sender<Vec<u8>>, number: u64);
    async fn waits(&self, rows: Receiver<u64>, running: Sender<bool>) -> u64;
    #[rustfmt::skip]
    async fn eight(
        &self,
        a: Sender<u8>, b: Sender<u8>, c: Sender<u8>, d: Sender<u8>,
        e: Sender<u8>, f: Sender<u8>, g: Sender<u8>, h: Receiver<u8>,
    );
}

#[derive(Clone, Default)]
struct Store {
    seen: Arc<Mutex<Vec<String>>>,
    dropped: Arc<AtomicBool>,
}

impl Store {
    fn note(&self, text: impl Into<String>) {
        self.seen.lock().unwrap().push(text.into());
    }

    fn noted(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

/// Notes that a handler's future is gone.
struct Dropped(Arc<AtomicBool>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

fn row(key: &str, value: u64) -> Row {
    Row {
        key: key.to_owned(),
        value,
    }
}

impl Tables for Store {
    async fn scan(&self, prefix: &str, mut rows: Sender<Row>) -> u64 {
        for value in 0..1000 {
            rows.send(&row(&format!("{prefix}{value}"), value)).await.unwrap();
        }
        1000
    }

    async fn import(&self, mut rows: Receiver<Row>, table: String) -> Result<u64, Broken> {
        let mut sum = 0;
        loop {
            match rows.recv().await {
                Ok(Some(row)) => sum += row.value.to_native(),
                Ok(None) => break,
                Err(error) => {
                    self.note(format!("{table}: {error}"));
                    return Err(Broken { after: sum });
                }
            }
        }
        Ok(sum)
    }

    async fn convert(&self, mut from: Receiver<u64>, mut into: Sender<String>) {
        while let Some(number) = from.recv().await.unwrap() {
            into.send(&number.to_string()).await.unwrap();
        }
    }

    async fn sort(
        &self,
        mut odd: Sender<u64>,
        mut left: Receiver<u64>,
        mut even: Sender<u64>,
        mut right: Receiver<u64>,
    ) -> (u64, u64) {
        let mut counts = (0, 0);
        while let Some(number) = left.recv().await.unwrap() {
            counts.0 += 1;
            let number = number.to_native();
            let to = if number % 2 == 1 { &mut odd } else { &mut even };
            to.send(&number).await.unwrap();
        }
        odd.finish().unwrap();
        while let Some(number) = right.recv().await.unwrap() {
            counts.1 += 1;
            even.send(&(number.to_native() * 2)).await.unwrap();
        }
        counts
    }

    async fn between(
        &self,
        cx: &Context,
        text: &str,
        mut first: Sender<String>,
        row: &Archived<Row>,
        mut second: Receiver<String>,
        rows: &[Archived<Row>],
        own: Row,
        mut third: Sender<Row>,
        number: u32,
    ) -> String {
        first.send(&text.to_owned()).await.unwrap();
        let received = second.recv().await.unwrap().unwrap();
        first.send(&row.key.as_str().to_owned()).await.unwrap();
        third.send(&own).await.unwrap();
        format!(
            "{} {} {number} {}",
            received.as_str(),
            rows.len(),
            cx.peer().address
        )
    }

    fn on_workers(
        &self,
        _cx: &Context,
        offset: u64,
        mut from: Receiver<u64>,
        mut into: Sender<u64>,
    ) -> Result<u64, Broken> {
        let mut sum = 0;
        loop {
            match from.blocking_recv() {
                Ok(Some(number)) => {
                    sum += number.to_native();
                    into.blocking_send(&(number.to_native() + offset)).unwrap();
                }
                Ok(None) => return Ok(sum),
                Err(error) => {
                    self.note(error.to_string());
                    return Err(Broken { after: sum });
                }
            }
        }
    }

    async fn fails(&self, mut rows: Sender<u64>, after: u64) -> Result<(), Broken> {
        for number in 0..after {
            rows.send(&number).await.unwrap();
        }
        Err(Broken { after })
    }

    async fn endless(&self, mut rows: Sender<u64>) -> String {
        let _dropped = Dropped(Arc::clone(&self.dropped));
        for number in 0.. {
            if let Err(error) = rows.send(&number).await {
                return error.to_string();
            }
        }
        unreachable!("nobody takes that many")
    }

    async fn takes_three(&self, mut rows: Receiver<u64>) -> u64 {
        let mut sum = 0;
        for _ in 0..3 {
            sum += rows.recv().await.unwrap().unwrap().to_native();
        }
        drop(rows);
        sum
    }

    async fn large(&self, mut blocks: Sender<Vec<u8>>, number: u64) {
        for index in 0..number {
            let len = 40_000 + usize::try_from(index).unwrap() % 20_000;
            blocks.send(&vec![index.to_le_bytes()[0]; len]).await.unwrap();
        }
    }

    async fn waits(&self, _rows: Receiver<u64>, mut running: Sender<bool>) -> u64 {
        let _dropped = Dropped(Arc::clone(&self.dropped));
        running.send(&true).await.unwrap();
        std::future::pending().await
    }

    #[rustfmt::skip]
    async fn eight(
        &self,
        mut a: Sender<u8>, mut b: Sender<u8>, mut c: Sender<u8>, mut d: Sender<u8>,
        mut e: Sender<u8>, mut f: Sender<u8>, mut g: Sender<u8>, mut h: Receiver<u8>,
    ) {
        let start = h.recv().await.unwrap().unwrap();
        for (sender, number) in [&mut a, &mut b, &mut c, &mut d, &mut e, &mut f, &mut g].into_iter().zip(*start..) {
            sender.send(&number).await.unwrap();
        }
    }
}

type Caller = InProcess<TablesServer<Store>>;

fn client() -> TablesClient<Caller> {
    served(&Store::default())
}

fn served(store: &Store) -> TablesClient<Caller> {
    TablesClient::new(InProcess::new(TablesServer::new(store.clone())))
}

/// Waits for what happens on the thread of a handler.
fn wait_for(what: &str, happened: impl Fn() -> bool) {
    let mut pauses = 0..1000;
    while !happened() {
        assert!(pauses.next().is_some(), "{what}: not within ten seconds");
        std::thread::sleep(Duration::from_millis(10));
    }
}

async fn numbers(mut stream: Receiver<u64>) -> Vec<u64> {
    let mut numbers = Vec::new();
    while let Some(number) = stream.recv().await.unwrap() {
        numbers.push(number.to_native());
    }
    numbers
}

#[test]
fn a_handler_sends_and_its_caller_reads_in_place() {
    let (keys, total) = block_on(assert_spawnable(async move {
        let (mut rows, scan) = client().scan("ada").open().await.unwrap();
        let mut keys = Vec::new();
        while let Some(row) = rows.recv().await.unwrap() {
            keys.push((row.key.as_str().to_owned(), row.value.to_native()));
        }
        assert!(rows.recv().await.unwrap().is_none(), "the end stays the end");
        (keys, *scan.await.unwrap())
    }));
    assert_eq!(total, 1000);
    assert_eq!(keys.len(), 1000);
    assert_eq!(keys[999], ("ada999".to_owned(), 999));
}

#[test]
fn a_caller_sends_and_the_handler_reads_in_place() {
    let total = block_on(async {
        let (mut rows, import) = client().import(&"table".to_owned()).open().await.unwrap();
        for value in 0..1000 {
            rows.send(&row("a row with a key that is not short", value))
                .await
                .unwrap();
        }
        rows.finish().unwrap();
        *import.await.unwrap()
    });
    assert_eq!(total, 499_500);
}

#[test]
fn both_send_at_once() {
    block_on(async {
        let (mut from, mut into, convert) = client().convert().open().await.unwrap();
        for number in 0..500_u64 {
            from.send(&number).await.unwrap();
            let text = into.recv().await.unwrap().unwrap();
            assert_eq!(text.as_str(), number.to_string());
        }
        from.finish().unwrap();
        assert!(into.recv().await.unwrap().is_none());
        convert.await.unwrap();
    });
}

#[test]
fn the_ends_are_in_the_order_of_the_parameters_whatever_their_directions() {
    block_on(async {
        let (odd, mut left, even, mut right, sort) = client().sort().open().await.unwrap();
        for number in 1..=5 {
            left.send(&number).await.unwrap();
        }
        left.finish().unwrap();
        for number in [10, 20] {
            right.send(&number).await.unwrap();
        }
        right.finish().unwrap();
        assert_eq!(numbers(odd).await, [1, 3, 5]);
        assert_eq!(numbers(even).await, [2, 4, 20, 40]);
        let counts = sort.await.unwrap();
        assert_eq!((counts.0.to_native(), counts.1.to_native()), (5, 2));
    });
}

#[test]
fn channels_stand_between_other_parameters() {
    block_on(async {
        let rows = [row("a", 1), row("b", 2)];
        let opening = client().between("text", &row("in place", 1), &rows, &row("own", 2), 7);
        let (mut first, mut second, mut third, between) = opening.open().await.unwrap();
        second.send(&"second".to_owned()).await.unwrap();
        assert_eq!(first.recv().await.unwrap().unwrap().as_str(), "text");
        assert_eq!(first.recv().await.unwrap().unwrap().as_str(), "in place");
        let own = third.recv().await.unwrap().unwrap().deserialize().unwrap();
        assert_eq!(own, row("own", 2));
        assert_eq!(between.await.unwrap().as_str(), "second 2 7 in-process");
    });
}

#[test]
fn eight_channels_are_as_many_as_there_can_be() {
    block_on(async {
        let (a, b, c, d, e, f, g, mut h, eight) = client().eight().open().await.unwrap();
        h.send(&10).await.unwrap();
        for (mut receiver, number) in [a, b, c, d, e, f, g].into_iter().zip(10..) {
            assert_eq!(*receiver.recv().await.unwrap().unwrap(), number);
        }
        eight.await.unwrap();
    });
}

#[test]
fn a_handler_that_blocks_uses_blocking_ends() {
    let (mut from, mut into, call) = block_on(client().on_workers(100).open()).unwrap();
    let sending = std::thread::spawn(move || {
        for number in 0..20_000 {
            from.blocking_send(&number).unwrap();
        }
        from.finish().unwrap();
    });
    for number in 0..20_000 {
        let received = into.blocking_recv().unwrap().unwrap().to_native();
        assert_eq!(received, number + 100);
    }
    assert!(into.blocking_recv().unwrap().is_none());
    sending.join().unwrap();
    assert_eq!(*block_on(call).unwrap(), 199_990_000);
}

#[test]
fn a_receiver_that_is_slow_holds_its_sender_up_and_gets_everything() {
    block_on(async {
        let (mut blocks, large) = client().large(200).open().await.unwrap();
        for index in 0..200_usize {
            let block = blocks.recv().await.unwrap().unwrap();
            assert_eq!(block.len(), 40_000 + index);
            assert!(block.iter().all(|byte| usize::from(*byte) == index));
        }
        assert!(blocks.recv().await.unwrap().is_none());
        large.await.unwrap();
    });
}

#[test]
fn a_receiver_that_is_dropped_stops_the_sender_and_not_the_call() {
    block_on(async {
        let (mut rows, endless) = client().endless().open().await.unwrap();
        assert_eq!(*rows.recv().await.unwrap().unwrap(), 0);
        drop(rows);
        assert_eq!(endless.await.unwrap().as_str(), SendError::Stopped.to_string());
    });
}

#[test]
fn a_handler_that_reads_no_more_stops_its_caller() {
    block_on(async {
        let (mut rows, call) = client().takes_three().open().await.unwrap();
        let error = loop {
            if let Err(error) = rows.send(&7).await {
                break error;
            }
        };
        assert!(
            matches!(error, SendError::Stopped | SendError::Ended(None)),
            "{error}"
        );
        assert_eq!(*call.await.unwrap(), 21);
    });
}

#[test]
fn a_caller_that_drops_its_sender_has_given_up() {
    let store = Store::default();
    block_on(async {
        let (mut rows, import) = served(&store).import(&"table".to_owned()).open().await.unwrap();
        rows.send(&row("key", 5)).await.unwrap();
        rows.flush().await.unwrap();
        drop(rows);
        assert_eq!(import.await.unwrap_err(), CallError::Method(Broken { after: 5 }));
    });
    let aborted = StreamError::Aborted {
        code: Code::CANCELLED,
    };
    assert_eq!(store.noted(), [format!("table: {aborted}")]);
}

#[test]
fn the_error_of_the_method_comes_behind_its_items() {
    block_on(async {
        let (mut rows, fails) = client().fails(3).open().await.unwrap();
        for number in 0..3 {
            assert_eq!(*rows.recv().await.unwrap().unwrap(), number);
        }
        assert_eq!(rows.recv().await.unwrap_err(), StreamError::MethodFailed);
        assert!(rows.recv().await.unwrap().is_none(), "an error is told once");
        assert_eq!(fails.await.unwrap_err(), CallError::Method(Broken { after: 3 }));
    });
}

#[test]
fn dropping_the_call_ends_handler_and_channels() {
    let store = Store::default();
    block_on(async {
        let (mut rows, mut running, call) = served(&store).waits().open().await.unwrap();
        assert!(*running.recv().await.unwrap().unwrap());
        drop(call);
        assert!(matches!(running.recv().await.unwrap_err(), StreamError::Call(_)));
        let error = rows.send(&1).await.unwrap_err();
        assert!(matches!(error, SendError::Ended(Some(_))), "{error}");
    });
    wait_for("handler is dropped", || store.dropped.load(Ordering::Acquire));
    // The handler that blocks is not dropped, but told.
    let store = Store::default();
    let (mut from, mut into, call) = block_on(served(&store).on_workers(1).open()).unwrap();
    from.blocking_send(&1).unwrap();
    assert_eq!(*into.blocking_recv().unwrap().unwrap(), 2);
    drop(call);
    assert!(matches!(into.blocking_recv().unwrap_err(), StreamError::Call(_)));
    wait_for("handler is told", || store.noted().len() == 1);
}

#[test]
fn a_call_that_cannot_be_sent_has_no_ends() {
    let text = "x".repeat(2 << 20);
    let error = run(client().scan(&text).open()).unwrap_err();
    assert_eq!(
        error.failure().map(rpc_core::CallFailure::kind),
        Some(FailureKind::LocalLimit)
    );
}

#[test]
fn clients_return_the_other_ends_and_all_of_it_can_move_to_a_task() {
    let scan: StreamCall<Caller, (Receiver<Row>,), u64> = assert_spawnable(client().scan("a"));
    type Ends = (Receiver<u64>, Sender<u64>, Receiver<u64>, Sender<u64>);
    let sort: StreamCall<Caller, Ends, (u64, u64)> = client().sort();
    let import: StreamCall<Caller, (Sender<Row>,), u64, Broken> = client().import(&String::new());
    drop((sort, import));
    let opened: (Receiver<Row>, RunningCall<Caller, u64>) =
        assert_spawnable(run(assert_spawnable(scan.open())).unwrap());
    drop(opened);
}

#[service]
trait Notices {
    #[rpc(oneway)]
    async fn notify(&self, text: &str);
    #[rpc(oneway, idempotent)]
    fn notify_workers(&self, number: u32) -> ();
    async fn answered(&self, text: &str);
    async fn both(&self, rows: Sender<Row>, from: Receiver<Row>, into: Sender<u8>);
}

impl Notices for Store {
    async fn notify(&self, text: &str) {
        self.note(text);
    }

    fn notify_workers(&self, number: u32) {
        self.note(number.to_string());
    }

    async fn answered(&self, _text: &str) {}

    async fn both(&self, _rows: Sender<Row>, _from: Receiver<Row>, _into: Sender<u8>) {}
}

#[test]
fn one_way_methods_and_channels_are_in_the_descriptor() {
    let methods = NoticesClient::descriptor().methods.iter();
    let described: Vec<_> = methods
        .map(|method| {
            (
                method.oneway,
                method.idempotent,
                method.handler_sends,
                method.handler_receives,
            )
        })
        .collect();
    let expected = [
        (true, false, 0, 0),
        (true, true, 0, 0),
        (false, false, 0, 0),
        (false, false, 2, 1),
    ];
    assert_eq!(described, expected);
}

#[test]
fn one_way_calls_run_like_others() {
    let store = Store::default();
    let client = NoticesClient::new(InProcess::new(NoticesServer::new(store.clone())));
    let notify: rpc_core::Call<_, ()> = client.notify("one");
    run(notify).unwrap();
    run(client.notify_workers(2)).unwrap();
    assert_eq!(store.noted(), ["one", "2"]);
}
