//! What can go wrong on a connection, sorted by fault, and the total mapping to wire codes.

use std::error::Error;
use std::fmt;

use crate::code::Code;

mod decode;
mod handshake;
mod protocol;
mod start;

pub use decode::DecodeError;
pub use handshake::{Guess, HandshakeError};
pub use protocol::ProtocolError;
pub use start::StartError;

/// Why a connection has ended, other than in order.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectionError {
    /// The peer costs more than it may.
    Calm {
        /// By what.
        reason: &'static str,
    },
    /// The peer sent bytes that are no frame.
    Decode(DecodeError),
    /// The peer ended the connection, and said why.
    Goaway {
        /// Its code.
        code: Code,
        /// Its text, for people.
        text: String,
    },
    /// The two sides did not come to talk.
    Handshake(HandshakeError),
    /// The peer broke a rule.
    Protocol(ProtocolError),
    /// P-17: the connection ended inside a frame, or between the chunks of a body.
    Truncated {
        /// Bytes of it that had arrived.
        received: usize,
        /// Length of the frame, or of its header if that is not complete, or of all incomplete bodies.
        expected: usize,
    },
}

impl ConnectionError {
    /// The wire code of the error.
    pub const fn code(&self) -> Code {
        match self {
            Self::Calm { .. } => Code::CALM,
            Self::Decode(error) => error.code(),
            Self::Goaway { code, .. } => *code,
            Self::Handshake(error) => error.code(),
            Self::Protocol(_) | Self::Truncated { .. } => Code::PROTOCOL,
        }
    }
}

impl fmt::Display for ConnectionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Calm { reason } => write!(f, "peer costs more than it may: {reason}"),
            Self::Decode(_) => f.write_str("peer sent a malformed frame"),
            Self::Goaway { code, text } if text.is_empty() => {
                write!(f, "peer closed the connection with code {}", code.number())
            }
            Self::Goaway { code, text } => {
                write!(
                    f,
                    "peer closed the connection with code {}: {text}",
                    code.number()
                )
            }
            Self::Handshake(_) => f.write_str("handshake did not complete"),
            Self::Protocol(_) => f.write_str("peer broke the protocol"),
            Self::Truncated { received, expected } => {
                write!(
                    f,
                    "connection ended after {received} of {expected} bytes of a frame"
                )
            }
        }
    }
}

impl Error for ConnectionError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Decode(error) => Some(error),
            Self::Handshake(error) => Some(error),
            Self::Protocol(error) => Some(error),
            Self::Calm { .. } | Self::Goaway { .. } | Self::Truncated { .. } => None,
        }
    }
}

impl From<&ConnectionError> for Code {
    fn from(error: &ConnectionError) -> Self {
        error.code()
    }
}

impl From<DecodeError> for ConnectionError {
    fn from(error: DecodeError) -> Self {
        Self::Decode(error)
    }
}

impl From<HandshakeError> for ConnectionError {
    fn from(error: HandshakeError) -> Self {
        Self::Handshake(error)
    }
}

impl From<ProtocolError> for ConnectionError {
    fn from(error: ProtocolError) -> Self {
        Self::Protocol(error)
    }
}

#[cfg(test)]
mod tests;
