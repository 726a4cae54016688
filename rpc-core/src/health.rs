//! Health: the built-in service by which a server says whether it takes calls.

use crate::{Sender, message, service};

/// Whether a server, or one of its services, takes calls.
#[message]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It does.
    Serving,
    /// It finishes the calls that it has and takes no others: whoever chooses among servers chooses another.
    Draining,
    /// It runs, but takes no calls: its owner says so.
    NotServing,
}

/// There is no service of that name.
#[message]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownService {
    /// The name.
    pub name: String,
}

impl std::fmt::Display for UnknownService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "no service {}", self.name)
    }
}

/// Asks a server how it is. Every server has it, unless it was built without.
///
/// ```no_run
/// # async fn example<C: rpc_core::Caller>(channel: C) -> Result<(), Box<dyn std::error::Error>> {
/// use rpc_core::health::{Health, HealthServiceClient};
///
/// let health = HealthServiceClient::new(channel).check("Directory").owned().await?;
/// assert_eq!(health, Health::Serving);
/// # Ok(())
/// # }
/// ```
#[service(name = "RpcHealth")]
pub trait HealthService {
    /// How a service is; with an empty name, the server as a whole.
    #[rpc(idempotent)]
    async fn check(&self, service: &str) -> Result<Health, UnknownService>;

    /// The same, and every change of it. The stream ends when the server drains, behind [`Health::Draining`].
    async fn watch(&self, service: &str, changes: Sender<Health>) -> Result<(), UnknownService>;
}
