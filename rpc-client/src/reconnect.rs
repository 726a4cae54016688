//! Link: one connection of a channel, which is made again when it is lost, with one attempt at a time.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rpc_core::{CallFailure, FailureKind};
use tokio::sync::watch;

use crate::backoff::Backoff;
use crate::clock;
use crate::connection::Shared;
use crate::error::{ConnectError, chain};
use crate::load::{Load, Offer};

/// A connection of a channel, or why there is none.
///
/// ```text
///  Unopened ── needed ──┐
///                       ▼
///        ┌── a call finds it unusable ──▶ Dialling ── failed ──▶ Down ── first call after the pause ──▶ Dialling
///       Up ◀──────── greeted ────────────────┘
/// ```
#[derive(Debug)]
pub(crate) struct Link {
    state: Mutex<State>,
    /// How busy the connection is, if there are others to choose from.
    load: Option<Arc<Load>>,
    /// The longest call that the server accepts, as it said when it last greeted.
    max_body: AtomicU32,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    backoff: Backoff,
}

#[derive(Debug)]
enum Phase {
    /// Nobody has needed it yet.
    Unopened,
    Up(Arc<Shared>),
    /// An attempt is under way. It drops the sender when it has ended.
    Dialling(watch::Receiver<()>),
    /// The last attempt failed; calls fail without another one until the pause is over.
    Down {
        until: Instant,
        error: Arc<ConnectError>,
    },
}

/// How long a server that turned out to be of another build is not dialled again.
const INCOMPATIBLE_PAUSE: Duration = Duration::from_secs(30);

/// What a call without a connection does next.
pub(crate) enum Step {
    Use(Arc<Shared>),
    Fail(CallFailure),
    /// Wait for the attempt that is under way.
    Wait(watch::Receiver<()>),
    /// Make the attempt, and wait for it as the others do.
    Dial(Dial),
}

/// An attempt that is to be made.
pub(crate) struct Dial {
    /// Dropped when the attempt has ended.
    pub(crate) done: watch::Sender<()>,
    pub(crate) attempt: watch::Receiver<()>,
    /// The connection that this one replaces.
    pub(crate) old: Option<Arc<Shared>>,
}

impl Link {
    /// A link without a connection. `counted`: whether there are others to choose from.
    pub(crate) fn new(counted: bool) -> Self {
        Self {
            state: Mutex::new(State {
                phase: Phase::Unopened,
                backoff: Backoff::seeded_by_chance(),
            }),
            load: counted.then(|| Arc::new(Load::new())),
            max_body: AtomicU32::new(u32::MAX),
        }
    }

    /// The connection, if there is one. It may turn out that it takes no calls any more.
    pub(crate) fn current(&self) -> Option<Arc<Shared>> {
        match &self.lock().phase {
            Phase::Up(shared) => Some(Arc::clone(shared)),
            Phase::Unopened | Phase::Dialling(_) | Phase::Down { .. } => None,
        }
    }

    /// What there is to choose, without a lock.
    pub(crate) fn offer(&self) -> Offer {
        self.load.as_ref().map_or(Offer::Up(0), |load| load.get())
    }

    /// The attempt that is under way.
    pub(crate) fn attempt(&self) -> Option<watch::Receiver<()>> {
        match &self.lock().phase {
            Phase::Dialling(attempt) => Some(attempt.clone()),
            Phase::Unopened | Phase::Up(_) | Phase::Down { .. } => None,
        }
    }

    /// The longest call that the server accepts, as it said when it last greeted; the largest number before.
    pub(crate) fn max_body(&self) -> u32 {
        self.max_body.load(Ordering::Relaxed)
    }

    /// `waited`: whether the call has already waited for an attempt, whose failure is then its own.
    pub(crate) fn next_step(&self, unusable: Option<&Arc<Shared>>, waited: bool) -> Step {
        let mut state = self.lock();
        let old = match &state.phase {
            Phase::Up(shared) if self.is_over(shared, unusable) => Some(Arc::clone(shared)),
            Phase::Up(shared) => return Step::Use(Arc::clone(shared)),
            Phase::Dialling(attempt) => return Step::Wait(attempt.clone()),
            Phase::Down { until, error } if waited || clock::now() < *until => {
                return Step::Fail(not_connected(error));
            }
            Phase::Unopened | Phase::Down { .. } => None,
        };
        Step::Dial(self.begin(&mut state, old))
    }

    /// Begins an attempt for which no call waits, if there is neither a connection nor a reason to wait with it.
    pub(crate) fn open(&self) -> Option<Dial> {
        // Whoever holds the lock is about to do the same.
        let mut state = self.state.try_lock().ok()?;
        let old = match &state.phase {
            Phase::Up(shared) if self.is_over(shared, None) => Some(Arc::clone(shared)),
            Phase::Down { until, .. } if clock::now() < *until => return None,
            Phase::Up(_) | Phase::Dialling(_) => return None,
            Phase::Unopened | Phase::Down { .. } => None,
        };
        Some(self.begin(&mut state, old))
    }

    fn begin(&self, state: &mut State, old: Option<Arc<Shared>>) -> Dial {
        let (done, attempt) = watch::channel(());
        state.phase = Phase::Dialling(attempt.clone());
        if let Some(load) = &self.load {
            load.set_dialling();
        }
        Dial { done, attempt, old }
    }

    /// Takes note of how an attempt ended.
    pub(crate) fn finish(&self, result: Result<Arc<Shared>, ConnectError>) {
        let mut state = self.lock();
        state.phase = match result {
            Ok(shared) => {
                state.backoff.reset();
                self.max_body.store(shared.max_body(), Ordering::Relaxed);
                if let Some(load) = &self.load {
                    shared.count(Arc::clone(load));
                }
                Phase::Up(shared)
            }
            Err(error) => {
                if let Some(load) = &self.load {
                    load.set_gone();
                }
                let until = clock::now() + pause_after(&error, &mut state.backoff);
                Phase::Down {
                    until,
                    error: Arc::new(error),
                }
            }
        };
    }

    /// Whether a connection takes no calls any more.
    fn is_over(&self, shared: &Arc<Shared>, unusable: Option<&Arc<Shared>>) -> bool {
        unusable.is_some_and(|unusable| Arc::ptr_eq(unusable, shared)) || self.offer() == Offer::Gone
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long the server is left alone after an attempt.
pub(crate) fn pause_after(error: &ConnectError, backoff: &mut Backoff) -> Duration {
    // P-03: trying a server of another build again soon is of no use; it may be rolled back later.
    if error.is_incompatible() {
        INCOMPATIBLE_PAUSE
    } else {
        backoff.pause()
    }
}

pub(crate) fn not_connected(error: &ConnectError) -> CallFailure {
    CallFailure::local(FailureKind::NotSent, false, chain(error))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn link(phase: Phase) -> Link {
        let link = Link::new(true);
        *link.lock() = State {
            phase,
            backoff: Backoff::new(1),
        };
        link
    }

    fn down(until: Instant) -> Link {
        link(Phase::Down {
            until,
            error: Arc::new(ConnectError::Runtime),
        })
    }

    #[test]
    fn calls_fail_during_the_pause_and_dial_after_it() {
        let now = clock::now();
        let Step::Fail(failure) = down(now + HOUR).next_step(None, false) else {
            panic!("no failure")
        };
        assert_eq!(
            (failure.kind(), failure.may_have_run()),
            (FailureKind::NotSent, false)
        );
        assert_eq!(failure.text(), "runtime of the channel has been shut down");
        assert!(matches!(
            down(now).next_step(None, false),
            Step::Dial(Dial { old: None, .. })
        ));
        // Who has waited for an attempt shares its failure, however short the pause is.
        assert!(matches!(down(now).next_step(None, true), Step::Fail(_)));
    }

    #[test]
    fn one_attempt_is_made_at_a_time() {
        let link = down(clock::now());
        let Step::Dial(Dial { done, .. }) = link.next_step(None, false) else {
            panic!("no attempt")
        };
        assert!(matches!(link.next_step(None, false), Step::Wait(_)));
        link.finish(Err(ConnectError::Runtime));
        drop(done);
        assert!(matches!(link.next_step(None, true), Step::Fail(_)));
    }

    #[test]
    fn an_attempt_that_fails_begins_a_pause() {
        let link = down(clock::now());
        link.finish(Err(ConnectError::Runtime));
        let until = match &link.lock().phase {
            Phase::Down { until, .. } => *until,
            Phase::Unopened | Phase::Up(_) | Phase::Dialling(_) => panic!("not down"),
        };
        assert!(until <= clock::now() + Backoff::FIRST);
    }

    /// P-03
    #[test]
    fn a_server_of_another_build_is_left_alone_for_half_a_minute() {
        let link = down(clock::now());
        let error = rpc_core::error::HandshakeError::Version {
            ours: (1, 1),
            theirs: (2, 2),
        };
        link.finish(Err(ConnectError::Handshake {
            address: "unix:a".parse().unwrap(),
            error,
        }));
        for waited in [false, true] {
            let Step::Fail(failure) = link.next_step(None, waited) else {
                panic!("no failure")
            };
            assert_eq!(
                failure.text(),
                "handshake with unix:a did not complete: peer speaks versions 2 to 2, this side 1 to 1"
            );
        }
        let Phase::Down { until, .. } = &link.lock().phase else {
            panic!("not down")
        };
        assert!(*until > clock::now() + INCOMPATIBLE_PAUSE / 2);
    }

    #[test]
    fn a_link_is_opened_ahead_unless_it_is_being_dialled_or_has_failed_a_short_while_ago() {
        let link = link(Phase::Unopened);
        assert_eq!(link.offer(), Offer::Gone);
        let dial = link.open();
        assert!(dial.is_some() && link.open().is_none());
        assert_eq!(link.offer(), Offer::Dialling);
        link.finish(Err(ConnectError::Runtime));
        assert_eq!(link.offer(), Offer::Gone);
        assert!(link.open().is_none());
        assert!(down(clock::now()).open().is_some());
    }
}
