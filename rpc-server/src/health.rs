//! Health of a server: what its owner says about its services, and whether it drains.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rpc_core::Sender;
use rpc_core::health::{Health, HealthService, UnknownService};
use tokio::sync::Notify;

/// Says how the services of a server are, for those who ask its built-in health service. Made by [`Server::health`](crate::Server::health).
///
/// Every service is `Serving` until somebody says otherwise; when the server begins to drain, all are `Draining`.
#[derive(Clone, Debug)]
pub struct HealthReporter(Arc<Board>);

#[derive(Debug, Default)]
struct Board {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// What was said, by service; with an empty name, of the server.
    services: BTreeMap<String, Health>,
    draining: bool,
}

impl HealthReporter {
    pub(crate) fn new() -> Self {
        let board = Board::default();
        board.lock().services.insert(String::new(), Health::Serving);
        Self(Arc::new(board))
    }

    /// Says how a service is; with an empty name, the server as a whole. A name that no service has is one more that can be asked for.
    pub fn set(&self, service: impl Into<String>, health: Health) {
        self.0.lock().services.insert(service.into(), health);
        self.0.changed.notify_waiters();
    }

    /// How a service is, as far as it is known.
    pub fn get(&self, service: &str) -> Option<Health> {
        let state = self.0.lock();
        let said = state.services.get(service).copied();
        if state.draining {
            return said.map(|_| Health::Draining);
        }
        said
    }

    /// A service was added to the server.
    pub(crate) fn add(&self, service: &str) {
        let mut state = self.0.lock();
        state
            .services
            .entry(service.to_owned())
            .or_insert(Health::Serving);
    }

    pub(crate) fn drain(&self) {
        self.0.lock().draining = true;
        self.0.changed.notify_waiters();
    }
}

impl Board {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HealthService for HealthReporter {
    async fn check(&self, service: &str) -> Result<Health, UnknownService> {
        self.get(service).ok_or_else(|| unknown(service))
    }

    async fn watch(&self, service: &str, mut changes: Sender<Health>) -> Result<(), UnknownService> {
        let mut last = None;
        loop {
            // Before looking, so that a change in between is not missed.
            let changed = self.0.changed.notified();
            let mut changed = std::pin::pin!(changed);
            changed.as_mut().enable();
            let health = self.get(service).ok_or_else(|| unknown(service))?;
            if last.replace(health) != Some(health) && changes.send(&health).await.is_err() {
                // Nobody watches any more.
                return Ok(());
            }
            if health == Health::Draining {
                return Ok(());
            }
            changed.await;
        }
    }
}

fn unknown(service: &str) -> UnknownService {
    let name = service.to_owned();
    UnknownService { name }
}
