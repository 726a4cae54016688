//! Dialling: from an [`Address`] to a connected [`Socket`].

use std::error::Error;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use tokio::net::{TcpStream, UnixStream, lookup_host};

use crate::address::Address;
use crate::socket::Socket;

/// Connects to `address`.
///
/// A host name stands for all of its addresses. They are tried one after the other in the order of the
/// system's resolver, except that IPv6 and IPv4 alternate, so that one broken family costs one attempt and
/// not all of them.
///
/// There is no limit on time: the kernel gives up on a silent host after minutes.
///
/// # Errors
///
/// The address is not valid, its host name has no address, or no address could be connected to. See
/// [`DialErrorKind`].
///
/// # Cancellation
///
/// Dropping the future closes the socket that was being connected. A look-up of a host name goes on in its
/// thread, without effect.
///
/// # Panics
///
/// Outside of a tokio runtime with I/O enabled.
pub async fn connect(address: &Address) -> Result<Socket, DialError> {
    if let Err(error) = address.check() {
        let source = io::Error::new(io::ErrorKind::InvalidInput, error);
        return Err(DialError::new(address, DialErrorKind::InvalidAddress, 0, source));
    }
    match address {
        Address::Tcp { host, port } => connect_tcp(address, host, *port).await,
        Address::Unix(_) | Address::UnixAbstract(_) => connect_unix(address).await,
    }
}

async fn connect_tcp(address: &Address, host: &str, port: u16) -> Result<Socket, DialError> {
    let unresolved = |source| DialError::new(address, DialErrorKind::Unresolved, 0, source);
    let resolved: Vec<_> = lookup_host((host, port)).await.map_err(unresolved)?.collect();
    connect_any(address, &resolved).await
}

/// Tries each of `targets` until one answers.
async fn connect_any(address: &Address, targets: &[SocketAddr]) -> Result<Socket, DialError> {
    let mut last = None;
    let mut tried = 0;
    for target in interleave(targets) {
        tried += 1;
        match connect_to(target).await {
            Ok(socket) => return Ok(socket),
            Err(error) => last = Some(error),
        }
    }
    match last {
        Some(error) => Err(DialError::new(address, tcp_kind(&error), tried, error)),
        None => {
            let source = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
            Err(DialError::new(address, DialErrorKind::Unresolved, 0, source))
        }
    }
}

async fn connect_to(target: SocketAddr) -> io::Result<Socket> {
    let stream = TcpStream::connect(target).await?;
    // Not always the target: the unspecified address leads to the loopback interface.
    let peer = stream.peer_addr()?;
    refuse_own_end(stream.local_addr()?, peer)?;
    Socket::from_tokio_tcp(stream, peer)
}

/// Refuses a TCP socket that is connected to itself.
///
/// Dialling a free port of this machine from the range of ephemeral ports succeeds when the kernel happens to
/// choose the same port as source. A client that waits for its server to return would sooner or later talk to
/// itself, and keep the server from its port.
pub(crate) fn refuse_own_end(local: SocketAddr, peer: SocketAddr) -> io::Result<()> {
    match local == peer {
        true => Err(io::Error::new(
            io::ErrorKind::ConnectionRefused,
            "the socket was connected to itself",
        )),
        false => Ok(()),
    }
}

async fn connect_unix(address: &Address) -> Result<Socket, DialError> {
    let path = address.unix_path().unwrap_or_default();
    let connected = UnixStream::connect(&path).await;
    let socket = connected.and_then(Socket::from_tokio_unix);
    socket.map_err(|error| DialError::new(address, unix_kind(&error, &path), 1, error))
}

/// Alternates between the two families, beginning with the family that comes first. Within a family the order
/// stays.
pub(crate) fn interleave(addresses: &[SocketAddr]) -> impl Iterator<Item = SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let mut preferred = addresses
        .iter()
        .copied()
        .filter(move |address| address.is_ipv6() == first_is_v6);
    let mut other = addresses
        .iter()
        .copied()
        .filter(move |address| address.is_ipv6() != first_is_v6);
    let mut turn = false;
    std::iter::from_fn(move || {
        turn = !turn;
        match turn {
            true => preferred.next().or_else(|| other.next()),
            false => other.next().or_else(|| preferred.next()),
        }
    })
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "of some forty kinds a few say more than the rest"
)]
pub(crate) fn tcp_kind(error: &io::Error) -> DialErrorKind {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => DialErrorKind::Refused,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => DialErrorKind::Unreachable,
        io::ErrorKind::PermissionDenied => DialErrorKind::PermissionDenied,
        io::ErrorKind::TimedOut => DialErrorKind::TimedOut,
        _ => DialErrorKind::Other,
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "of some forty kinds a few say more than the rest"
)]
pub(crate) fn unix_kind(error: &io::Error, path: &Path) -> DialErrorKind {
    if error.raw_os_error() == Some(EPROTOTYPE) {
        return DialErrorKind::NotASocket;
    }
    match error.kind() {
        // Linux refuses a connection to any file that is not a socket.
        io::ErrorKind::ConnectionRefused => match path.metadata() {
            Ok(metadata) if !metadata.file_type().is_socket() => DialErrorKind::NotASocket,
            Ok(_) | Err(_) => DialErrorKind::Refused,
        },
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => DialErrorKind::NoSuchSocket,
        io::ErrorKind::PermissionDenied => DialErrorKind::PermissionDenied,
        // A Unix socket does not wait for room in the listener's queue when it is non-blocking.
        io::ErrorKind::WouldBlock => DialErrorKind::QueueFull,
        _ => DialErrorKind::Other,
    }
}

/// A connection that was not made. Its source is the error of the last address that was tried.
#[derive(Debug)]
pub struct DialError {
    address: Address,
    kind: DialErrorKind,
    tried: usize,
    source: io::Error,
}

impl DialError {
    pub(crate) fn new(address: &Address, kind: DialErrorKind, tried: usize, source: io::Error) -> Self {
        Self {
            address: address.clone(),
            kind,
            tried,
            source,
        }
    }

    /// Returns the address that was dialled.
    #[must_use]
    pub const fn address(&self) -> &Address {
        &self.address
    }

    /// Returns why there is no connection, for the last address that was tried.
    #[must_use]
    pub const fn kind(&self) -> DialErrorKind {
        self.kind
    }

    /// Returns how many addresses were tried: of a host name all that it has, 0 if it has none.
    #[must_use]
    pub const fn tried(&self) -> usize {
        self.tried
    }
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no connection to {}", self.address)?;
        if self.tried > 1 {
            write!(f, " ({} addresses tried)", self.tried)?;
        }
        write!(f, ": {}", self.kind)
    }
}

impl Error for DialError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.source)
    }
}

/// Why there is no connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum DialErrorKind {
    /// The address is one that no server can have; nothing was tried.
    InvalidAddress,
    /// There is a file, but no stream socket.
    NotASocket,
    /// There is no socket file.
    NoSuchSocket,
    /// Another reason, which the source tells.
    Other,
    /// The file, its directory, or a firewall does not permit it.
    PermissionDenied,
    /// The server's queue of connections that wait to be accepted is full.
    QueueFull,
    /// The machine is there, or the socket file, but no server.
    Refused,
    /// The machine did not answer.
    TimedOut,
    /// There is no way to the machine.
    Unreachable,
    /// The host name has no address, or the resolver did not answer.
    Unresolved,
}

impl fmt::Display for DialErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InvalidAddress => "the address is not valid",
            Self::NotASocket => "what is there is not a stream socket",
            Self::NoSuchSocket => "no such socket file",
            Self::Other => "the system refused",
            Self::PermissionDenied => "permission denied",
            Self::QueueFull => "the server's queue of new connections is full",
            Self::Refused => "nothing listens there",
            Self::TimedOut => "the host did not answer",
            Self::Unreachable => "there is no route to the host",
            Self::Unresolved => "the host name has no known address",
        })
    }
}

/// The socket there is of another type. Linux, asm-generic; the standard library has no name for it.
const EPROTOTYPE: i32 = 91;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_alternate_and_keep_their_order() {
        let table: [(&[&str], &[&str]); 4] = [
            (&[], &[]),
            (&["10.0.0.1:1", "10.0.0.2:1"], &["10.0.0.1:1", "10.0.0.2:1"]),
            (
                &["[::1]:1", "[::2]:1", "[::3]:1", "10.0.0.1:1"],
                &["[::1]:1", "10.0.0.1:1", "[::2]:1", "[::3]:1"],
            ),
            (
                &["10.0.0.1:1", "10.0.0.2:1", "[::1]:1", "[::2]:1", "[::3]:1"],
                &["10.0.0.1:1", "[::1]:1", "10.0.0.2:1", "[::2]:1", "[::3]:1"],
            ),
        ];
        for (input, expected) in table {
            let input: Vec<SocketAddr> = input.iter().map(|text| text.parse().unwrap()).collect();
            let output: Vec<_> = interleave(&input).map(|address| address.to_string()).collect();
            assert_eq!(output, expected);
        }
    }

    #[tokio::test]
    async fn the_next_address_is_tried_when_one_refuses() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let living = listener.local_addr().unwrap();
        // The same port of another loopback address, on which nothing listens.
        let silent = SocketAddr::from(([127, 0, 0, 2], living.port()));
        let name = Address::Tcp {
            host: "name".into(),
            port: living.port(),
        };

        let socket = connect_any(&name, &[silent, living]).await.unwrap();
        assert_eq!(socket.peer().unwrap(), crate::Peer::Tcp(living));

        let error = connect_any(&name, &[silent, silent, silent]).await.unwrap_err();
        assert_eq!((error.kind(), error.tried()), (DialErrorKind::Refused, 3));
        let error = connect_any(&name, &[]).await.unwrap_err();
        assert_eq!((error.kind(), error.tried()), (DialErrorKind::Unresolved, 0));
    }

    #[test]
    fn refuses_a_socket_that_the_kernel_connected_to_itself() {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket
            .bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
            .unwrap();
        socket.connect(&socket.local_addr().unwrap()).unwrap();
        let stream = std::net::TcpStream::from(socket);
        let (local, peer) = (stream.local_addr().unwrap(), stream.peer_addr().unwrap());

        let error = refuse_own_end(local, peer).unwrap_err();
        assert_eq!(tcp_kind(&error), DialErrorKind::Refused);
        let other = SocketAddr::new(local.ip(), local.port() ^ 1);
        assert!(refuse_own_end(local, other).is_ok());
    }

    #[test]
    fn every_reason_has_its_text() {
        let error = |kind, tried| {
            let source = io::Error::from_raw_os_error(111);
            DialError::new(
                &Address::Tcp {
                    host: "host".into(),
                    port: 1,
                },
                kind,
                tried,
                source,
            )
        };
        let table = [
            (DialErrorKind::InvalidAddress, "the address is not valid"),
            (DialErrorKind::NotASocket, "what is there is not a stream socket"),
            (DialErrorKind::NoSuchSocket, "no such socket file"),
            (DialErrorKind::Other, "the system refused"),
            (DialErrorKind::PermissionDenied, "permission denied"),
            (
                DialErrorKind::QueueFull,
                "the server's queue of new connections is full",
            ),
            (DialErrorKind::Refused, "nothing listens there"),
            (DialErrorKind::TimedOut, "the host did not answer"),
            (DialErrorKind::Unreachable, "there is no route to the host"),
            (DialErrorKind::Unresolved, "the host name has no known address"),
        ];
        for (kind, text) in table {
            assert_eq!(
                error(kind, 1).to_string(),
                format!("no connection to tcp://host:1: {text}")
            );
        }
        assert_eq!(
            error(DialErrorKind::Refused, 2).to_string(),
            "no connection to tcp://host:1 (2 addresses tried): nothing listens there"
        );
    }

    #[test]
    fn errors_of_tcp_have_a_reason() {
        let table = [
            (13, DialErrorKind::PermissionDenied),
            (97, DialErrorKind::Other),
            (101, DialErrorKind::Unreachable),
            (110, DialErrorKind::TimedOut),
            (111, DialErrorKind::Refused),
            (113, DialErrorKind::Unreachable),
        ];
        for (number, kind) in table {
            assert_eq!(tcp_kind(&io::Error::from_raw_os_error(number)), kind, "{number}");
        }
    }
}
