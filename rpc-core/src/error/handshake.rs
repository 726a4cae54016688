//! HandshakeError: why two sides do not come to talk.

use std::error::Error;
use std::fmt;

use crate::code::Code;
use crate::format::ArchiveFormat;

/// What a stranger seems to speak, judged by its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Guess {
    /// An upper-case letter: a protocol in text, most often HTTP.
    Http,
    /// A TLS handshake record.
    Tls,
    /// Nothing known.
    Other,
}

impl Guess {
    pub(crate) const fn from_byte(offset: usize, byte: u8) -> Self {
        match byte {
            b'A'..=b'Z' if offset == 0 => Self::Http,
            0x16 if offset == 0 => Self::Tls,
            _ => Self::Other,
        }
    }
}

/// Why two sides do not come to talk. Most of these are honest: another version, another build, another protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HandshakeError {
    /// P-04: the peer requires features that this side does not have.
    Feature {
        /// The feature bits.
        required: u32,
    },
    /// P-04: the peer archives in another layout.
    Format {
        /// The layout of this side.
        ours: ArchiveFormat,
        /// The layout of the peer.
        theirs: ArchiveFormat,
    },
    /// P-05: a limit below the guaranteed one, or one that contradicts another.
    Limit {
        /// The field of the preface.
        field: &'static str,
        /// Its value.
        value: u32,
        /// The smallest value it may have.
        least: u32,
        /// The largest value it may have.
        most: u32,
    },
    /// P-02: the first bytes are those of another protocol.
    NotRpc {
        /// Offset of the first byte that is wrong.
        offset: usize,
        /// That byte.
        byte: u8,
        /// What it looks like.
        guess: Guess,
    },
    /// P-05: reserved bytes that are not zero.
    ReservedNotZero {
        /// Their value.
        value: u32,
    },
    /// P-07: the preface was not complete in time.
    Timeout {
        /// Bytes of it that had arrived.
        received: usize,
    },
    /// P-17: the connection ended inside the preface, or before it.
    Truncated {
        /// Bytes of it that had arrived.
        received: usize,
    },
    /// P-03: no version in common.
    Version {
        /// Oldest and newest version of this side.
        ours: (u8, u8),
        /// Oldest and newest version of the peer.
        theirs: (u8, u8),
    },
}

impl HandshakeError {
    /// The wire code of the error.
    pub const fn code(&self) -> Code {
        match self {
            Self::Feature { .. } => Code::FEATURE,
            Self::Format { .. } => Code::FORMAT,
            Self::Limit { .. }
            | Self::NotRpc { .. }
            | Self::ReservedNotZero { .. }
            | Self::Truncated { .. } => Code::PROTOCOL,
            Self::Timeout { .. } => Code::HANDSHAKE_TIMEOUT,
            Self::Version { .. } => Code::VERSION,
        }
    }
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Feature { required } => write!(f, "peer requires unknown features {required:08x}"),
            Self::Format { ours, theirs } => write!(f, "peer archives as {theirs}, this side as {ours}"),
            Self::Limit {
                field,
                value,
                least,
                most,
            } => {
                write!(
                    f,
                    "{field} in the preface is {value}, outside of {least} to {most}"
                )
            }
            Self::NotRpc { offset, byte, guess } => {
                write!(f, "peer speaks another protocol: byte {offset} is {byte:02x}")?;
                match guess {
                    Guess::Http => write!(f, ", which looks like HTTP"),
                    Guess::Tls => write!(f, ", which looks like TLS"),
                    Guess::Other => Ok(()),
                }
            }
            Self::ReservedNotZero { value } => {
                write!(f, "reserved bytes of the preface are {value:08x}, not zero")
            }
            Self::Timeout { received } => write!(f, "timeout after {received} of 32 bytes of the preface"),
            Self::Truncated { received } => {
                write!(f, "connection ended after {received} of 32 bytes of the preface")
            }
            Self::Version { ours, theirs } => write!(
                f,
                "peer speaks versions {} to {}, this side {} to {}",
                theirs.0, theirs.1, ours.0, ours.1
            ),
        }
    }
}

impl Error for HandshakeError {}
