//! [`Address`]: where a server is, as text and as data.

use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::net::{Ipv6Addr, SocketAddr};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Where a server is.
///
/// | text | meaning |
/// |---|---|
/// | `tcp://host:port` | a name, an IPv4 address, or an IPv6 address in brackets: `tcp://[::1]:7000` |
/// | `unix:///path` | a socket file, by absolute path |
/// | `unix:path` | a socket file, by a path that may be relative to the working directory |
/// | `unix-abstract:name` | a name in the abstract namespace of Linux, which has no file |
///
/// Paths and names are taken as they are, without escapes. Text that was parsed is printed in the form of
/// this table and parses to the same value again. (A path that is not UTF-8 can only be made by hand; it is
/// printed with replacement characters.)
///
/// The variants are public to be matched. A value made by hand is checked where it is used, as if by
/// [`check`](Self::check).
///
/// # Examples
///
/// A builder that takes text, an `Address` or a `SocketAddr`:
///
/// ```
/// use rpc_net::{Address, AddressError};
///
/// fn listen<A>(address: A) -> Result<Address, AddressError>
/// where
///     A: TryInto<Address>,
///     A::Error: Into<AddressError>,
/// {
///     address.try_into().map_err(Into::into)
/// }
///
/// let parsed = listen("tcp://127.0.0.1:7000")?;
/// assert_eq!(parsed, listen(std::net::SocketAddr::from(([127, 0, 0, 1], 7000)))?);
/// assert_eq!(parsed, listen(parsed.clone())?);
/// # Ok::<(), AddressError>(())
/// ```
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Address {
    /// A TCP port.
    Tcp {
        /// A host name or an IP address; IPv6 without brackets, a zone may follow after `%`.
        host: String,
        /// The port; for a listener, 0 lets the kernel choose.
        port: u16,
    },
    /// A Unix socket with a file.
    Unix(PathBuf),
    /// A Unix socket in the abstract namespace, by its name without the leading NUL.
    UnixAbstract(String),
}

impl Address {
    /// Makes the address of a TCP port; an IPv6 host goes without brackets.
    ///
    /// # Errors
    ///
    /// As [`check`](Self::check).
    pub fn tcp(host: impl Into<String>, port: u16) -> Result<Self, AddressError> {
        Self::Tcp {
            host: host.into(),
            port,
        }
        .checked()
    }

    /// Makes the address of a socket file.
    ///
    /// # Errors
    ///
    /// As [`check`](Self::check).
    pub fn unix(path: impl Into<PathBuf>) -> Result<Self, AddressError> {
        Self::Unix(path.into()).checked()
    }

    /// Makes the address of an abstract Unix socket.
    ///
    /// # Errors
    ///
    /// As [`check`](Self::check).
    pub fn unix_abstract(name: impl Into<String>) -> Result<Self, AddressError> {
        Self::UnixAbstract(name.into()).checked()
    }

    /// Checks what no listener and no peer can have: an empty host or one with characters that no host has,
    /// an empty path or name, one with a NUL byte, or one longer than 107 bytes.
    ///
    /// # Errors
    ///
    /// The first of these that is wrong.
    pub fn check(&self) -> Result<(), AddressError> {
        let fault = match self {
            Self::Tcp { host, port: _ } => host_fault(host),
            Self::Unix(path) => path_fault(path),
            Self::UnixAbstract(name) => name_fault(name),
        };
        match fault {
            Some(kind) => Err(AddressError {
                address: self.to_string(),
                kind,
            }),
            None => Ok(()),
        }
    }

    /// The path of a Unix address as the system calls of the standard library, socket2 and tokio take it: an
    /// abstract name has a NUL byte before it.
    pub(crate) fn unix_path(&self) -> Option<PathBuf> {
        match self {
            Self::Tcp { .. } => None,
            Self::Unix(path) => Some(path.clone()),
            Self::UnixAbstract(name) => {
                let bytes = [b"\0", name.as_bytes()].concat();
                Some(PathBuf::from(std::ffi::OsString::from_vec(bytes)))
            }
        }
    }

    fn checked(self) -> Result<Self, AddressError> {
        self.check()?;
        Ok(self)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "tcp://[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "tcp://{host}:{port}"),
            Self::Unix(path) if path.is_absolute() => write!(f, "unix://{}", path.display()),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::UnixAbstract(name) => write!(f, "unix-abstract:{name}"),
        }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        parse(text)
            .and_then(|address| address.check().map(|()| address).map_err(|error| error.kind))
            .map_err(|kind| AddressError {
                address: text.to_owned(),
                kind,
            })
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        let host = match address {
            SocketAddr::V6(v6) if v6.scope_id() != 0 => format!("{}%{}", v6.ip(), v6.scope_id()),
            SocketAddr::V4(_) | SocketAddr::V6(_) => address.ip().to_string(),
        };
        Self::Tcp {
            host,
            port: address.port(),
        }
    }
}

impl TryFrom<&str> for Address {
    type Error = AddressError;

    fn try_from(text: &str) -> Result<Self, AddressError> {
        text.parse()
    }
}

impl TryFrom<&String> for Address {
    type Error = AddressError;

    fn try_from(text: &String) -> Result<Self, AddressError> {
        text.parse()
    }
}

impl TryFrom<String> for Address {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, AddressError> {
        text.parse()
    }
}

/// An address that cannot be used, found before any system call.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AddressError {
    address: String,
    kind: AddressErrorKind,
}

impl AddressError {
    /// Returns the text that was refused.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Returns what is wrong with it.
    #[must_use]
    pub const fn kind(&self) -> AddressErrorKind {
        self.kind
    }
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "address \"{}\" {}", self.address.escape_debug(), self.kind)
    }
}

impl Error for AddressError {}

impl From<Infallible> for AddressError {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

/// What is wrong with an address. Its text is the rest of a sentence that begins with the address.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum AddressErrorKind {
    /// The host is empty.
    HostEmpty,
    /// The host is neither a name nor an IP address.
    HostInvalid,
    /// The abstract name is empty.
    NameEmpty,
    /// The abstract name is longer than the kernel can hold.
    NameTooLong {
        /// Length in bytes.
        length: usize,
        /// The longest that is possible, in bytes.
        limit: usize,
    },
    /// The path or name contains a NUL byte, at which the kernel or a tool would cut it.
    NulByte,
    /// The path is empty.
    PathEmpty,
    /// A relative path follows `unix://`.
    PathRelative,
    /// The path is longer than the kernel can hold.
    PathTooLong {
        /// Length in bytes.
        length: usize,
        /// The longest that is possible, in bytes.
        limit: usize,
    },
    /// The port is not a number.
    PortInvalid,
    /// There is no port.
    PortMissing,
    /// The port is above 65535.
    PortOutOfRange,
    /// The text begins with none of the known schemes.
    SchemeUnknown,
}

impl fmt::Display for AddressErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HostEmpty => f.write_str("has an empty host"),
            Self::HostInvalid => f.write_str(
                "has a host that is neither a name (ASCII letters, digits, '-', '_', '.') \
                 nor an IPv6 address in brackets",
            ),
            Self::NameEmpty => f.write_str("has an empty name"),
            Self::NameTooLong { length, limit } => {
                write!(f, "has a name of {length} bytes, above the limit of {limit}")
            }
            Self::NulByte => f.write_str("contains a NUL byte"),
            Self::PathEmpty => f.write_str("has an empty path"),
            Self::PathRelative => {
                f.write_str("has a relative path after unix://; a relative path is written unix:path")
            }
            Self::PathTooLong { length, limit } => {
                write!(f, "has a path of {length} bytes, above the limit of {limit}")
            }
            Self::PortInvalid => f.write_str("has a port that is not a number"),
            Self::PortMissing => f.write_str("has no port"),
            Self::PortOutOfRange => f.write_str("has a port above 65535"),
            Self::SchemeUnknown => {
                f.write_str("begins with none of tcp://, unix://, unix: and unix-abstract:")
            }
        }
    }
}

fn parse(text: &str) -> Result<Address, AddressErrorKind> {
    if let Some(authority) = text.strip_prefix("tcp://") {
        return parse_tcp(authority);
    }
    if let Some(path) = text.strip_prefix("unix://") {
        return match path.is_empty() || path.starts_with('/') {
            true => Ok(Address::Unix(path.into())),
            false => Err(AddressErrorKind::PathRelative),
        };
    }
    if let Some(path) = text.strip_prefix("unix:") {
        return Ok(Address::Unix(path.into()));
    }
    match text.strip_prefix("unix-abstract:") {
        Some(name) => Ok(Address::UnixAbstract(name.to_owned())),
        None => Err(AddressErrorKind::SchemeUnknown),
    }
}

fn parse_tcp(authority: &str) -> Result<Address, AddressErrorKind> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or(AddressErrorKind::HostInvalid)?;
            if !host.contains(':') {
                return Err(AddressErrorKind::HostInvalid);
            }
            (host, port.strip_prefix(':').ok_or(AddressErrorKind::PortMissing)?)
        }
        None => {
            let (host, port) = authority.rsplit_once(':').ok_or(AddressErrorKind::PortMissing)?;
            if host.contains(':') {
                return Err(AddressErrorKind::HostInvalid);
            }
            (host, port)
        }
    };
    let port = parse_port(port)?;
    Ok(Address::Tcp {
        host: host.to_owned(),
        port,
    })
}

fn parse_port(text: &str) -> Result<u16, AddressErrorKind> {
    if text.is_empty() {
        return Err(AddressErrorKind::PortMissing);
    }
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(AddressErrorKind::PortInvalid);
    }
    text.parse().map_err(|_| AddressErrorKind::PortOutOfRange)
}

fn host_fault(host: &str) -> Option<AddressErrorKind> {
    if host.is_empty() {
        return Some(AddressErrorKind::HostEmpty);
    }
    let valid = if host.contains(':') {
        let (ip, zone) = host.split_once('%').unwrap_or((host, "0"));
        ip.parse::<Ipv6Addr>().is_ok() && !zone.is_empty() && zone.bytes().all(is_host_byte)
    } else {
        host.bytes().all(is_host_byte)
    };
    (!valid).then_some(AddressErrorKind::HostInvalid)
}

const fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')
}

fn path_fault(path: &Path) -> Option<AddressErrorKind> {
    let bytes = path.as_os_str().as_bytes();
    if bytes.is_empty() {
        Some(AddressErrorKind::PathEmpty)
    } else if bytes.contains(&0) {
        Some(AddressErrorKind::NulByte)
    } else if bytes.len() > SUN_PATH_LIMIT {
        Some(AddressErrorKind::PathTooLong {
            length: bytes.len(),
            limit: SUN_PATH_LIMIT,
        })
    } else {
        None
    }
}

fn name_fault(name: &str) -> Option<AddressErrorKind> {
    if name.is_empty() {
        Some(AddressErrorKind::NameEmpty)
    } else if name.contains('\0') {
        Some(AddressErrorKind::NulByte)
    } else if name.len() > SUN_PATH_LIMIT {
        Some(AddressErrorKind::NameTooLong {
            length: name.len(),
            limit: SUN_PATH_LIMIT,
        })
    } else {
        None
    }
}

/// The `sun_path` of Linux holds 108 bytes: a path and the NUL that ends it, or the NUL that marks an
/// abstract name and the name. (The kernel takes a path of 108 bytes without its NUL as well, but then the
/// name that it reports back is one longer than the structure, and programs cut it.)
const SUN_PATH_LIMIT: usize = 107;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_every_form_and_prints_it_back() {
        let table = [
            ("tcp://127.0.0.1:7000", tcp("127.0.0.1", 7000)),
            ("tcp://localhost:0", tcp("localhost", 0)),
            ("tcp://a-b_c.example:65535", tcp("a-b_c.example", 65535)),
            ("tcp://[::1]:7000", tcp("::1", 7000)),
            ("tcp://[fe80::1%eth0]:1", tcp("fe80::1%eth0", 1)),
            ("tcp://[::ffff:10.0.0.1]:1", tcp("::ffff:10.0.0.1", 1)),
            ("unix:///run/app.sock", Address::Unix("/run/app.sock".into())),
            ("unix:////run", Address::Unix("//run".into())),
            ("unix:app.sock", Address::Unix("app.sock".into())),
            ("unix:./a b%20:c", Address::Unix("./a b%20:c".into())),
            ("unix-abstract:app", Address::UnixAbstract("app".into())),
            ("unix-abstract:/ä:1", Address::UnixAbstract("/ä:1".into())),
        ];
        for (text, address) in table {
            assert_eq!(text.parse(), Ok(address.clone()), "{text}");
            assert_eq!(address.to_string(), text);
        }
    }

    #[test]
    fn an_absolute_path_may_follow_the_short_scheme() {
        assert_eq!(
            "unix:/run/app.sock".parse(),
            Ok(Address::Unix("/run/app.sock".into()))
        );
    }

    #[test]
    fn refuses_what_is_no_address_and_says_why() {
        const HOST: &str = "has a host that is neither a name (ASCII letters, digits, '-', '_', '.') \
            nor an IPv6 address in brackets";
        const SCHEME: &str = "begins with none of tcp://, unix://, unix: and unix-abstract:";
        let table = [
            ("", SCHEME),
            ("localhost:7000", SCHEME),
            ("http://localhost:7000", SCHEME),
            ("TCP://localhost:7000", SCHEME),
            ("tcp:localhost:7000", SCHEME),
            ("tcp://", "has no port"),
            ("tcp://host", "has no port"),
            ("tcp://host:", "has no port"),
            ("tcp://[::1]", "has no port"),
            ("tcp://[::1]7000", "has no port"),
            ("tcp://:7000", "has an empty host"),
            ("tcp://host:70000", "has a port above 65535"),
            ("tcp://host:65536", "has a port above 65535"),
            ("tcp://host:99999999999999999999", "has a port above 65535"),
            ("tcp://host:-1", "has a port that is not a number"),
            ("tcp://host:+1", "has a port that is not a number"),
            ("tcp://host:7000/", "has a port that is not a number"),
            ("tcp://host: 1", "has a port that is not a number"),
            ("tcp://::1:7000", HOST),
            ("tcp://[]:1", HOST),
            ("tcp://[::1:7000", HOST),
            ("tcp://[127.0.0.1]:7000", HOST),
            ("tcp://[::g]:7000", HOST),
            ("tcp://[fe80::1%]:7000", HOST),
            ("tcp://a b:7000", HOST),
            ("tcp://user@host:7000", HOST),
            ("tcp://höst:7000", HOST),
            ("tcp://*:7000", HOST),
            ("unix:", "has an empty path"),
            ("unix://", "has an empty path"),
            (
                "unix://app.sock",
                "has a relative path after unix://; a relative path is written unix:path",
            ),
            ("unix-abstract:", "has an empty name"),
        ];
        for (text, reason) in table {
            let error = text.parse::<Address>().unwrap_err();
            assert_eq!(error.to_string(), format!("address \"{text}\" {reason}"));
            assert_eq!(error.address(), text);
        }
    }

    #[test]
    fn an_error_cannot_break_a_line_of_a_log() {
        let error = "unix:/a\n\0\"b".parse::<Address>().unwrap_err();
        assert_eq!(
            error.to_string(),
            r#"address "unix:/a\n\0\"b" contains a NUL byte"#
        );
    }

    #[test]
    fn a_path_has_at_most_107_bytes() {
        for (length, fits) in [(106, true), (107, true), (108, false), (109, false)] {
            for path in [format!("/{}", "p".repeat(length - 1)), "p".repeat(length)] {
                let expected = match fits {
                    true => Ok(()),
                    false => Err(AddressErrorKind::PathTooLong { length, limit: 107 }),
                };
                assert_eq!(kind_of(Address::unix(&path)), expected);
                assert_eq!(kind_of(format!("unix:{path}").parse()), expected);
            }
        }
        let text = format!("unix:///{}", "p".repeat(107));
        let error = text.parse::<Address>().unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("address \"{text}\" has a path of 108 bytes, above the limit of 107")
        );
    }

    #[test]
    fn an_abstract_name_has_at_most_107_bytes() {
        for (length, fits) in [(106, true), (107, true), (108, false), (109, false)] {
            let expected = match fits {
                true => Ok(()),
                false => Err(AddressErrorKind::NameTooLong { length, limit: 107 }),
            };
            assert_eq!(kind_of(Address::unix_abstract("n".repeat(length))), expected);
        }
        let text = format!("unix-abstract:{}", "n".repeat(109));
        let error = text.parse::<Address>().unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("address \"{text}\" has a name of 109 bytes, above the limit of 107")
        );
    }

    #[test]
    fn a_length_is_counted_in_bytes() {
        assert_eq!(
            kind_of(Address::unix_abstract("ä".repeat(54))),
            Err(AddressErrorKind::NameTooLong {
                length: 108,
                limit: 107
            })
        );
    }

    #[test]
    fn refuses_a_nul_byte_anywhere() {
        for text in [
            "unix:/a\0b",
            "unix:\0a",
            "unix:///a\0",
            "unix-abstract:a\0b",
            "unix-abstract:\0",
        ] {
            assert_eq!(kind_of(text.parse()), Err(AddressErrorKind::NulByte), "{text:?}");
        }
    }

    #[test]
    fn an_address_made_by_hand_is_checked_the_same_way() {
        let table = [
            (tcp("", 1), AddressErrorKind::HostEmpty),
            (tcp("a:b", 1), AddressErrorKind::HostInvalid),
            (tcp("[::1]", 1), AddressErrorKind::HostInvalid),
            (Address::Unix(PathBuf::new()), AddressErrorKind::PathEmpty),
            (Address::UnixAbstract(String::new()), AddressErrorKind::NameEmpty),
        ];
        for (address, kind) in table {
            assert_eq!(address.check().unwrap_err().kind(), kind);
        }
    }

    #[test]
    fn a_socket_address_becomes_an_address_that_parses_back() {
        for text in ["127.0.0.1:80", "[::1]:80", "[fe80::1%3]:80"] {
            let address = Address::from(text.parse::<SocketAddr>().unwrap());
            assert_eq!(address.to_string(), format!("tcp://{text}"));
            assert_eq!(address.to_string().parse(), Ok(address));
        }
    }

    #[test]
    fn converts_from_borrowed_and_owned_text() {
        let text = String::from("unix-abstract:app");
        let expected = Ok(Address::UnixAbstract("app".into()));
        assert_eq!(Address::try_from(text.as_str()), expected);
        assert_eq!(Address::try_from(&text), expected);
        assert_eq!(Address::try_from(text), expected);
    }

    fn tcp(host: &str, port: u16) -> Address {
        Address::Tcp {
            host: host.to_owned(),
            port,
        }
    }

    fn kind_of(result: Result<Address, AddressError>) -> Result<(), AddressErrorKind> {
        result.map(|_| ()).map_err(|error| error.kind())
    }
}
