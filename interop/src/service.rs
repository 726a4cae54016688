//! The service: what every method of the contract does.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use rpc_core::{Archived, Code, Context, Receiver, Sender};
use tokio::sync::watch;

use crate::contract::{Ask, Complaint, Ending, Holdings, Interop};
use crate::pattern::{body, is_body};
use crate::process;

/// The metadata key that is sent back.
pub const ECHO: &str = "echo";

/// The state of a server.
#[derive(Debug, Default)]
pub struct Service {
    notes: Mutex<Vec<String>>,
    counted: Counted,
    running: watch::Sender<u64>,
    stopped: watch::Sender<u64>,
}

/// The keys of the calls that were counted, which outlive the server.
#[derive(Clone, Debug, Default)]
pub struct Counted(Arc<Mutex<Vec<u64>>>);

impl Counted {
    /// All of them, in the order in which they ran.
    pub fn keys(&self) -> Vec<u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn add(&self, key: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(key);
    }
}

/// A handler that runs. Unless it comes to its end, it was stopped.
struct Running<'a> {
    service: &'a Service,
    has_ended: bool,
}

impl Service {
    /// The calls that it counts.
    pub fn counted(&self) -> Counted {
        self.counted.clone()
    }

    fn enter(&self) -> Running<'_> {
        self.running.send_modify(|count| *count += 1);
        Running {
            service: self,
            has_ended: false,
        }
    }
}

impl Running<'_> {
    fn end<T>(mut self, value: T) -> T {
        self.has_ended = true;
        value
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.service.running.send_modify(|count| *count -= 1);
        if !self.has_ended {
            self.service.stopped.send_modify(|count| *count += 1);
        }
    }
}

fn complaint(text: &(impl ToString + ?Sized)) -> Complaint {
    Complaint {
        code: 400,
        text: text.to_string(),
    }
}

fn checked(request: &[u8], answer_len: u32) -> Result<Bytes, Complaint> {
    if !is_body(request) {
        return Err(complaint("request is not what was sent"));
    }
    Ok(body(answer_len as usize))
}

impl Interop for Service {
    async fn empty(&self) {}

    async fn large(&self, request: &[u8], answer_len: u32) -> Result<Bytes, Complaint> {
        checked(request, answer_len)
    }

    async fn large_owned(&self, request: Bytes, answer_len: u32) -> Result<Bytes, Complaint> {
        checked(&request, answer_len)
    }

    async fn total(&self, mut items: Receiver<Bytes>) -> Result<u64, Complaint> {
        let mut total = 0;
        while let Some(item) = items.recv().await.map_err(|error| complaint(&error))? {
            if !is_body(&item) {
                return Err(complaint("item is not what was sent"));
            }
            total += item.len() as u64;
        }
        Ok(total)
    }

    async fn items(&self, lengths: &[Archived<u32>], mut items: Sender<Bytes>) -> u32 {
        let running = self.enter();
        let mut count = 0;
        for len in lengths {
            if items.send(&body(len.to_native() as usize)).await.is_err() {
                break;
            }
            count += 1;
        }
        running.end(count)
    }

    async fn ping_pong(&self, mut asks: Receiver<Ask>, mut answers: Sender<Bytes>) -> u32 {
        let running = self.enter();
        let mut count = 0;
        while let Ok(Some(ask)) = asks.recv().await {
            assert!(is_body(&ask.body), "question is not what was sent");
            if answers
                .send(&body(ask.answer_len.to_native() as usize))
                .await
                .is_err()
            {
                break;
            }
            count += 1;
        }
        running.end(count)
    }

    fn ping_pong_on_worker(&self, mut asks: Receiver<Ask>, mut answers: Sender<Bytes>) -> u32 {
        let mut count = 0;
        while let Ok(Some(ask)) = asks.blocking_recv() {
            let answer = body(ask.answer_len.to_native() as usize);
            if answers.blocking_send(&answer).is_err() {
                break;
            }
            count += 1;
        }
        count
    }

    async fn half_close(&self, mut asks: Receiver<Ask>, mut answers: Sender<Bytes>) -> u32 {
        let mut lengths = Vec::new();
        while let Ok(Some(ask)) = asks.recv().await {
            lengths.push(ask.answer_len.to_native());
        }
        let mut count = 0;
        for len in lengths {
            if answers.send(&body(len as usize)).await.is_err() {
                break;
            }
            count += 1;
        }
        count
    }

    async fn sleep(&self) {
        let _running = self.enter();
        std::future::pending().await
    }

    async fn until_stopped(&self, count: u64) {
        // The sender is this service, which outlives its handlers.
        let _ = self
            .stopped
            .subscribe()
            .wait_for(|stopped| *stopped >= count)
            .await;
    }

    async fn running(&self) -> u64 {
        *self.running.borrow()
    }

    async fn metadata(&self, cx: &Context, ending: Ending) -> Result<u32, Complaint> {
        let mut count = 0;
        for value in cx.metadata().get_all(ECHO) {
            cx.add_reply_metadata(ECHO, value)
                .map_err(|error| complaint(&error))?;
            count += 1;
        }
        match ending {
            Ending::Value => Ok(count),
            Ending::Complaint => Err(complaint("as you wish")),
            Ending::Panic => panic!("as the test wants"),
        }
    }

    async fn end_metadata(&self, mut items: Receiver<u32>, mut back: Sender<u32>) {
        while let Ok(Some(item)) = items.recv().await {
            if back.send(&item.to_native()).await.is_err() {
                return;
            }
        }
        // The caller sees an end without it if it was too late.
        let _ = back.finish_with(items.end_metadata().clone());
    }

    async fn broken_off(&self, mut items: Sender<u32>) {
        let sent = items.send(&1).await;
        if sent.is_ok() && items.flush().await.is_ok() {
            items.abort(Code::INTERNAL);
        }
    }

    async fn complain(&self, complaint: Complaint) -> Result<(), Complaint> {
        Err(complaint)
    }

    async fn text(&self, text: &str) -> String {
        text.to_owned()
    }

    async fn note(&self, text: &str) {
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        notes.push(text.to_owned());
    }

    async fn notes(&self) -> Vec<String> {
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *notes)
    }

    async fn count(&self, key: u64) -> u64 {
        self.counted.add(key);
        key
    }

    async fn holdings(&self) -> Holdings {
        process::holdings().unwrap_or(Holdings {
            resident: u64::MAX,
            descriptors: u64::MAX,
            threads: u64::MAX,
            tasks: u64::MAX,
        })
    }
}
