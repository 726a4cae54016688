//! Lab: a service whose handlers wait, block, panic and count as the test tells them, and report what becomes of them.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use rpc_core::{Context, service};
use tokio::sync::watch;

use super::PATIENCE;

/// What the tests call.
#[service]
pub(crate) trait Experiments {
    /// Returns the text.
    async fn echo(&self, text: &str) -> String;
    /// Adds to the sum of all that was added.
    async fn add(&self, number: u64) -> u64;
    /// The same on a worker.
    fn add_at_work(&self, number: u64) -> u64;
    /// Waits until the key is released.
    async fn hold(&self, key: u64) -> u64;
    /// Blocks a worker until the key is released or nobody waits for the call any more.
    fn block(&self, cx: &Context, key: u64) -> bool;
    /// Returns as many bytes.
    async fn fill(&self, len: u32) -> Vec<u8>;
    /// Returns the number of bytes and their sum.
    async fn weigh(&self, block: &[u8]) -> (u64, u64);
    /// The same on a worker.
    fn weigh_at_work(&self, block: &[u8]) -> (u64, u64);
    /// Blocks the connection's own thread until the key is released: what nobody should do.
    async fn stall(&self, key: u64) -> u64;
    /// Runs until the key is released, always with something to do, and lets tokio interrupt it.
    async fn hog(&self, key: u64);
}

/// What has become of a handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Started(u64),
    /// It returned.
    Finished(u64),
    /// It was dropped before its end.
    Dropped(u64),
    /// It noticed that nobody waits for it.
    Cancelled(u64),
}

/// The service, and the test's hold on it.
#[derive(Clone, Default)]
pub(crate) struct Lab(Arc<Inner>);

#[derive(Default)]
struct Inner {
    sum: AtomicU64,
    additions: AtomicU64,
    events: Mutex<Vec<Event>>,
    released: Mutex<HashSet<u64>>,
    release: watch::Sender<()>,
    /// By key: items that were sent.
    sent: Mutex<HashMap<u64, Arc<AtomicU64>>>,
    /// With keys: how streams ended for their handlers.
    ends: Mutex<Vec<(u64, String)>>,
}

impl Lab {
    /// Lets the handlers with that key go on.
    pub(crate) fn release(&self, key: u64) {
        self.0.released.lock().unwrap().insert(key);
        self.0.release.send_replace(());
    }

    /// What has become of handlers so far.
    pub(crate) fn events(&self) -> Vec<Event> {
        self.0.events.lock().unwrap().clone()
    }

    pub(crate) fn saw(&self, event: Event) -> bool {
        self.events().contains(&event)
    }

    pub(crate) fn count(&self, is_counted: impl Fn(&Event) -> bool) -> usize {
        self.events().iter().filter(|event| is_counted(event)).count()
    }

    pub(crate) fn sum(&self) -> u64 {
        self.0.sum.load(Ordering::SeqCst)
    }

    /// How often something was added.
    pub(crate) fn additions(&self) -> u64 {
        self.0.additions.load(Ordering::SeqCst)
    }

    /// How many items the handler with that key has sent.
    pub(crate) fn sent(&self, key: u64) -> Arc<AtomicU64> {
        Arc::clone(self.0.sent.lock().unwrap().entry(key).or_default())
    }

    /// How the stream with that key ended for its handler, if it has.
    pub(crate) fn end(&self, key: u64) -> Option<String> {
        let ends = self.0.ends.lock().unwrap();
        ends.iter()
            .find(|(known, _)| *known == key)
            .map(|(_, end)| end.clone())
    }

    pub(crate) fn note_end(&self, key: u64, end: String) {
        self.0.ends.lock().unwrap().push((key, end));
    }

    fn note(&self, event: Event) {
        self.0.events.lock().unwrap().push(event);
    }

    pub(crate) fn start(&self, key: u64) -> Run<'_> {
        self.note(Event::Started(key));
        Run {
            lab: self,
            end: Event::Dropped(key),
        }
    }

    fn is_released(&self, key: u64) -> bool {
        self.0.released.lock().unwrap().contains(&key)
    }

    pub(crate) async fn released(&self, key: u64) {
        let mut release = self.0.release.subscribe();
        while !self.is_released(key) {
            release.changed().await.unwrap();
        }
    }
}

/// Reports the end of a handler, whichever it is.
pub(crate) struct Run<'a> {
    lab: &'a Lab,
    pub(crate) end: Event,
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        self.lab.note(self.end);
    }
}

impl Experiments for Lab {
    async fn echo(&self, text: &str) -> String {
        text.to_owned()
    }

    async fn add(&self, number: u64) -> u64 {
        self.0.additions.fetch_add(1, Ordering::SeqCst);
        self.0
            .sum
            .fetch_add(number, Ordering::SeqCst)
            .wrapping_add(number)
    }

    fn add_at_work(&self, number: u64) -> u64 {
        self.0.additions.fetch_add(1, Ordering::SeqCst);
        self.0
            .sum
            .fetch_add(number, Ordering::SeqCst)
            .wrapping_add(number)
    }

    async fn hold(&self, key: u64) -> u64 {
        let mut run = self.start(key);
        self.released(key).await;
        run.end = Event::Finished(key);
        key
    }

    fn block(&self, cx: &Context, key: u64) -> bool {
        let mut run = self.start(key);
        let end = Instant::now() + PATIENCE;
        while !self.is_released(key) {
            if cx.is_cancelled() {
                run.end = Event::Cancelled(key);
                return false;
            }
            assert!(
                Instant::now() < end,
                "job {key} was neither released nor cancelled"
            );
            std::thread::yield_now();
        }
        run.end = Event::Finished(key);
        true
    }

    async fn fill(&self, len: u32) -> Vec<u8> {
        pattern(len)
    }

    async fn weigh(&self, block: &[u8]) -> (u64, u64) {
        weight(block)
    }

    fn weigh_at_work(&self, block: &[u8]) -> (u64, u64) {
        weight(block)
    }

    async fn stall(&self, key: u64) -> u64 {
        let mut run = self.start(key);
        let end = Instant::now() + PATIENCE;
        while !self.is_released(key) && Instant::now() < end {
            std::thread::yield_now();
        }
        run.end = Event::Finished(key);
        key
    }

    async fn hog(&self, key: u64) {
        let mut run = self.start(key);
        while !self.is_released(key) {
            tokio::task::coop::consume_budget().await;
        }
        run.end = Event::Finished(key);
    }
}

/// Bytes in which every mix-up shows.
pub(crate) fn pattern(len: u32) -> Vec<u8> {
    (0..len)
        .map(|at| (at ^ (at >> 8) ^ (at >> 16)).to_le_bytes()[0])
        .collect()
}

pub(crate) fn weight(block: &[u8]) -> (u64, u64) {
    (
        block.len() as u64,
        block.iter().map(|byte| u64::from(*byte)).sum(),
    )
}
