//! Why a server does not start.

use std::fmt;

use rpc_core::LimitsError;
use rpc_net::{AddressError, BindError};

/// Why a server does not start. Nothing is left behind: listeners that were already bound are closed.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// An address to listen on is malformed.
    Address(AddressError),
    /// A listener could not be bound.
    Bind(BindError),
    /// Two different methods have the same id, which chance brings about once in 2^48 pairs: rename one.
    DuplicateMethod {
        /// The method's signature, without the types it mentions.
        name: String,
    },
    /// A service was added that has no method beyond those of the ones before it.
    DuplicateService {
        /// The service's name.
        name: String,
    },
    /// A limit is out of its range.
    Limits(LimitsError),
    /// There is no address to listen on.
    NoAddress,
    /// [`start_here`](crate::ServerBuilder::start_here) was called outside of a tokio runtime.
    NoRuntime,
    /// A thread or a runtime could not be started.
    Threads(std::io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(error) => error.fmt(f),
            Self::Bind(error) => error.fmt(f),
            Self::DuplicateMethod { name } => write!(f, "method has the id of another one: {name}"),
            Self::DuplicateService { name } => write!(f, "service is added twice: {name}"),
            Self::Limits(error) => error.fmt(f),
            Self::NoAddress => f.write_str("server has no address to listen on"),
            Self::NoRuntime => f.write_str("no tokio runtime here to serve in"),
            Self::Threads(_) => f.write_str("threads of the server could not be started"),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            // Shown by Display themselves: what lies below is theirs to name.
            Self::Address(error) => error.source(),
            Self::Bind(error) => error.source(),
            Self::Limits(error) => error.source(),
            Self::Threads(error) => Some(error),
            Self::DuplicateMethod { .. }
            | Self::DuplicateService { .. }
            | Self::NoAddress
            | Self::NoRuntime => None,
        }
    }
}

impl From<AddressError> for StartError {
    fn from(error: AddressError) -> Self {
        Self::Address(error)
    }
}

impl From<BindError> for StartError {
    fn from(error: BindError) -> Self {
        Self::Bind(error)
    }
}

impl From<LimitsError> for StartError {
    fn from(error: LimitsError) -> Self {
        Self::Limits(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_says_what_is_wrong() {
        let duplicate = StartError::DuplicateMethod {
            name: "Echo.echo(text: String) -> String".to_owned(),
        };
        assert_eq!(
            duplicate.to_string(),
            "method has the id of another one: Echo.echo(text: String) -> String"
        );
        let twice = StartError::DuplicateService {
            name: "Echo".to_owned(),
        };
        assert_eq!(twice.to_string(), "service is added twice: Echo");
        assert_eq!(
            StartError::NoAddress.to_string(),
            "server has no address to listen on"
        );
        assert_eq!(
            StartError::NoRuntime.to_string(),
            "no tokio runtime here to serve in"
        );
        let threads = StartError::Threads(std::io::Error::other("no more"));
        assert_eq!(threads.to_string(), "threads of the server could not be started");
    }
}
