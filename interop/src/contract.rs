//! What the two processes have agreed on.

use bytes::Bytes;
use rpc_core::{Archived, Context, Receiver, Sender, message, service};

/// An error of a method's own.
#[message]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// What programs go by.
    pub code: u32,
    /// What people read.
    pub text: String,
}

impl std::fmt::Display for Complaint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "complaint {}: {}", self.code, self.text)
    }
}

/// One question of [`Interop::ping_pong`].
#[message]
#[derive(Clone, Debug)]
pub struct Ask {
    /// How long the answer is to be, in bytes.
    pub answer_len: u32,
    /// Bytes that the server takes note of.
    pub body: Bytes,
}

/// How a call is to end.
#[message]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With a value.
    Value,
    /// With the method's own error.
    Complaint,
    /// With a failure: the handler panics.
    Panic,
}

/// What a process holds. Taken before and after, it shows what was left behind.
#[message]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holdings {
    /// Memory that is resident, in bytes.
    pub resident: u64,
    /// Open file descriptors.
    pub descriptors: u64,
    /// Threads.
    pub threads: u64,
    /// Tasks of the runtime that was asked.
    pub tasks: u64,
}

/// Every kind of call.
#[service]
pub trait Interop {
    /// Nothing there, nothing back.
    async fn empty(&self);

    /// Checks what it gets, and sends as much as it is asked for.
    async fn large(&self, request: &[u8], answer_len: u32) -> Result<Bytes, Complaint>;

    /// The same for a body that the handler takes as its own.
    async fn large_owned(&self, request: Bytes, answer_len: u32) -> Result<Bytes, Complaint>;

    /// Client stream: how many bytes all items have.
    async fn total(&self, items: Receiver<Bytes>) -> Result<u64, Complaint>;

    /// Server stream: an item of each of these lengths.
    async fn items(&self, lengths: &[Archived<u32>], items: Sender<Bytes>) -> u32;

    /// Both ways: an answer to each question, before the next is read. How many there were.
    async fn ping_pong(&self, asks: Receiver<Ask>, answers: Sender<Bytes>) -> u32;

    /// The same on the worker pool.
    fn ping_pong_on_worker(&self, asks: Receiver<Ask>, answers: Sender<Bytes>) -> u32;

    /// Answers only once all was asked: the caller's direction has ended then, and this one begins.
    async fn half_close(&self, asks: Receiver<Ask>, answers: Sender<Bytes>) -> u32;

    /// Runs until it is stopped.
    async fn sleep(&self);

    /// Returns when at least so many handlers were stopped before they had ended.
    async fn until_stopped(&self, count: u64);

    /// How many handlers of streams run now.
    async fn running(&self) -> u64;

    /// Sends the entries `echo` of the call's metadata back, and ends as it is told.
    async fn metadata(&self, cx: &Context, ending: Ending) -> Result<u32, Complaint>;

    /// Sends items back, and what came with their end behind its own.
    async fn end_metadata(&self, items: Receiver<u32>, back: Sender<u32>);

    /// Sends an item, and then says that this was not all.
    async fn broken_off(&self, items: Sender<u32>);

    /// Fails with what it was given.
    async fn complain(&self, complaint: Complaint) -> Result<(), Complaint>;

    /// Sends a text back.
    async fn text(&self, text: &str) -> String;

    /// No answer is wanted.
    #[rpc(oneway)]
    async fn note(&self, text: &str);

    /// What was noted, in order.
    async fn notes(&self) -> Vec<String>;

    /// Counts the call by its key, which the server's process says in the end.
    async fn count(&self, key: u64) -> u64;

    /// What the server's process holds.
    async fn holdings(&self) -> Holdings;
}

/// What a later build of the service has: one method is new, another has changed.
pub mod later {
    use rpc_core::service;

    /// The contract under the same name.
    #[service(name = "Interop")]
    pub trait Later {
        /// The server does not have it.
        async fn invented(&self, number: u32) -> u32;
        /// The server has it with other parameters.
        async fn text(&self, text: &str, times: u32) -> String;
    }

    /// A service that the server does not have.
    #[service]
    pub trait Elsewhere {
        /// Nor its method.
        async fn empty(&self);
    }
}
