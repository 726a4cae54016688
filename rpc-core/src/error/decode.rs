//! DecodeError: bytes that are no frame.

use std::error::Error;
use std::fmt;

use crate::code::Code;
use crate::header::{Flags, Kind};
use crate::preface::MAGIC;

/// Bytes that are no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    /// P-13, P-53: a failure without a code, or a grant of nothing.
    AuxZero {
        /// Kind of the frame.
        kind: Kind,
    },
    /// P-14: a body on a kind whose body is empty.
    BodyNotEmpty {
        /// Kind of the frame.
        kind: Kind,
        /// Length of the body.
        len: u32,
    },
    /// P-14: a body shorter than the fixed part of its kind.
    BodyTooShort {
        /// Kind of the frame.
        kind: Kind,
        /// Length of the body.
        len: u32,
        /// Length of the fixed part.
        least: u32,
    },
    /// P-13: a field that its kind does not use is not zero.
    FieldNotZero {
        /// Kind of the frame.
        kind: Kind,
        /// The field.
        field: &'static str,
        /// Its value.
        value: u32,
    },
    /// P-13: a flag that its kind does not have.
    FlagNotAllowed {
        /// Kind of the frame.
        kind: Kind,
        /// The flags that are set and not allowed.
        flags: Flags,
    },
    /// P-11: a body longer than this side accepts.
    FrameTooLarge {
        /// Length of the body.
        len: u32,
        /// The longest body that this side accepts.
        limit: u32,
    },
    /// P-13: padding that is not zero.
    PaddingNotZero {
        /// Kind of the frame.
        kind: Kind,
    },
    /// P-12: a kind that has to be understood and is not.
    UnknownKind {
        /// Number of the kind.
        kind: u8,
    },
}

impl DecodeError {
    /// The code of the goaway that tells the peer.
    pub const fn code(&self) -> Code {
        match self {
            Self::FrameTooLarge { .. } => Code::FRAME_TOO_LARGE,
            Self::AuxZero { .. }
            | Self::BodyNotEmpty { .. }
            | Self::BodyTooShort { .. }
            | Self::FieldNotZero { .. }
            | Self::FlagNotAllowed { .. }
            | Self::PaddingNotZero { .. }
            | Self::UnknownKind { .. } => Code::PROTOCOL,
        }
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AuxZero { kind } => write!(f, "aux of a {kind} frame is zero"),
            Self::BodyNotEmpty { kind, len } => write!(f, "{kind} frame has a body of {len} bytes"),
            Self::BodyTooShort { kind, len, least } => {
                write!(
                    f,
                    "body of a {kind} frame is {len} bytes, shorter than its fixed part of {least}"
                )
            }
            Self::FieldNotZero { kind, field, value } => {
                write!(f, "{field} of a {kind} frame is {value}, not zero")
            }
            Self::FlagNotAllowed { kind, flags } => {
                write!(
                    f,
                    "{kind} frame has flags {:02x} that its kind does not allow",
                    flags.0
                )
            }
            Self::FrameTooLarge { len, limit } => {
                write!(f, "frame body of {len} bytes exceeds the limit of {limit}")?;
                if len.to_be_bytes() == MAGIC {
                    write!(f, " (a second preface?)")
                } else if len.swap_bytes() <= *limit {
                    write!(f, " (it would be {} in the other byte order)", len.swap_bytes())
                } else {
                    Ok(())
                }
            }
            Self::PaddingNotZero { kind } => write!(f, "padding of a {kind} frame is not zero"),
            Self::UnknownKind { kind } => write!(f, "frame kind {kind} is unknown"),
        }
    }
}

impl Error for DecodeError {}
