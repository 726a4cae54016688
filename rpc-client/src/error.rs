//! Errors: why there is no connection, and why there is none any more.

use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

use rpc_core::LimitsError;
use rpc_core::error::{ConnectionError, HandshakeError};
use rpc_net::{Address, AddressError, DialError};

/// Why a channel could not be connected.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConnectError {
    /// The address is one that no server can have. Nothing was tried.
    Address(AddressError),
    /// The connection ended right after it was opened: the server said goodbye, or broke the protocol.
    Connection {
        /// Where the server is.
        address: Address,
        /// What ended it.
        error: ConnectionError,
    },
    /// Nobody answers at the address: nothing listens there, no such path, no permission, …
    Dial(DialError),
    /// Somebody answers, but the two do not come to talk: another protocol, another version, another archive format, or silence.
    Handshake {
        /// Where the server is.
        address: Address,
        /// Why not.
        error: HandshakeError,
    },
    /// The limits are out of range. Nothing was tried.
    Limits(LimitsError),
    /// The runtime that the channel was connected in has been shut down.
    Runtime,
    /// The socket broke before the server had greeted.
    Socket {
        /// Where the server is.
        address: Address,
        /// What broke it.
        error: io::Error,
    },
    /// Dialling took longer than the connect timeout.
    Timeout {
        /// Where the server is.
        address: Address,
        /// The connect timeout.
        after: Duration,
    },
}

impl ConnectError {
    /// Whether the server is of another version, archive format or feature set: another attempt would end the same way.
    pub fn is_incompatible(&self) -> bool {
        matches!(
            self,
            Self::Handshake {
                error: HandshakeError::Version { .. }
                    | HandshakeError::Format { .. }
                    | HandshakeError::Feature { .. },
                ..
            }
        )
    }

    pub(crate) fn from_lost(address: Address, lost: Lost) -> Self {
        match lost {
            Lost::Connection(ConnectionError::Handshake(error)) => Self::Handshake { address, error },
            Lost::Connection(error) => Self::Connection { address, error },
            Lost::Socket(error) => Self::Socket { address, error },
            Lost::PeerFinished | Lost::Silent => {
                let error = io::Error::new(io::ErrorKind::UnexpectedEof, lost.to_string());
                Self::Socket { address, error }
            }
            Lost::Runtime => Self::Runtime,
        }
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(error) => error.fmt(f),
            Self::Connection { address, .. } => {
                write!(f, "connection to {address} ended before it was of use")
            }
            Self::Dial(error) => error.fmt(f),
            Self::Handshake { address, .. } => write!(f, "handshake with {address} did not complete"),
            Self::Limits(error) => error.fmt(f),
            Self::Runtime => f.write_str("runtime of the channel has been shut down"),
            Self::Socket { address, .. } => write!(f, "socket to {address} broke during the handshake"),
            Self::Timeout { address, after } => write!(f, "no connection to {address} within {after:?}"),
        }
    }
}

impl Error for ConnectError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            // These stand for the error that they hold: its text is theirs, and so is its source.
            Self::Address(error) => error.source(),
            Self::Dial(error) => error.source(),
            Self::Limits(error) => error.source(),
            Self::Connection { error, .. } => Some(error),
            Self::Handshake { error, .. } => Some(error),
            Self::Socket { error, .. } => Some(error),
            Self::Runtime | Self::Timeout { .. } => None,
        }
    }
}

/// Why a connection has ended.
#[derive(Debug)]
pub(crate) enum Lost {
    Connection(ConnectionError),
    /// The server closed the connection behind a whole frame.
    PeerFinished,
    /// The driver was dropped.
    Runtime,
    /// The server did not answer a keep-alive ping.
    Silent,
    Socket(io::Error),
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connection(error) => chain(error).fmt(f),
            Self::PeerFinished => f.write_str("server closed the connection"),
            Self::Runtime => f.write_str("runtime of the channel was shut down"),
            Self::Silent => f.write_str("server does not answer (keep_alive)"),
            Self::Socket(error) => error.fmt(f),
        }
    }
}

/// An error and its causes in one line, for the text of a failure, which has no source.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use rpc_core::Code;
    use rpc_core::error::Guess;

    use super::*;

    #[test]
    fn every_connect_error_names_the_address_and_its_cause() {
        let address = || "tcp://host:1".parse::<Address>().unwrap();
        let table = [
            (
                ConnectError::Address("http://host".parse::<Address>().unwrap_err()),
                "address \"http://host\" begins with none of tcp://, unix://, unix: and unix-abstract:",
            ),
            (
                ConnectError::Connection {
                    address: address(),
                    error: ConnectionError::Goaway {
                        code: Code::CALM,
                        text: "too many connections".into(),
                    },
                },
                "connection to tcp://host:1 ended before it was of use: peer closed the connection with code 70: too many connections",
            ),
            (
                ConnectError::Handshake {
                    address: address(),
                    error: HandshakeError::NotRpc {
                        offset: 0,
                        byte: b'H',
                        guess: Guess::Http,
                    },
                },
                "handshake with tcp://host:1 did not complete: peer speaks another protocol: byte 0 is 48, which looks like HTTP",
            ),
            (ConnectError::Runtime, "runtime of the channel has been shut down"),
            (
                ConnectError::Socket {
                    address: address(),
                    error: io::Error::other("reset"),
                },
                "socket to tcp://host:1 broke during the handshake: reset",
            ),
            (
                ConnectError::Timeout {
                    address: address(),
                    after: Duration::from_millis(1500),
                },
                "no connection to tcp://host:1 within 1.5s",
            ),
        ];
        for (error, text) in table {
            assert_eq!(chain(&error), text);
        }
    }

    #[test]
    fn every_loss_has_its_text() {
        let truncated = ConnectionError::Truncated {
            received: 3,
            expected: 16,
        };
        let table = [
            (
                Lost::Connection(truncated),
                "connection ended after 3 of 16 bytes of a frame",
            ),
            (Lost::PeerFinished, "server closed the connection"),
            (Lost::Runtime, "runtime of the channel was shut down"),
            (Lost::Socket(io::Error::other("reset")), "reset"),
        ];
        for (lost, text) in table {
            assert_eq!(lost.to_string(), text);
        }
    }

    #[test]
    fn only_another_build_is_incompatible() {
        let error = |error| ConnectError::Handshake {
            address: "unix:a".parse().unwrap(),
            error,
        };
        assert!(
            error(HandshakeError::Version {
                ours: (1, 1),
                theirs: (2, 3)
            })
            .is_incompatible()
        );
        assert!(error(HandshakeError::Feature { required: 1 << 16 }).is_incompatible());
        assert!(!error(HandshakeError::Timeout { received: 0 }).is_incompatible());
        assert!(!ConnectError::Runtime.is_incompatible());
    }
}
