//! Client: channels, calls, in-process calls.
//!
//! A [`Channel`] is a connection to a server that is made again when it is lost. Generated clients start their calls on it:
//!
//! ```no_run
//! use rpc_client::Channel;
//! use rpc_core::service;
//!
//! #[service]
//! pub trait Greeter {
//!     async fn greet(&self, name: &str) -> String;
//! }
//!
//! #[tokio::main(flavor = "current_thread")]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let client = GreeterClient::new(Channel::connect("tcp://127.0.0.1:7000").await?);
//!     let greeting = client.greet("world").await?;
//!     assert_eq!(greeting.as_str(), "hello, world"); // read in place, where it was received
//!     Ok(())
//! }
//! ```
//!
//! [`blocking`] has the same without a runtime. [`in_process()`] makes a caller of a service in the same process, for tests and for programs that keep the door open.
//!
//! # The way of a call, module by module
//!
//! ```text
//!  caller's task:  channel ─▶ pending ─▶ connection ──(alone)──▶ socket
//!                                │  ▲          │ (with others)
//!                  which, or none│  │waiters   ▼
//!                                ▼  └────── driver ◀────▶ socket
//!                              links ─▶ reconnect ─▶ dial
//! ```
//!
//! A connection is shared by its callers and one task, its driver. Rules of the protocol are in `rpc_core::connection`; here is what has to do with
//! sockets, time and tasks.

#![forbid(unsafe_code)]

mod backoff;
pub mod blocking;
mod calls;
mod channel;
mod channels;
mod clock;
mod config;
mod connection;
mod dial;
mod driver;
mod error;
mod frame_pool;
mod in_process;
mod keep_alive;
pub mod layers;
mod links;
mod load;
mod pending;
mod places;
mod reconnect;
mod waiters;
mod waiting;

pub use channel::Channel;
pub use config::ChannelBuilder;
pub use error::ConnectError;
pub use in_process::{InProcess, InProcessCall, in_process};
pub use pending::PendingCall;
pub use rpc_net::{Address, AddressError, DialError, ReceiveBuffer};
