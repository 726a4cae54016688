//! The server of a typed RPC framework: listeners, connections, worker pool, drain.
//!
//! A [`Server`] serves the services that `rpc_core::service` declares, several at once, over TCP and Unix sockets:
//!
//! ```no_run
//! use rpc_core::service;
//! use rpc_server::Server;
//!
//! #[service]
//! pub trait Greeter {
//!     async fn greet(&self, name: &str) -> String;
//! }
//!
//! struct Polite;
//!
//! impl Greeter for Polite {
//!     async fn greet(&self, name: &str) -> String {
//!         format!("good day, {name}")
//!     }
//! }
//!
//! # fn main() -> Result<(), rpc_server::StartError> {
//! let server = Server::builder().service(GreeterServer::new(Polite)).listen("tcp://127.0.0.1:7000").start()?;
//! // … until it is time to go:
//! server.shutdown_blocking();
//! # Ok(())
//! # }
//! ```
//!
//! The nouns: a **listener** is a bound socket, an **acceptor** takes connections from it, a **reactor** is a thread that runs connections, a **driver** moves the
//! bytes of one connection and polls its `async` handlers on the spot, a **worker** runs the plain `fn` handlers, one **job** at a time.

#![forbid(unsafe_code)]

mod acceptor;
mod calls;
mod config;
mod driver;
mod error;
mod health;
pub mod layers;
mod lifecycle;
mod memory;
mod peer;
mod pool;
mod ready;
mod router;
mod server;
mod shared;
mod shutdown;
mod slot;
mod stats;
mod timer;

pub use config::ServerBuilder;
pub use error::StartError;
pub use health::HealthReporter;
pub use rpc_net::{Address, ReceiveBuffer};
pub use server::{Closer, Drained, Server};
pub use stats::Stats;
