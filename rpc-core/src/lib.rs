//! Wire format, archives, signatures and the sans-IO connection of a typed RPC framework whose messages are read in place.
//!
//! A crate that declares a service needs this crate alone. A **service** is a trait with [`#[service]`](macro@service), its messages are structs and
//! enums with [`#[message]`](macro@message):
//!
//! ```
//! use rpc_core::{message, service};
//!
//! #[message]
//! pub struct Profile {
//!     pub name: String,
//!     pub score: f64,
//! }
//!
//! #[service]
//! pub trait Directory {
//!     /// `name` borrows from the receive buffer.
//!     async fn lookup(&self, name: &str) -> Option<Profile>;
//!     /// A plain `fn` runs on the worker pool.
//!     fn digest(&self, block: &[u8]) -> u64;
//! }
//!
//! struct Empty;
//!
//! impl Directory for Empty {
//!     async fn lookup(&self, _name: &str) -> Option<Profile> {
//!         None
//!     }
//!     fn digest(&self, block: &[u8]) -> u64 {
//!         block.iter().map(|byte| u64::from(*byte)).sum()
//!     }
//! }
//! ```
//!
//! The macro makes `DirectoryClient`, which calls, and `DirectoryServer`, which dispatches. By what calls are started ([`Caller`]) and served
//! ([`Dispatch`]) are traits: `rpc-client` and `rpc-server` bring sockets, tests can do without.
//!
//! # The way of a call, module by module
//!
//! ```text
//!  caller:  call ─▶ encode ─▶ frame_buf ─▶ connection::client ─▶ send_queue ─▶ bytes
//!                                                                               │
//!  server:  incoming ◀─ archive ◀─ connection::server ◀─ buffer ◀───────────────┘
//!              │ handler
//!              └─▶ encode ─▶ connection::server ─▶ send_queue ─▶ … ─▶ buffer ─▶ archive ─▶ Reply
//! ```
//!
//! Nothing in this crate reads a clock, waits, starts a thread or touches a socket: bytes and `now` go in; bytes, events and one deadline come out.

// Generated code names `::rpc_core`, also inside this crate's own tests.
extern crate self as rpc_core;

pub mod archive;
mod blocking;
mod budget;
pub mod buffer;
mod bulk;
pub mod call;
pub mod code;
pub mod connection;
pub mod context;
pub mod encode;
pub mod error;
pub mod extensions;
pub mod failure;
pub mod format;
pub mod frame_buf;
pub mod header;
pub mod health;
pub mod id;
pub mod incoming;
mod job;
pub mod limits;
pub mod metadata;
pub mod middleware;
mod pieces;
pub mod preface;
mod rarity;
pub mod reassembly;
pub mod schema;
pub mod send_queue;
pub mod service;
mod spent;
pub mod stream;
pub mod trace;
pub mod wire;

#[doc(hidden)]
pub mod __private;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;

pub use archive::{Archive, ArchiveError};
pub use call::{Answer, Call, CallOptions, Caller, OutgoingCall, OwnedCall, Reply};
pub use code::{Code, Fault};
pub use context::{Context, Credentials, Peer, PeerAddress};
pub use encode::EncodeError;
pub use extensions::Extensions;
pub use failure::{CallError, CallFailure, FailureKind};
pub use frame_buf::FrameBuf;
pub use id::{CallId, MethodId};
pub use limits::{Limits, LimitsError};
pub use metadata::{Metadata, MetadataError};
pub use middleware::{ClientMiddleware, ServerMiddleware};
pub use rpc_derive::{message, service};
pub use service::{Dispatch, MethodDescriptor, ServiceDescriptor};
pub use stream::{Receiver, SendError, Sender, StreamError};
pub use wire::{
    Archived, ArchivedMap, ArchivedSet, ArchivedSystemTime, Bincode, MapKey, Postcard, Serde, SerdeCodec,
    Wire,
};
