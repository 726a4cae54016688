//! Calls with channels behind layers on both sides, over a socket.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rpc_client::layers::{ConcurrencyLimit as ClientLimit, Retry};
use rpc_client::{Channel, in_process};
use rpc_core::{Caller, Code, Dispatch, Receiver, Sender, service};
use rpc_server::Server;
use rpc_server::layers::{ConcurrencyLimit, Timeout};

use crate::MS;

#[service]
trait Rows {
    /// Sends the numbers below `end`.
    async fn count(&self, end: u64, rows: Sender<u64>) -> u64;
    /// Waits on a worker for what does not come.
    fn wait(&self, numbers: Receiver<u64>) -> u64;
}

struct Counter {
    ended: Arc<AtomicBool>,
}

impl Rows for Counter {
    async fn count(&self, end: u64, mut rows: Sender<u64>) -> u64 {
        for number in 0..end {
            if rows.send(&number).await.is_err() {
                return number;
            }
        }
        end
    }

    fn wait(&self, mut numbers: Receiver<u64>) -> u64 {
        let mut count = 0;
        while let Ok(Some(_)) = numbers.blocking_recv() {
            count += 1;
        }
        self.ended.store(true, Ordering::SeqCst);
        count
    }
}

fn service(ended: &Arc<AtomicBool>) -> RowsServer<Counter> {
    let ended = Arc::clone(ended);
    RowsServer::new(Counter { ended })
}

async fn all_rows(client: &RowsClient<impl Caller>) {
    let (mut rows, call) = client.count(10_000).open().await.unwrap();
    let read = async {
        let mut next = 0;
        while let Some(row) = rows.recv().await.unwrap() {
            assert_eq!(*row, next);
            next += 1;
        }
        next
    };
    // In this process it is the call that runs the handler.
    let (count, value) = tokio::join!(read, call.owned());
    assert_eq!((count, value.unwrap()), (10_000, 10_000));
}

#[tokio::test]
async fn channels_pass_layers_on_both_sides() {
    let layered = || {
        service(&Arc::default())
            .layer(Timeout::new(MS(60_000)))
            .layer(ConcurrencyLimit::new(1))
    };
    let here = in_process(layered())
        .layer(ClientLimit::new(1))
        .layer(Retry::new());
    all_rows(&RowsClient::new(here)).await;
    let builder = Server::builder().service(layered()).listen("tcp://127.0.0.1:0");
    let server = builder.reactors(1).start().unwrap();
    let channel = Channel::connect(server.addresses()[0].clone()).await.unwrap();
    let there = channel.layer(ClientLimit::new(1)).layer(Retry::new());
    let client = RowsClient::new(there);
    all_rows(&client).await;
    // The limits are free again.
    all_rows(&client).await;
    server.shutdown().await;
}

/// Nothing but the end of its call wakes a thread that waits for a channel.
#[tokio::test]
async fn a_worker_that_waits_for_a_channel_is_stopped() {
    let ended = Arc::new(AtomicBool::new(false));
    let limited = service(&ended).layer(Timeout::new(MS(50)));
    let builder = Server::builder().service(limited).listen("tcp://127.0.0.1:0");
    let server = builder.reactors(1).workers(1).start().unwrap();
    let channel = Channel::connect(server.addresses()[0].clone()).await.unwrap();
    let client = RowsClient::new(channel);
    let (numbers, call) = client.wait().open().await.unwrap();
    let error = call.await.unwrap_err();
    assert_eq!(error.failure().unwrap().code(), Some(Code::DEADLINE));
    while !ended.load(Ordering::SeqCst) {
        tokio::task::yield_now().await;
    }
    drop(numbers);
    server.shutdown().await;
}
