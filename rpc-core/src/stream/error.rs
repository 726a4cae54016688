//! Why an item could not be sent, and why a stream ended before its time.

use std::error::Error;
use std::fmt;

use crate::archive::ArchiveError;
use crate::code::Code;
use crate::encode::EncodeError;
use crate::failure::CallFailure;

/// Why an item was not sent. The peer does not get it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError {
    /// The item cannot be archived, or is too large. The channel goes on.
    Encode(EncodeError),
    /// The call has ended: the reason, unless its method returned.
    Ended(Option<CallFailure>),
    /// This channel was finished before.
    Finished,
    /// The other side reads no more of this channel. The call goes on.
    Stopped,
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Encode(error) => write!(f, "item cannot be sent: {error}"),
            Self::Ended(None) => f.write_str("call has ended: its method returned"),
            Self::Ended(Some(failure)) => write!(f, "call has ended: {failure}"),
            Self::Finished => f.write_str("channel was finished before"),
            Self::Stopped => f.write_str("receiver reads no more of this channel"),
        }
    }
}

impl Error for SendError {}

/// Why a stream ended other than by its sender's word. The items before it were delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StreamError {
    /// The sender gave up, or was dropped, without finishing: what has arrived is not all.
    Aborted {
        /// Its code, [`Code::CANCELLED`] unless it says otherwise.
        code: Code,
    },
    /// The call has failed, and the stream with it.
    Call(CallFailure),
    /// The next item is no valid archive of its type, or its frame is malformed.
    Invalid(ArchiveError),
    /// The method returned its own error, which the call has.
    MethodFailed,
}

impl fmt::Display for StreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Aborted { code } => write!(f, "sender ended the stream before its time: {code}"),
            Self::Call(failure) => failure.fmt(f),
            Self::Invalid(error) => write!(f, "item of the stream: {error}"),
            Self::MethodFailed => f.write_str("method returned an error"),
        }
    }
}

impl Error for StreamError {}
