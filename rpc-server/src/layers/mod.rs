//! Layers: ready-made middleware for services, put in front of one by [`Dispatch::layer`](rpc_core::Dispatch::layer).
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use rpc_core::{Dispatch, service};
//! use rpc_server::Server;
//! use rpc_server::layers::{ConcurrencyLimit, RateLimit, Timeout};
//!
//! #[service]
//! pub trait Greeter {
//!     async fn greet(&self, name: &str) -> String;
//! }
//!
//! # struct Polite;
//! # impl Greeter for Polite {
//! #     async fn greet(&self, name: &str) -> String {
//! #         format!("good day, {name}")
//! #     }
//! # }
//! // Shared by several services: `.layer(Arc::clone(&rate))` in front of each.
//! let rate = Arc::new(RateLimit::new(1_000, Duration::from_secs(1)).burst(50));
//! let greeter = GreeterServer::new(Polite)
//!     .layer(Timeout::new(Duration::from_secs(2)))
//!     .layer(ConcurrencyLimit::new(64).shed())
//!     .layer(rate); // added last: sees a call first
//! let builder = Server::builder().service(greeter).listen("tcp://127.0.0.1:7000");
//! # let _ = builder;
//! ```
//!
//! A limit counts for the instance of its layer, over all connections. What is refused, or runs out of time while it waits, did not run, and its caller is told so.

mod concurrency_limit;
mod rate_limit;
mod stop;
mod timeout;
#[cfg(feature = "tower")]
mod tower_layer;
mod wait;

pub use concurrency_limit::ConcurrencyLimit;
pub use rate_limit::RateLimit;
pub use timeout::Timeout;
#[cfg(feature = "tower")]
pub use tower_layer::{Handled, Handler, TowerLayer, tower_layer};
