//! ProtocolError: frames that are well-formed and not allowed now.

use std::error::Error;
use std::fmt;

use crate::header::Kind;
use crate::id::CallId;

/// Frames that are well-formed and not allowed in the state the connection is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProtocolError {
    /// P-31: a call on a busy slot.
    CallIdBusy {
        /// The slot.
        call: CallId,
    },
    /// P-20: a chunk, although one frame may be as long as a body.
    Chunked {
        /// Kind of the frame.
        kind: Kind,
        /// The call that it belongs to.
        call: CallId,
    },
    /// Descriptors, although no side offered them.
    DescriptorsNotOffered {
        /// The call that they came with.
        call: CallId,
    },
    /// P-51: a goaway that takes more calls than an earlier one.
    GoawayRaised {
        /// Number of calls taken.
        taken: u64,
        /// The number in the earlier goaway.
        before: u64,
    },
    /// P-40: metadata that does not fit into its body, or is not laid out as it has to be.
    MetadataMalformed {
        /// The call.
        call: CallId,
    },
    /// P-33: a frame for a channel that the call does not have.
    NoSuchChannel {
        /// Kind of the frame.
        kind: Kind,
        /// The call.
        call: CallId,
        /// The channel.
        channel: u16,
    },
    /// P-34: a final frame for a slot that is not busy.
    NotCalled {
        /// Kind of the frame.
        kind: Kind,
        /// The slot.
        call: CallId,
    },
    /// P-15: a kind that only this side sends.
    WrongDirection {
        /// Kind of the frame.
        kind: Kind,
    },
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CallIdBusy { call } => write!(f, "call id {call} is busy"),
            Self::Chunked { kind, call } => {
                write!(
                    f,
                    "{kind} frame of call {call} is chunked, although its body fits into one frame"
                )
            }
            Self::DescriptorsNotOffered { call } => {
                write!(
                    f,
                    "descriptors came with call {call}, although they were not offered"
                )
            }
            Self::GoawayRaised { taken, before } => {
                write!(
                    f,
                    "goaway takes {taken} calls, more than the {before} of an earlier one"
                )
            }
            Self::MetadataMalformed { call } => write!(f, "metadata of call {call} is malformed"),
            Self::NoSuchChannel { kind, call, channel } => {
                write!(
                    f,
                    "{kind} frame for channel {channel} of call {call}, which has no such channel"
                )
            }
            Self::NotCalled { kind, call } => write!(f, "{kind} frame for call id {call}, which is not busy"),
            Self::WrongDirection { kind } => write!(f, "{kind} frame from the side that must not send it"),
        }
    }
}

impl Error for ProtocolError {}
