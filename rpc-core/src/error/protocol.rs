//! ProtocolError: frames that are well-formed and not allowed now.

use std::error::Error;
use std::fmt;

use crate::header::Kind;
use crate::id::CallId;

/// Frames that are well-formed and not allowed in the state the connection is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProtocolError {
    /// P-20: bodies that are incomplete at a time add up to more than they may.
    BodiesTooLarge {
        /// The call whose body is one too many.
        call: CallId,
        /// What they add up to.
        total: u64,
        /// What they may.
        limit: u64,
    },
    /// P-20: a body that arrives in chunks is announced with a length that is not above its first frame's, or is above the limit.
    BodyLength {
        /// The call that it belongs to.
        call: CallId,
        /// The announced length.
        total: u32,
        /// The longest body that this side accepts.
        limit: u32,
    },
    /// P-31: a call on a busy slot.
    CallIdBusy {
        /// The slot.
        call: CallId,
    },
    /// P-54: more channels than a call may have.
    ChannelsTooMany {
        /// The call.
        call: CallId,
        /// How many it has.
        count: u16,
    },
    /// P-20: a chunk of a body that was not begun, or is longer than it was said to be.
    ChunkUnexpected {
        /// The call that it belongs to.
        call: CallId,
    },
    /// P-53: so much credit cannot be counted.
    CreditRaised {
        /// The call.
        call: CallId,
        /// The channel.
        channel: u16,
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
    /// P-20: a frame that has to wait for the rest of a body of the same call.
    Interleaved {
        /// Kind of the frame.
        kind: Kind,
        /// The call.
        call: CallId,
    },
    /// P-53: an item frame on a channel that was ended for want of credit before.
    ItemWithoutCredit {
        /// The call.
        call: CallId,
        /// The channel.
        channel: u16,
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
            Self::BodiesTooLarge { call, total, limit } => {
                write!(
                    f,
                    "incomplete bodies add up to {total} bytes with that of call {call}, more than {limit}"
                )
            }
            Self::BodyLength { call, total, limit } => {
                write!(
                    f,
                    "body of call {call} is announced with {total} bytes, which is not beyond its first frame or above {limit}"
                )
            }
            Self::CallIdBusy { call } => write!(f, "call id {call} is busy"),
            Self::ChannelsTooMany { call, count } => {
                write!(f, "call {call} has {count} channels in one direction")
            }
            Self::ChunkUnexpected { call } => {
                write!(
                    f,
                    "chunk for call {call}, of which no such part of a body is missing"
                )
            }
            Self::CreditRaised { call, channel } => {
                write!(
                    f,
                    "credit of channel {channel} of call {call} exceeds what can be counted"
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
            Self::Interleaved { kind, call } => {
                write!(
                    f,
                    "{kind} frame of call {call} inside of another body of that call"
                )
            }
            Self::ItemWithoutCredit { call, channel } => {
                write!(
                    f,
                    "item frame without credit on channel {channel} of call {call}, which has ended"
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
