//! Layers: ready-made middleware for callers, put in front of one by [`Caller::layer`](rpc_core::Caller::layer).
//!
//! ```no_run
//! use rpc_client::Channel;
//! use rpc_client::layers::{ConcurrencyLimit, Retry};
//! use rpc_core::{Caller, service};
//!
//! #[service]
//! pub trait Greeter {
//!     async fn greet(&self, name: &str) -> String;
//! }
//!
//! #[tokio::main(flavor = "current_thread")]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let channel = Channel::connect("tcp://127.0.0.1:7000").await?;
//!     let caller = channel.layer(ConcurrencyLimit::new(64)).layer(Retry::new()); // added last: sees a call first
//!     let client = GreeterClient::new(caller);
//!     println!("{}", client.greet("world").await?.as_str());
//!     Ok(())
//! }
//! ```
//!
//! A layer that makes calls wait counts that as a part of their time. Waiting needs the timer of a tokio runtime, where the call is polled.

mod concurrency_limit;
mod retry;
#[cfg(feature = "tower")]
mod tower_layer;

use std::time::Instant;

use rpc_core::{Caller, OutgoingCall};

pub use concurrency_limit::ConcurrencyLimit;
pub use retry::Retry;
#[cfg(feature = "tower")]
pub use tower_layer::{Starter, TowerLayer, tower_layer};

/// Makes a deadline of what a call says about its time, or `next` does for it: the time counts from here.
fn fix_deadline<C: Caller>(call: &mut OutgoingCall, next: &C) -> Option<Instant> {
    let options = call.options;
    let otherwise = next.call_timeout();
    // Asking the clock is not free.
    if options.timeout.is_none() && (options.deadline.is_some() || otherwise.is_none()) {
        return options.deadline;
    }
    call.fix_deadline(crate::clock::now(), otherwise)
}
