//! [`BindError`]: an address that cannot be listened on, and why.

use std::error::Error;
use std::fmt;
use std::io;

use crate::address::Address;

/// An address that cannot be listened on. Nothing of it is left behind, and nothing that was there is
/// changed.
#[derive(Debug)]
pub struct BindError {
    address: Address,
    kind: BindErrorKind,
    source: Option<io::Error>,
}

impl BindError {
    pub(crate) fn new(address: &Address, fault: BindFault) -> Self {
        Self {
            address: address.clone(),
            kind: fault.kind,
            source: fault.source,
        }
    }

    /// Returns the address.
    #[must_use]
    pub const fn address(&self) -> &Address {
        &self.address
    }

    /// Returns why it cannot be listened on.
    #[must_use]
    pub const fn kind(&self) -> BindErrorKind {
        self.kind
    }
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "address {} {}", self.address, self.kind)
    }
}

impl Error for BindError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_ref().map(|source| source as _)
    }
}

/// Why an address cannot be listened on. Its text is the rest of a sentence that begins with the address.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum BindErrorKind {
    /// Another socket has it.
    AddressInUse,
    /// No network interface of this machine has the IP address.
    AddressNotLocal,
    /// The directory of the socket file does not exist.
    DirectoryMissing,
    /// A socket file is there that no server answers, but its directory belongs to somebody else.
    ForeignDirectory {
        /// The user id of the directory's owner.
        owner: u32,
        /// The effective user id of this process.
        user: u32,
    },
    /// A socket file is there that belongs to somebody else.
    ForeignSocket {
        /// The user id of the file's owner.
        owner: u32,
        /// The effective user id of this process.
        user: u32,
    },
    /// The address is one that no listener can have.
    InvalidAddress,
    /// The mode for the socket file has more than permission bits: most likely it was written in decimal.
    InvalidMode {
        /// The mode.
        mode: u32,
    },
    /// A mode was asked for, but the address is an abstract name, which has no file.
    ModeWithoutFile,
    /// A file, directory or symbolic link is there.
    NotASocket,
    /// Another reason, which the source tells.
    Other,
    /// A port below 1024, or a directory in which this process may not create files.
    PermissionDenied,
    /// A socket file is there, and it cannot be found out safely whether a server has it.
    StaleUnchecked,
    /// The host name has no address, or the resolver did not answer.
    Unresolved,
}

impl fmt::Display for BindErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddressInUse => f.write_str("is already in use"),
            Self::AddressNotLocal => f.write_str("is not an address of this machine"),
            Self::DirectoryMissing => f.write_str("is in a directory that does not exist"),
            Self::ForeignDirectory { owner, user } => write!(
                f,
                "is in use by a socket file in a directory of user {owner}, \
                 which user {user} does not take over"
            ),
            Self::ForeignSocket { owner, user } => write!(
                f,
                "is in use by a socket file of user {owner}, which user {user} does not take over"
            ),
            Self::InvalidAddress => f.write_str("is not valid"),
            Self::InvalidMode { mode } => {
                write!(
                    f,
                    "cannot have a socket file of mode {mode:#o}, which is above 0o777"
                )
            }
            Self::ModeWithoutFile => f.write_str("has no file that could have a mode"),
            Self::NotASocket => f.write_str("is the path of something that is not a socket"),
            Self::Other => f.write_str("cannot be listened on"),
            Self::PermissionDenied => f.write_str("is not permitted to this process"),
            Self::StaleUnchecked => {
                f.write_str("is in use by a socket file that could not be checked for a living server")
            }
            Self::Unresolved => f.write_str("has a host name without a known address"),
        }
    }
}

/// A [`BindError`] that does not know its address yet.
#[derive(Debug)]
pub(crate) struct BindFault {
    pub(crate) kind: BindErrorKind,
    pub(crate) source: Option<io::Error>,
}

impl BindFault {
    pub(crate) const fn with_source(kind: BindErrorKind, source: io::Error) -> Self {
        Self {
            kind,
            source: Some(source),
        }
    }
}

impl From<BindErrorKind> for BindFault {
    fn from(kind: BindErrorKind) -> Self {
        Self { kind, source: None }
    }
}

impl From<io::Error> for BindFault {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "of some forty kinds a few say more than the rest"
    )]
    fn from(source: io::Error) -> Self {
        let kind = match source.kind() {
            io::ErrorKind::AddrInUse => BindErrorKind::AddressInUse,
            io::ErrorKind::AddrNotAvailable => BindErrorKind::AddressNotLocal,
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => BindErrorKind::DirectoryMissing,
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                BindErrorKind::PermissionDenied
            }
            _ => BindErrorKind::Other,
        };
        Self::with_source(kind, source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_text() {
        let table = [
            (BindErrorKind::AddressInUse, "is already in use"),
            (
                BindErrorKind::AddressNotLocal,
                "is not an address of this machine",
            ),
            (
                BindErrorKind::DirectoryMissing,
                "is in a directory that does not exist",
            ),
            (
                BindErrorKind::ForeignDirectory { owner: 7, user: 8 },
                "is in use by a socket file in a directory of user 7, which user 8 does not take over",
            ),
            (
                BindErrorKind::ForeignSocket { owner: 7, user: 8 },
                "is in use by a socket file of user 7, which user 8 does not take over",
            ),
            (BindErrorKind::InvalidAddress, "is not valid"),
            (
                BindErrorKind::InvalidMode { mode: 660 },
                "cannot have a socket file of mode 0o1224, which is above 0o777",
            ),
            (
                BindErrorKind::NotASocket,
                "is the path of something that is not a socket",
            ),
            (BindErrorKind::Other, "cannot be listened on"),
            (
                BindErrorKind::PermissionDenied,
                "is not permitted to this process",
            ),
            (
                BindErrorKind::StaleUnchecked,
                "is in use by a socket file that could not be checked for a living server",
            ),
            (
                BindErrorKind::Unresolved,
                "has a host name without a known address",
            ),
        ];
        for (kind, text) in table {
            let error = BindError::new(&Address::Unix("/a".into()), kind.into());
            assert_eq!(error.to_string(), format!("address unix:///a {text}"));
        }
    }

    #[test]
    fn errors_of_the_system_have_a_reason_and_stay_the_source() {
        let table = [
            (1, BindErrorKind::PermissionDenied),
            (2, BindErrorKind::DirectoryMissing),
            (13, BindErrorKind::PermissionDenied),
            (20, BindErrorKind::DirectoryMissing),
            (24, BindErrorKind::Other),
            (30, BindErrorKind::PermissionDenied),
            (98, BindErrorKind::AddressInUse),
            (99, BindErrorKind::AddressNotLocal),
        ];
        for (number, kind) in table {
            let fault = BindFault::from(io::Error::from_raw_os_error(number));
            assert_eq!(fault.kind, kind, "{number}");
            let error = BindError::new(&Address::Unix("/a".into()), fault);
            let source = error.source().unwrap().downcast_ref::<io::Error>().unwrap();
            assert_eq!(source.raw_os_error(), Some(number));
        }
    }
}
