//! Clock: the one place where this crate asks for the time.

use std::time::Instant;

/// The time on the runtime's clock, which tests of users may pause.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
