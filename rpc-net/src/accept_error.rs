//! What an accept loop does after an error: every error has an answer, and none of them is to stop.

use std::io;
use std::time::Duration;

/// What to do after `accept` failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AcceptAction {
    /// Accept again after a pause, see [`AcceptBackoff`]: trying at once would fail at once.
    Pause,
    /// Accept again at once: the error belonged to one connection, which is gone.
    Retry,
}

/// Says what to do after `accept` failed with `error`.
///
/// Linux reports errors of the *new* connection from `accept`: it was aborted, its network went down, a
/// firewall refused it. The next one may be fine, so these are [`Retry`](AcceptAction::Retry). Three groups
/// are [`Pause`](AcceptAction::Pause), since they would come back at once and the loop would spin:
///
/// - no file descriptors or memory left (`EMFILE`, `ENFILE`, `ENOBUFS`, `ENOMEM`): the connection stays in
///   the queue;
/// - the listener itself is unusable (`EBADF`, `EFAULT`, `EINVAL`, `ENOTSOCK`), for instance because
///   somebody shut it down;
/// - errors that the kernel did not report: the runtime is shutting down.
#[must_use]
pub fn classify_accept_error(error: &io::Error) -> AcceptAction {
    match error.raw_os_error() {
        Some(ENOMEM | ENFILE | EMFILE | ENOBUFS) => AcceptAction::Pause,
        Some(EBADF | EFAULT | EINVAL | ENOTSOCK) => AcceptAction::Pause,
        Some(_) => AcceptAction::Retry,
        None => AcceptAction::Pause,
    }
}

/// How long the pauses of an accept loop are: 50 ms, doubled with each pause in a row, at most 1 s.
#[derive(Clone, Debug)]
pub struct AcceptBackoff {
    next: Duration,
}

impl AcceptBackoff {
    /// The pause after the first error.
    pub const FIRST: Duration = Duration::from_millis(50);
    /// The longest pause.
    pub const LONGEST: Duration = Duration::from_secs(1);

    /// Makes a back-off whose first pause is [`FIRST`](Self::FIRST).
    #[must_use]
    pub const fn new() -> Self {
        Self { next: Self::FIRST }
    }

    /// Returns how long to pause, and doubles the next pause.
    #[must_use]
    pub fn pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = pause.saturating_mul(2).min(Self::LONGEST);
        pause
    }

    /// Begins anew, after a connection was accepted.
    pub const fn reset(&mut self) {
        self.next = Self::FIRST;
    }
}

impl Default for AcceptBackoff {
    fn default() -> Self {
        Self::new()
    }
}

// Error numbers of Linux, from its asm-generic headers. The standard library has no name for them.
const EBADF: i32 = 9;
const ENOMEM: i32 = 12;
const EFAULT: i32 = 14;
const EINVAL: i32 = 22;
const ENFILE: i32 = 23;
const EMFILE: i32 = 24;
const ENOTSOCK: i32 = 88;
const ENOBUFS: i32 = 105;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_number_has_an_answer() {
        let pausing = [9, 12, 14, 22, 23, 24, 88, 105];
        for number in 1..=133 {
            let expected = match pausing.contains(&number) {
                true => AcceptAction::Pause,
                false => AcceptAction::Retry,
            };
            assert_eq!(
                classify_accept_error(&io::Error::from_raw_os_error(number)),
                expected,
                "{number}"
            );
        }
    }

    /// The numbers above are those of this platform: the texts of the C library say so.
    #[test]
    fn the_error_numbers_mean_what_their_names_say() {
        let table = [
            (EBADF, "Bad file descriptor"),
            (ENOMEM, "Cannot allocate memory"),
            (EFAULT, "Bad address"),
            (EINVAL, "Invalid argument"),
            (ENFILE, "Too many open files in system"),
            (EMFILE, "Too many open files"),
            (ENOTSOCK, "Socket operation on non-socket"),
            (ENOBUFS, "No buffer space available"),
        ];
        for (number, text) in table {
            assert_eq!(
                io::Error::from_raw_os_error(number).to_string(),
                format!("{text} (os error {number})")
            );
        }
    }

    #[test]
    fn an_aborted_connection_does_not_pause_the_loop() {
        let aborted = io::Error::from_raw_os_error(103);
        assert_eq!(aborted.kind(), io::ErrorKind::ConnectionAborted);
        assert_eq!(classify_accept_error(&aborted), AcceptAction::Retry);
    }

    #[test]
    fn an_error_that_is_not_the_kernels_pauses_the_loop() {
        assert_eq!(
            classify_accept_error(&io::Error::other("shutting down")),
            AcceptAction::Pause
        );
    }

    #[test]
    fn pauses_double_up_to_a_second_and_begin_anew_after_success() {
        let mut backoff = AcceptBackoff::new();
        let pauses: Vec<_> = (0..7).map(|_| backoff.pause().as_millis()).collect();
        assert_eq!(pauses, [50, 100, 200, 400, 800, 1000, 1000]);
        backoff.reset();
        assert_eq!(backoff.pause(), AcceptBackoff::FIRST);
    }
}
