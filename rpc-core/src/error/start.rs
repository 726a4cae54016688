//! StartError: why a call was not started.

use std::error::Error;
use std::fmt;

/// Why a call was not started. It has not run, and nothing was sent for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StartError {
    /// The connection has ended.
    Closed,
    /// A goaway was sent or received: no new calls on this connection.
    Draining,
    /// The deadline has passed.
    Expired,
    /// The body is above the guaranteed length, and the server's limit is not known yet (P-06).
    NotGreeted {
        /// Length of the body.
        len: usize,
        /// The guaranteed length.
        limit: u32,
    },
    /// As many calls are in flight as the server accepts, or this side.
    Saturated {
        /// That number.
        limit: u32,
    },
    /// The body is longer than the server accepts.
    TooLarge {
        /// Length of the body.
        len: usize,
        /// The longest that the server accepts.
        limit: u32,
    },
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("connection is closed"),
            Self::Draining => f.write_str("connection takes no new calls"),
            Self::Expired => f.write_str("deadline has passed"),
            Self::NotGreeted { len, limit } => {
                write!(
                    f,
                    "call of {len} bytes exceeds {limit}, the limit until the server has answered"
                )
            }
            Self::Saturated { limit } => write!(f, "{limit} calls are in flight, which is the limit"),
            Self::TooLarge { len, limit } => {
                write!(f, "call of {len} bytes exceeds the server's limit of {limit}")
            }
        }
    }
}

impl Error for StartError {}
