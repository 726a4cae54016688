//! Flow: the lab's methods with channels.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::task::Poll;

use rpc_client::Channel;
use rpc_core::{Context, Receiver, SendError, Sender, service};
use rpc_server::Server;

use super::lab::{Event, Lab};
use super::within;

pub(crate) type Flows = FlowClient<Channel>;

/// What the tests call. A key tells calls apart, in what the lab notes and in what it waits for.
#[service]
pub(crate) trait Flow {
    /// Sends the numbers from 0 to `count`, and returns how many of them it could send.
    async fn count(&self, count: u64, numbers: Sender<u64>) -> u64;
    /// Sends that many items without bytes, and returns how many of them it could send.
    async fn ticks(&self, count: u64, ticks: Sender<()>) -> u64;
    /// Sends blocks of that length until nobody wants any more, and returns how many there were.
    async fn blocks(&self, key: u64, len: u32, blocks: Sender<Vec<u8>>) -> u64;
    /// The same on a worker.
    fn blocks_at_work(&self, key: u64, len: u32, blocks: Sender<Vec<u8>>) -> u64;
    /// Receives to the end, and returns the sum, or how the stream ended.
    async fn sum(&self, key: u64, numbers: Receiver<u64>) -> Result<u64, String>;
    /// The same on a worker.
    fn sum_at_work(&self, key: u64, numbers: Receiver<u64>) -> Result<u64, String>;
    /// Sends back what it gets, and returns how many there were.
    async fn mirror(&self, key: u64, from: Receiver<Vec<u8>>, to: Sender<Vec<u8>>) -> u64;
    /// Ends its own channel at once, and goes on receiving: the sum.
    async fn finish_and_sum(&self, numbers: Receiver<u64>, none: Sender<u64>) -> u64;
    /// Receives to the end, and then sends as many numbers.
    async fn receive_then_send(&self, numbers: Receiver<u64>, same: Sender<u64>) -> u64;
    /// Sends as many blocks as get into the window, then receives as many, and so on for some rounds.
    async fn fill_first(&self, rounds: u32, from: Receiver<Vec<u8>>, to: Sender<Vec<u8>>);
    /// Touches neither channel until the key is released.
    async fn idle(&self, key: u64, from: Receiver<u64>, to: Sender<u64>);
    /// Waits until the key is released, then receives to the end: the first byte of each block.
    async fn first_bytes(&self, key: u64, blocks: Receiver<Vec<u8>>) -> Vec<u8>;
    /// Drops its receiver, then waits until the key is released.
    async fn spurn(&self, key: u64, unwanted: Receiver<Vec<u8>>);
    /// Sends that many numbers, then panics.
    async fn panic_after(&self, count: u64, numbers: Sender<u64>);
    /// The same on a worker.
    fn panic_after_at_work(&self, count: u64, numbers: Sender<u64>);
    /// Sends two blocks without ever waiting, so that it may end before they have left, and returns.
    async fn two(&self, first: u32, second: u32, blocks: Sender<Vec<u8>>);
    /// Returns what it gets.
    async fn echo_block(&self, block: &[u8]) -> Vec<u8>;
    /// Keeps its argument until the key is released.
    async fn keep(&self, key: u64, block: &[u8]) -> u64;
    /// How long this call still has, in microseconds.
    async fn time_left(&self, cx: &Context) -> Option<u64>;
}

/// A block of which exactly four get into the default window of 64 KiB before the sender has to wait.
pub(crate) const QUARTER: usize = 16 << 10;
/// How many of them.
pub(crate) const QUARTERS: usize = 4;

/// A client of the methods with channels.
pub(crate) async fn flows(server: &Server) -> Flows {
    let address = server.addresses()[0].clone();
    within(async { FlowClient::new(Channel::connect(address).await.unwrap()) }).await
}

/// Sends an item if that is possible without waiting.
pub(crate) async fn send_now(sender: &mut Sender<Vec<u8>>, item: &Vec<u8>) -> Option<Result<(), SendError>> {
    let mut sending = pin!(sender.send(item));
    poll_fn(|cx| match sending.as_mut().poll(cx) {
        Poll::Ready(sent) => Poll::Ready(Some(sent)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

impl Flow for Lab {
    async fn count(&self, count: u64, mut numbers: Sender<u64>) -> u64 {
        for number in 0..count {
            if numbers.send(&number).await.is_err() {
                return number;
            }
        }
        count
    }

    async fn ticks(&self, count: u64, mut ticks: Sender<()>) -> u64 {
        for number in 0..count {
            if ticks.send(&()).await.is_err() {
                return number;
            }
        }
        count
    }

    async fn blocks(&self, key: u64, len: u32, mut blocks: Sender<Vec<u8>>) -> u64 {
        let mut run = self.start(key);
        let block = vec![7; len as usize];
        let mut count = 0;
        loop {
            match blocks.send(&block).await {
                Ok(()) => count += 1,
                Err(error) => {
                    run.end = Event::Finished(key);
                    self.note_end(key, error.to_string());
                    return count;
                }
            }
            self.sent(key).store(count, Ordering::SeqCst);
        }
    }

    fn blocks_at_work(&self, key: u64, len: u32, mut blocks: Sender<Vec<u8>>) -> u64 {
        let mut run = self.start(key);
        let block = vec![7; len as usize];
        let mut count = 0;
        loop {
            match blocks.blocking_send(&block) {
                Ok(()) => count += 1,
                Err(error) => {
                    run.end = Event::Finished(key);
                    self.note_end(key, error.to_string());
                    return count;
                }
            }
            self.sent(key).store(count, Ordering::SeqCst);
        }
    }

    async fn sum(&self, key: u64, mut numbers: Receiver<u64>) -> Result<u64, String> {
        let mut run = self.start(key);
        let mut sum = 0;
        let result = loop {
            match numbers.recv().await {
                Ok(Some(number)) => sum += number.to_native(),
                Ok(None) => break Ok(sum),
                Err(error) => break Err(error.to_string()),
            }
        };
        run.end = Event::Finished(key);
        self.note_end(key, format!("{result:?}"));
        result
    }

    fn sum_at_work(&self, key: u64, mut numbers: Receiver<u64>) -> Result<u64, String> {
        let mut run = self.start(key);
        let mut sum = 0;
        let result = loop {
            match numbers.blocking_recv() {
                Ok(Some(number)) => sum += number.to_native(),
                Ok(None) => break Ok(sum),
                Err(error) => break Err(error.to_string()),
            }
        };
        run.end = Event::Finished(key);
        self.note_end(key, format!("{result:?}"));
        result
    }

    async fn mirror(&self, key: u64, mut from: Receiver<Vec<u8>>, mut to: Sender<Vec<u8>>) -> u64 {
        let mut run = self.start(key);
        let mut count = 0;
        while let Ok(Some(block)) = from.recv().await {
            if to.send(&block.to_vec()).await.is_err() {
                break;
            }
            count += 1;
        }
        run.end = Event::Finished(key);
        count
    }

    async fn finish_and_sum(&self, mut numbers: Receiver<u64>, none: Sender<u64>) -> u64 {
        none.finish().unwrap();
        let mut sum = 0;
        while let Some(number) = numbers.recv().await.unwrap() {
            sum += number.to_native();
        }
        sum
    }

    async fn receive_then_send(&self, mut numbers: Receiver<u64>, mut same: Sender<u64>) -> u64 {
        let mut count = 0;
        while numbers.recv().await.unwrap().is_some() {
            count += 1;
        }
        for number in 0..count {
            same.send(&number).await.unwrap();
        }
        count
    }

    async fn fill_first(&self, rounds: u32, mut from: Receiver<Vec<u8>>, mut to: Sender<Vec<u8>>) {
        let block = vec![7; QUARTER];
        for _ in 0..rounds {
            for _ in 0..QUARTERS {
                to.send(&block).await.unwrap();
            }
            for _ in 0..QUARTERS {
                assert_eq!(from.recv().await.unwrap().unwrap().len(), QUARTER);
            }
        }
    }

    async fn idle(&self, key: u64, _from: Receiver<u64>, _to: Sender<u64>) {
        let mut run = self.start(key);
        self.released(key).await;
        run.end = Event::Finished(key);
    }

    async fn first_bytes(&self, key: u64, mut blocks: Receiver<Vec<u8>>) -> Vec<u8> {
        self.released(key).await;
        let mut bytes = Vec::new();
        while let Some(block) = blocks.recv().await.unwrap() {
            bytes.extend(block.first());
        }
        bytes
    }

    async fn spurn(&self, key: u64, unwanted: Receiver<Vec<u8>>) {
        drop(unwanted);
        let mut run = self.start(key);
        self.released(key).await;
        run.end = Event::Finished(key);
    }

    async fn panic_after(&self, count: u64, mut numbers: Sender<u64>) {
        for number in 0..count {
            numbers.send(&number).await.unwrap();
        }
        panic!("as the test wants it");
    }

    fn panic_after_at_work(&self, count: u64, mut numbers: Sender<u64>) {
        for number in 0..count {
            numbers.blocking_send(&number).unwrap();
        }
        panic!("as the test wants it");
    }

    async fn two(&self, first: u32, second: u32, mut blocks: Sender<Vec<u8>>) {
        for len in [first, second] {
            let sent = send_now(&mut blocks, &vec![7; len as usize]).await;
            assert_eq!(sent, Some(Ok(())));
        }
    }

    async fn echo_block(&self, block: &[u8]) -> Vec<u8> {
        block.to_vec()
    }

    async fn keep(&self, key: u64, block: &[u8]) -> u64 {
        let mut run = self.start(key);
        self.released(key).await;
        run.end = Event::Finished(key);
        block.len() as u64
    }

    async fn time_left(&self, cx: &Context) -> Option<u64> {
        let left = cx.time_left(std::time::Instant::now())?;
        Some(left.as_micros().try_into().unwrap())
    }
}
