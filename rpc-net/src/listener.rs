//! [`BoundListener`] owns an address, [`Listener`] accepts on it.

use std::fs::{self, File, Permissions};
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use socket2::{Domain, Protocol, SockAddr, SockRef, Type};

use crate::address::Address;
use crate::bind_error::{BindError, BindErrorKind, BindFault};
use crate::socket::Socket;
use crate::socket_file::{DirectoryLock, SocketFile, remove_stale};

/// How to listen.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BindOptions {
    /// How many connections may wait to be accepted. The kernel lowers it to its own limit
    /// (`net.core.somaxconn`). Default: 1024.
    pub backlog: u32,
    /// Lets several TCP listeners of this user share one port; the kernel spreads the connections
    /// (`SO_REUSEPORT`). Every one of them has to ask for it. It also hides that another process of this user
    /// has the port. Unix sockets cannot: see [`BoundListener::try_clone`]. Default: false.
    pub reuse_port: bool,
    /// Permissions of the socket file, like `0o660`: who may connect needs the right to write. Independent of
    /// the umask, and in force before the first connection can be made. Refused for an abstract name, which
    /// cannot be protected; nothing for TCP. Default: none, which leaves it to the umask.
    pub unix_mode: Option<u32>,
}

impl Default for BindOptions {
    fn default() -> Self {
        Self {
            backlog: 1024,
            reuse_port: false,
            unix_mode: None,
        }
    }
}

/// A listening socket that belongs to no runtime yet, and can be sent to the thread that will accept.
///
/// Connections are made from now on, and wait. Dropping it gives the address back; a socket file that it
/// created is removed, unless something else has taken its place.
#[derive(Debug)]
pub struct BoundListener {
    /// Before `socket`: the file has to go while the socket is open. Shared by clones; the last one removes
    /// it.
    file: Option<Arc<SocketFile>>,
    socket: StdSocket,
}

#[derive(Debug)]
enum StdSocket {
    Tcp(std::net::TcpListener),
    Unix(std::os::unix::net::UnixListener),
}

impl BoundListener {
    /// Listens on `address`.
    ///
    /// A **host name** is looked up, which may take time. Of its addresses the first that this machine has is
    /// used, and no other. An **IPv6** listener takes no IPv4 connections, also on `[::]`, whatever the
    /// system's default is. A TCP port whose last connections still linger is taken at once (`SO_REUSEADDR`).
    ///
    /// A **socket file** that is already there is replaced if it is stale: if it is a socket (and not a
    /// symbolic link to one), this user owns it, its directory belongs to this user or root, and nobody
    /// listens. The last is found out by connecting. Everything else is left alone. Of several servers that
    /// start at once on one path, one gets it; to this end the directory is locked (`flock`) for the moment,
    /// and waited for up to a second. Directories that others can write to are no place for sockets, and
    /// neither are file systems shared with other machines: a socket of another machine looks stale.
    ///
    /// # Errors
    ///
    /// See [`BindErrorKind`].
    pub fn bind(address: &Address, options: &BindOptions) -> Result<Self, BindError> {
        Self::bind_checked(address, options).map_err(|fault| BindError::new(address, fault))
    }

    fn bind_checked(address: &Address, options: &BindOptions) -> Result<Self, BindFault> {
        if let Err(error) = address.check() {
            let source = io::Error::new(io::ErrorKind::InvalidInput, error);
            return Err(BindFault::with_source(BindErrorKind::InvalidAddress, source));
        }
        match address {
            Address::Tcp { host, port } => bind_host(host, *port, options),
            Address::Unix(path) => bind_file(path, options),
            Address::UnixAbstract(_) => bind_abstract(address, options),
        }
    }

    /// Takes over a listening socket that somebody else bound, for instance a supervisor that passed it on.
    /// Its file is never removed.
    ///
    /// # Errors
    ///
    /// The descriptor is no listening stream socket of TCP or Unix.
    pub fn from_fd(fd: OwnedFd) -> io::Result<Self> {
        let socket = SockRef::from(&fd);
        let domain = socket.domain()?;
        if !socket.is_listener()? || socket.r#type()? != Type::STREAM {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not a listening stream socket",
            ));
        }
        socket.set_nonblocking(true)?;
        socket.set_cloexec(true)?;
        let socket = match domain {
            Domain::IPV4 | Domain::IPV6 => StdSocket::Tcp(fd.into()),
            Domain::UNIX => StdSocket::Unix(fd.into()),
            _ => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "neither a TCP nor a Unix socket",
                ));
            }
        };
        Ok(Self { file: None, socket })
    }

    /// Makes another handle to the same socket and the same queue of connections, for another thread. A
    /// socket file is removed with the last handle.
    ///
    /// # Errors
    ///
    /// There are no file descriptors left.
    pub fn try_clone(&self) -> io::Result<Self> {
        let socket = match &self.socket {
            StdSocket::Tcp(listener) => StdSocket::Tcp(listener.try_clone()?),
            StdSocket::Unix(listener) => StdSocket::Unix(listener.try_clone()?),
        };
        Ok(Self {
            file: self.file.clone(),
            socket,
        })
    }

    /// Returns where clients connect to: with the port that the kernel chose, and with the path of a socket
    /// file as it was given.
    ///
    /// # Errors
    ///
    /// Only for a socket that was passed on: it has no name, or an abstract one that is not UTF-8.
    pub fn local_address(&self) -> io::Result<Address> {
        match &self.socket {
            StdSocket::Tcp(listener) => Ok(listener.local_addr()?.into()),
            StdSocket::Unix(listener) => unix_address(listener),
        }
    }

    /// Registers the socket with the current runtime.
    ///
    /// # Errors
    ///
    /// The runtime refused. The address is given back.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with I/O enabled.
    pub fn into_tokio(self) -> io::Result<Listener> {
        let Self { file, socket } = self;
        let socket = match socket {
            StdSocket::Tcp(listener) => TokioSocket::Tcp(tokio::net::TcpListener::from_std(listener)?),
            StdSocket::Unix(listener) => TokioSocket::Unix(tokio::net::UnixListener::from_std(listener)?),
        };
        Ok(Listener { file, socket })
    }
}

impl AsFd for BoundListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.socket {
            StdSocket::Tcp(listener) => listener.as_fd(),
            StdSocket::Unix(listener) => listener.as_fd(),
        }
    }
}

/// A listening socket registered with a tokio runtime.
///
/// Dropping it is as dropping the [`BoundListener`] that it was.
#[derive(Debug)]
pub struct Listener {
    /// Before `socket`, as in [`BoundListener`]. Held for its drop.
    #[expect(dead_code, reason = "dropping it removes the file")]
    file: Option<Arc<SocketFile>>,
    socket: TokioSocket,
}

#[derive(Debug)]
enum TokioSocket {
    Tcp(tokio::net::TcpListener),
    Unix(tokio::net::UnixListener),
}

impl Listener {
    /// Accepts the next connection. One task at a time can wait.
    ///
    /// # Errors
    ///
    /// Many, and none of them is a reason to stop: see
    /// [`classify_accept_error`](crate::classify_accept_error).
    pub fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<Socket>> {
        match &self.socket {
            TokioSocket::Tcp(listener) => {
                let (stream, peer) = ready!(listener.poll_accept(cx))?;
                Poll::Ready(Socket::from_tokio_tcp(stream, peer))
            }
            TokioSocket::Unix(listener) => {
                let (stream, _) = ready!(listener.poll_accept(cx))?;
                Poll::Ready(Socket::from_tokio_unix(stream))
            }
        }
    }

    /// Accepts the next connection.
    ///
    /// # Errors
    ///
    /// As [`poll_accept`](Self::poll_accept).
    ///
    /// # Cancellation
    ///
    /// Dropping the future loses no connection.
    pub async fn accept(&self) -> io::Result<Socket> {
        std::future::poll_fn(|cx| self.poll_accept(cx)).await
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.socket {
            TokioSocket::Tcp(listener) => listener.as_fd(),
            TokioSocket::Unix(listener) => listener.as_fd(),
        }
    }
}

fn bind_host(host: &str, port: u16, options: &BindOptions) -> Result<BoundListener, BindFault> {
    let unresolved = |error| BindFault::with_source(BindErrorKind::Unresolved, error);
    let mut last = None;
    for address in (host, port).to_socket_addrs().map_err(unresolved)? {
        match bind_ip(address, options) {
            Ok(listener) => {
                return Ok(BoundListener {
                    file: None,
                    socket: StdSocket::Tcp(listener),
                });
            }
            Err(error) if is_not_of_this_machine(&error) => last = Some(error),
            // Another address of the same name would do, but clients try this one first and would find who
            // has it.
            Err(error) => return Err(error.into()),
        }
    }
    match last {
        Some(error) => Err(BindFault::with_source(BindErrorKind::AddressNotLocal, error)),
        None => Err(BindErrorKind::Unresolved.into()),
    }
}

fn bind_ip(address: SocketAddr, options: &BindOptions) -> io::Result<std::net::TcpListener> {
    let socket = new_socket(Domain::for_address(address))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(options.reuse_port)?;
    socket.bind(&address.into())?;
    listen(&socket, options)?;
    Ok(socket.into())
}

fn is_not_of_this_machine(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(EAFNOSUPPORT)
}

fn bind_file(path: &Path, options: &BindOptions) -> Result<BoundListener, BindFault> {
    if let Some(mode) = options.unix_mode.filter(|mode| *mode > 0o777) {
        return Err(BindErrorKind::InvalidMode { mode }.into());
    }
    let socket = new_socket(Domain::UNIX)?;
    let address = SockAddr::unix(path)?;
    // Without the lock (the directory may be unreadable) binding is still possible, only taking over is not.
    let lock = DirectoryLock::acquire(path);
    match socket.bind(&address) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            remove_stale(path, effective_user(&socket)?, &lock)?;
            socket.bind(&address)?;
        }
        result => result?,
    }
    // From here on an error removes the file again; it must not outlive the lock unless the socket listens.
    let file = SocketFile::record(path)?;
    if let Some(mode) = options.unix_mode {
        fs::set_permissions(path, Permissions::from_mode(mode))?;
    }
    listen(&socket, options)?;
    Ok(BoundListener {
        file: Some(Arc::new(file)),
        socket: StdSocket::Unix(socket.into()),
    })
}

fn bind_abstract(address: &Address, options: &BindOptions) -> Result<BoundListener, BindFault> {
    // Everybody on this machine can connect to an abstract name. Whoever asks for a mode must not believe
    // otherwise.
    if options.unix_mode.is_some() {
        return Err(BindErrorKind::ModeWithoutFile.into());
    }
    let path = address.unix_path().unwrap_or_default();
    let socket = new_socket(Domain::UNIX)?;
    socket.bind(&SockAddr::unix(path)?)?;
    listen(&socket, options)?;
    Ok(BoundListener {
        file: None,
        socket: StdSocket::Unix(socket.into()),
    })
}

/// Returns the user that this process creates files as, which is the owner that the kernel gave to a socket
/// that was just made.
fn effective_user(socket: &socket2::Socket) -> io::Result<u32> {
    let descriptor = OwnedFd::from(socket.try_clone()?);
    Ok(File::from(descriptor).metadata()?.uid())
}

fn unix_address(listener: &std::os::unix::net::UnixListener) -> io::Result<Address> {
    let name = SockRef::from(listener).local_addr()?;
    if let Some(path) = name.as_pathname() {
        return Ok(Address::Unix(path.to_path_buf()));
    }
    let name = name
        .as_abstract_namespace()
        .and_then(|name| std::str::from_utf8(name).ok());
    match name {
        Some(name) => Ok(Address::UnixAbstract(name.to_owned())),
        None => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the socket's name is none that can be written",
        )),
    }
}

/// Makes a stream socket that is non-blocking and closed on `exec`.
fn new_socket(domain: Domain) -> io::Result<socket2::Socket> {
    let protocol = (domain != Domain::UNIX).then_some(Protocol::TCP);
    let socket = socket2::Socket::new(domain, Type::STREAM, protocol)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn listen(socket: &socket2::Socket, options: &BindOptions) -> io::Result<()> {
    socket.listen(i32::try_from(options.backlog).unwrap_or(i32::MAX))
}

/// The machine has no IPv6, or no IPv4. Linux, asm-generic; the standard library has no name for it.
const EAFNOSUPPORT: i32 = 97;
