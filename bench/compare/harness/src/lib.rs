//! What every peer of the comparison shares: workloads, lanes, processes, reports.
//!
//! A peer is a program whose `main` is [`main::<ItsPeer>()`](main). It says how its server is run ([`Peer::serve`]), how a connection is made
//! ([`Connection::connect`]), and how one of its calls looks ([`Client`]); the harness makes the calls, checks the answers and writes the [`Report`].
//!
//! ```text
//!  compare-x bench ──▶ starts `compare-x server` ◀──▶ stdin: `stats`, its end stops it
//!      │                        │
//!   Connection::spawn ─▶ Lane::run(Client) ══ socket ══ Peer::serve
//!      │
//!   Report, one line of JSON
//! ```

mod address;
mod bench;
mod count;
pub mod data;
mod idle;
mod lane;
mod locked;
mod main_entry;
mod options;
mod peer;
mod process;
pub mod report;
mod server;
mod usage;
mod workload;

pub use address::{Address, Transport};
pub use data::{Block, ListSums};
pub use lane::{Lane, LaneReport, Lanes, Latencies, Task, Until};
pub use locked::locked_version;
pub use main_entry::main;
pub use options::{Options, RuntimeKind};
pub use peer::{Client, Connection, Peer};
pub use report::Report;
pub use server::Ready;
pub use workload::{BLOCK, Call, Workload};

/// What went wrong, in words: a measurement that fails has nothing to report, and nobody handles it.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Result of whatever may go wrong in a measurement.
pub type Result<T, E = Failure> = std::result::Result<T, E>;
