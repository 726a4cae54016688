//! Link: which connection a channel uses, and the one attempt at a time to make another.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use rpc_core::{CallFailure, FailureKind};
use tokio::sync::watch;
use tokio::time::timeout_at;

use crate::backoff::Backoff;
use crate::channel::Inner;
use crate::clock;
use crate::connection::Shared;
use crate::dial::dial;
use crate::error::{ConnectError, chain};

/// The connection of a channel, or why there is none.
///
/// ```text
///        ┌── a call finds it unusable ──▶ Dialling ── failed ──▶ Down ── first call after the pause ──▶ Dialling
///       Up ◀──────── greeted ────────────────┘
/// ```
#[derive(Debug)]
pub(crate) struct Link(Mutex<State>);

#[derive(Debug)]
struct State {
    phase: Phase,
    backoff: Backoff,
}

#[derive(Debug)]
enum Phase {
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

impl Link {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self(Mutex::new(State {
            phase: Phase::Up(shared),
            backoff: Backoff::seeded_by_chance(),
        }))
    }

    /// The connection, if there is one. It may turn out that it takes no calls any more.
    pub(crate) fn current(&self) -> Option<Arc<Shared>> {
        match &self.lock().phase {
            Phase::Up(shared) => Some(Arc::clone(shared)),
            Phase::Dialling(_) | Phase::Down { .. } => None,
        }
    }

    /// Lets go of the connection, which ends when its calls have.
    pub(crate) fn close(&self) {
        if let Some(shared) = self.current() {
            shared.close();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a call without a connection does next.
enum Step {
    Use(Arc<Shared>),
    Fail(CallFailure),
    /// Wait for the attempt that is under way.
    Wait(watch::Receiver<()>),
    /// Make the attempt, and wait for it as the others do.
    Dial {
        done: watch::Sender<()>,
        attempt: watch::Receiver<()>,
        old: Option<Arc<Shared>>,
    },
}

/// Finds a connection other than `unusable`, within the call's deadline.
///
/// # Errors
///
/// The attempt to connect failed, or did so a short while ago; or the deadline has passed. The call was not sent.
pub(crate) async fn find(
    channel: Arc<Inner>,
    unusable: Option<Arc<Shared>>,
    deadline: Option<Instant>,
) -> Result<Arc<Shared>, CallFailure> {
    let Some(deadline) = deadline else {
        return find_eventually(&channel, unusable).await;
    };
    let found = {
        // A call may be polled outside of the runtime; only making a timer needs it.
        let _runtime = channel.runtime.enter();
        timeout_at(deadline.into(), find_eventually(&channel, unusable))
    };
    found.await.unwrap_or_else(|_| {
        let text = format!("time ran out while connecting to {}", channel.address);
        Err(CallFailure::local(FailureKind::DeadlineExceeded, false, text))
    })
}

async fn find_eventually(
    channel: &Arc<Inner>,
    unusable: Option<Arc<Shared>>,
) -> Result<Arc<Shared>, CallFailure> {
    let mut waited = false;
    loop {
        let mut attempt = match channel.link.next_step(unusable.as_ref(), waited) {
            Step::Use(shared) => return Ok(shared),
            Step::Fail(failure) => return Err(failure),
            Step::Wait(attempt) => attempt,
            Step::Dial { done, attempt, old } => {
                if let Some(old) = old {
                    old.close();
                }
                make_attempt(channel, done);
                attempt
            }
        };
        // Nothing is ever sent: the error says that the attempt has ended.
        let _ = attempt.changed().await;
        waited = true;
    }
}

impl Link {
    /// `waited`: whether the call has already waited for an attempt, whose failure is then its own.
    fn next_step(&self, unusable: Option<&Arc<Shared>>, waited: bool) -> Step {
        let mut state = self.lock();
        let old = match &state.phase {
            Phase::Up(shared) if unusable.is_some_and(|unusable| Arc::ptr_eq(unusable, shared)) => {
                Some(Arc::clone(shared))
            }
            Phase::Up(shared) => return Step::Use(Arc::clone(shared)),
            Phase::Dialling(attempt) => return Step::Wait(attempt.clone()),
            Phase::Down { until, error } if waited || clock::now() < *until => {
                return Step::Fail(not_connected(error));
            }
            Phase::Down { .. } => None,
        };
        let (done, attempt) = watch::channel(());
        state.phase = Phase::Dialling(attempt.clone());
        Step::Dial { done, attempt, old }
    }

    /// Takes note of how an attempt ended.
    fn finish(&self, result: Result<Arc<Shared>, ConnectError>) {
        let mut state = self.lock();
        state.phase = match result {
            Ok(shared) => {
                state.backoff.reset();
                Phase::Up(shared)
            }
            Err(error) => {
                let until = clock::now() + pause_after(&error, &mut state.backoff);
                Phase::Down {
                    until,
                    error: Arc::new(error),
                }
            }
        };
    }
}

/// Dials in a task of its own: the call that began it may be dropped, and others wait as well.
///
/// No lock is held here, since a runtime that has been shut down drops the task at once, which ends the attempt.
fn make_attempt(channel: &Arc<Inner>, done: watch::Sender<()>) {
    let (address, settings) = (channel.address.clone(), channel.settings);
    let keep_alive = channel.keep_alive.clone();
    let attempt = Attempt {
        channel: Arc::downgrade(channel),
        ended: false,
        _done: done,
    };
    channel.runtime.spawn(async move {
        let result = dial(&address, &settings, keep_alive).await;
        attempt.end(result);
    });
}

/// An attempt to connect. However it ends, those who wait for it learn of it.
struct Attempt {
    /// Weak, so that an attempt that takes its time does not keep a channel that everybody has dropped.
    channel: Weak<Inner>,
    ended: bool,
    /// Dropped last, after the link was told.
    _done: watch::Sender<()>,
}

impl Attempt {
    fn end(mut self, result: Result<Arc<Shared>, ConnectError>) {
        self.ended = true;
        match (self.channel.upgrade(), result) {
            (Some(channel), result) => {
                if let Ok(shared) = &result {
                    channel.set_max_body(shared.max_body());
                }
                channel.link.finish(result);
            }
            (None, Ok(shared)) => shared.close(),
            (None, Err(_)) => {}
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        // The runtime has dropped the task.
        if let Some(channel) = self.channel.upgrade() {
            channel.link.finish(Err(ConnectError::Runtime));
        }
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
        Link(Mutex::new(State {
            phase,
            backoff: Backoff::new(1),
        }))
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
            Step::Dial { old: None, .. }
        ));
        // Who has waited for an attempt shares its failure, however short the pause is.
        assert!(matches!(down(now).next_step(None, true), Step::Fail(_)));
    }

    #[test]
    fn one_attempt_is_made_at_a_time() {
        let link = down(clock::now());
        let Step::Dial { done, .. } = link.next_step(None, false) else {
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
            Phase::Up(_) | Phase::Dialling(_) => panic!("not down"),
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
}
