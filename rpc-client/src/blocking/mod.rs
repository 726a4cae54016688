//! Calls without a runtime: the thread that makes a call writes it, and reads until its answer is there.
//!
//! ```no_run
//! use rpc_client::blocking::BlockingChannel;
//! use rpc_core::service;
//!
//! #[service]
//! pub trait Greeter {
//!     async fn greet(&self, name: &str) -> String;
//! }
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let client = GreeterClient::new(BlockingChannel::connect("tcp://127.0.0.1:7000")?);
//!     let greeting = client.greet("world").wait()?;
//!     assert_eq!(greeting.as_str(), "hello, world"); // read in place
//!     Ok(())
//! }
//! ```
//!
//! Clients are the generated ones, addresses, limits, timeouts and failures those of [`Channel`](crate::Channel). A small call costs one system call to write it and one to
//! read its answer, and no thread works in the background.
//!
//! # Threads
//!
//! Clones share a connection, and calls of several threads are under way on it at the same time. One of the threads that wait reads, and hands the others their answers;
//! when its own has come, it passes that on.
//!
//! ```text
//!  thread A: start ─▶ write ─▶ read ─▶ answer of A ─▶ wakes B ─▶ returns
//!                               │ answer of C
//!  thread B: start ─▶ write ─▶ sleep ────────────────▶ read ─▶ answer of B ─▶ returns
//!  thread C: start ─▶ write ─▶ sleep ─▶ returns
//! ```
//!
//! # What is different
//!
//! - A call ends in its first poll, and blocks the thread until then: not for the threads of a runtime. It cannot be dropped meanwhile; what ends it early is its timeout or
//!   deadline, when it is cancelled at the server as any other. The kernel counts that time in ticks of up to 10 ms.
//! - Calls with channels fail, without having been sent: their items would have to move while no thread waits. [`Channel`](crate::Channel) has them, and their ends can block as well.
//! - While no call is under way nobody reads, so pings of the server are not answered, and it closes a connection that was idle for longer than its patience, 80 s by default. The
//!   first call after more than a second looks whether that has happened, and dials again.

mod call;
mod channel;
mod connection;
mod link;
mod parking;

pub use call::BlockingCall;
pub use channel::BlockingChannel;
