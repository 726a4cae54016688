//! Link: which connection a blocking channel uses, and the one thread at a time that makes another.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rpc_core::{CallFailure, FailureKind};

use super::channel::Inner;
use super::connection::Shared;
use crate::backoff::Backoff;
use crate::clock;
use crate::error::ConnectError;
use crate::reconnect::{not_connected, pause_after};

/// The connection of a channel, or why there is none.
#[derive(Debug)]
pub(super) struct Link {
    state: Mutex<State>,
    /// An attempt has ended.
    ended: Condvar,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    backoff: Backoff,
}

#[derive(Debug)]
enum Phase {
    Up(Arc<Shared>),
    /// A thread is at it.
    Dialling,
    /// There is none, and nothing against dialling.
    Gone,
    /// The last attempt failed; calls fail without another one until the pause is over.
    Down {
        until: Instant,
        error: Arc<ConnectError>,
    },
}

impl Default for Link {
    fn default() -> Self {
        Self {
            state: Mutex::new(State {
                phase: Phase::Gone,
                backoff: Backoff::seeded_by_chance(),
            }),
            ended: Condvar::new(),
        }
    }
}

impl Link {
    /// Takes the first connection.
    pub(super) fn begin(&self, shared: Arc<Shared>) {
        self.lock().phase = Phase::Up(shared);
    }

    /// The connection, if there is one. It may turn out that it takes no calls any more.
    pub(super) fn current(&self) -> Option<Arc<Shared>> {
        match &self.lock().phase {
            Phase::Up(shared) => Some(Arc::clone(shared)),
            Phase::Dialling | Phase::Gone | Phase::Down { .. } => None,
        }
    }

    /// Lets go of a connection that has ended, whose socket is closed then.
    pub(super) fn forget_if_ended(&self, ended: &Arc<Shared>) {
        if !ended.has_ended() {
            return;
        }
        let mut state = self.lock();
        if matches!(&state.phase, Phase::Up(shared) if Arc::ptr_eq(shared, ended)) {
            state.phase = Phase::Gone;
        }
    }

    /// Finds a connection other than `unusable`, within the call's deadline. If somebody has to dial, it is this thread, and the others wait for it.
    ///
    /// # Errors
    ///
    /// The attempt to connect failed, or did so a short while ago; or the deadline has passed. The call was not sent.
    pub(super) fn find(
        &self,
        channel: &Inner,
        unusable: Option<&Arc<Shared>>,
        deadline: Option<Instant>,
    ) -> Result<Arc<Shared>, CallFailure> {
        let mut state = self.lock();
        let mut waited = false;
        loop {
            match &state.phase {
                Phase::Up(shared) if unusable.is_none_or(|unusable| !Arc::ptr_eq(unusable, shared)) => {
                    return Ok(Arc::clone(shared));
                }
                // Who has waited for an attempt shares its failure, however short the pause is.
                Phase::Down { until, error } if waited || clock::now() < *until => {
                    return Err(not_connected(error));
                }
                Phase::Dialling => {
                    if is_over(deadline) {
                        return Err(too_late(channel));
                    }
                    waited = true;
                    state = self.wait(state, deadline);
                }
                Phase::Up(_) | Phase::Gone | Phase::Down { .. } => break,
            }
        }
        // The old connection is closed when its calls have ended.
        state.phase = Phase::Dialling;
        drop(state);
        let result = channel.dial(deadline);
        let mut state = self.lock();
        let State { phase, backoff } = &mut *state;
        let found = match result {
            Ok(shared) => {
                backoff.reset();
                *phase = Phase::Up(Arc::clone(&shared));
                Ok(shared)
            }
            // It was this call that had no more time; that says nothing about the server.
            Err(_) if is_over(deadline) => {
                *phase = Phase::Gone;
                Err(too_late(channel))
            }
            Err(error) => {
                let error = Arc::new(error);
                let failure = not_connected(&error);
                let until = clock::now() + pause_after(&error, backoff);
                *phase = Phase::Down { until, error };
                Err(failure)
            }
        };
        drop(state);
        self.ended.notify_all();
        found
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>, deadline: Option<Instant>) -> MutexGuard<'a, State> {
        match deadline {
            None => self.ended.wait(state).unwrap_or_else(PoisonError::into_inner),
            Some(deadline) => {
                let left = deadline.saturating_duration_since(clock::now());
                let waited = self.ended.wait_timeout(state, left);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_over(deadline: Option<Instant>) -> bool {
    deadline.is_some_and(|deadline| deadline <= clock::now())
}

fn too_late(channel: &Inner) -> CallFailure {
    let text = format!("time ran out while connecting to {}", channel.address);
    CallFailure::local(FailureKind::DeadlineExceeded, false, text)
}
