//! Timer: the one alarm of a connection, moved only when it has to ring earlier.

use std::pin::Pin;
use std::task::Context;
use std::time::Instant;

use tokio::time::{Sleep, sleep_until};

/// An alarm that may ring too early, never too late: deadlines that have gone are not worth the cost of moving it.
#[derive(Debug, Default)]
pub(crate) struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
    /// When it rings, if it is armed.
    armed: Option<Instant>,
}

impl Timer {
    /// Whether the alarm has rung by `now`. It then has to be armed again.
    pub(crate) fn has_fired(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let Some(armed) = self.armed else { return false };
        // The clock comes first: a task that has used up its budget is told that its timers wait.
        let fired = armed <= now
            || self
                .sleep
                .as_mut()
                .is_some_and(|sleep| sleep.as_mut().poll(cx).is_ready());
        if fired {
            self.armed = None;
        }
        fired
    }

    /// Makes sure that the alarm rings at `due` or before. Whether it rings at once.
    pub(crate) fn arm(&mut self, cx: &mut Context<'_>, due: Option<Instant>) -> bool {
        let Some(due) = due else { return false };
        if self.armed.is_some_and(|armed| armed <= due) {
            return false;
        }
        self.armed = Some(due);
        let sleep = match &mut self.sleep {
            Some(sleep) => {
                sleep.as_mut().reset(due.into());
                sleep
            }
            None => self.sleep.insert(Box::pin(sleep_until(due.into()))),
        };
        sleep.as_mut().poll(cx).is_ready()
    }
}
