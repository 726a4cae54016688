//! Shared: what every connection and acceptor of one server refers to.

use std::sync::Arc;
use std::time::Duration;

use rpc_core::Limits;
use rpc_net::ReceiveBuffer;
use tokio::sync::Semaphore;

use crate::lifecycle::Times;
use crate::memory::MemoryBudget;
use crate::pool::Pool;
use crate::router::Router;
use crate::shutdown::Shutdown;
use crate::stats::Counters;

/// The parts of a running server.
pub(crate) struct Shared {
    pub(crate) router: Arc<Router>,
    pub(crate) limits: Limits,
    pub(crate) times: Times,
    /// See [`ServerBuilder::receive_buffer`](crate::ServerBuilder::receive_buffer).
    pub(crate) receive_buffer: ReceiveBuffer,
    /// See [`ServerBuilder::busy_poll`](crate::ServerBuilder::busy_poll).
    pub(crate) busy_poll: Duration,
    pub(crate) memory: Arc<MemoryBudget>,
    pub(crate) pool: Pool,
    pub(crate) counters: Arc<Counters>,
    pub(crate) shutdown: Arc<Shutdown>,
    /// A permit per connection that may still be opened.
    pub(crate) connections: Arc<Semaphore>,
    /// A permit per connection that may have its handshake before it.
    pub(crate) handshakes: Arc<Semaphore>,
}
