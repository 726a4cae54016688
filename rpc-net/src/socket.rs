//! [`Socket`]: one connected file descriptor, TCP or Unix, used through a shared reference.

use std::fmt;
use std::io::{self, IoSlice, Read as _};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::task::{Context, Poll};

use bytes::BufMut;
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::{TcpStream, UnixStream};

use crate::company;
use crate::kernel_buffers::{BulkOnly, KernelBuffers, NOT_SENT};
use crate::receive_buffer::ReceiveBuffer;
use crate::unix_socket::{UnixSocket, receive};

/// One connected socket, TCP or Unix, registered with a tokio runtime.
///
/// Reading and writing take `&self` and never wait: a driver polls for readiness and then tries. One task at
/// a time can wait for each direction; the waker of the last poll is the one that is woken. Readiness may be
/// spurious, so a try may answer [`WouldBlock`](io::ErrorKind::WouldBlock) after it; that answer also makes
/// the next poll wait.
///
/// TCP sockets send without delay (`TCP_NODELAY`): a driver hands over whole batches. Every socket is closed
/// on `exec`. Dropping it closes it.
#[derive(Debug)]
pub struct Socket {
    inner: Inner,
    buffers: KernelBuffers,
    /// How many bytes one read takes at most, and one write but for its first buffer.
    share: usize,
}

#[derive(Debug)]
enum Inner {
    /// The peer's address is kept, since the kernel forgets it when the peer resets the connection.
    Tcp(TcpStream, SocketAddr),
    Unix(UnixSocket),
}

impl Socket {
    /// Takes over a connected TCP socket of the standard library.
    ///
    /// # Errors
    ///
    /// The socket is not connected, or cannot be registered with the runtime.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with I/O enabled.
    pub fn from_std_tcp(stream: std::net::TcpStream) -> io::Result<Self> {
        let peer = stream.peer_addr()?;
        stream.set_nonblocking(true)?;
        Self::from_tokio_tcp(TcpStream::from_std(stream)?, peer)
    }

    /// Takes over a connected Unix socket of the standard library.
    ///
    /// # Errors
    ///
    /// The socket cannot be registered with the runtime.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with I/O enabled.
    pub fn from_std_unix(stream: std::os::unix::net::UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Self::from_tokio_unix(UnixStream::from_std(stream)?)
    }

    /// Makes two Unix sockets that are connected to each other.
    ///
    /// # Errors
    ///
    /// There are no file descriptors left.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with I/O enabled.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (a, b) = UnixStream::pair()?;
        Ok((Self::from_tokio_unix(a)?, Self::from_tokio_unix(b)?))
    }

    pub(crate) fn from_tokio_tcp(stream: TcpStream, peer: SocketAddr) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        // Not every kernel has it, and all works without.
        let _ = SockRef::from(&stream).set_tcp_notsent_lowat(NOT_SENT);
        Ok(Self {
            inner: Inner::Tcp(stream, peer),
            buffers: KernelBuffers::default(),
            share: usize::MAX,
        })
    }

    pub(crate) fn from_tokio_unix(stream: UnixStream) -> io::Result<Self> {
        Ok(Self {
            inner: Inner::Unix(UnixSocket::new(stream)?),
            buffers: KernelBuffers::default(),
            share: usize::MAX,
        })
    }

    /// Takes the socket out of the runtime. It stays non-blocking.
    ///
    /// # Errors
    ///
    /// The kernel refused to deregister it; it is closed then.
    pub fn into_fd(self) -> io::Result<OwnedFd> {
        match self.inner {
            Inner::Tcp(stream, _) => stream.into_std().map(OwnedFd::from),
            Inner::Unix(socket) => Ok(OwnedFd::from(socket.into_std())),
        }
    }

    /// Waits until there is something to read, the peer has finished sending, or the socket failed.
    ///
    /// # Errors
    ///
    /// The runtime is shutting down.
    pub fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.inner {
            Inner::Tcp(stream, _) => stream.poll_read_ready(cx),
            Inner::Unix(stream) => stream.poll_read_ready(cx),
        }
    }

    /// Waits until there is room to write, or the socket failed.
    ///
    /// # Errors
    ///
    /// The runtime is shutting down.
    pub fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.inner {
            Inner::Tcp(stream, _) => stream.poll_write_ready(cx),
            Inner::Unix(stream) => stream.poll_write_ready(cx),
        }
    }

    /// Reads into `buffer` and returns how many bytes came; 0 is the end, if `buffer` has any length.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) if nothing is there; else the socket failed.
    pub fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match &self.inner {
            Inner::Tcp(stream, _) => stream.try_read(buffer),
            Inner::Unix(socket) => socket.try_read(|mut stream| stream.read(buffer)),
        }
    }

    /// Reads into the spare room of `buffer`, uninitialised as it is, and returns how many bytes came; 0 is
    /// the end.
    ///
    /// One read fills at most the room that is there, and less of a long body in company (see [`adapt_buffers`](Self::adapt_buffers)); a `BytesMut` without any grows by a little. So the
    /// caller reserves what it wants to read at most. (A buffer that cannot grow and is full reads 0 bytes,
    /// as at the end.)
    ///
    /// A read that does not fill what it may has taken all that was there: the next try answers without asking the kernel, until it says that there is more.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) if nothing is there; else the socket failed.
    pub fn try_read_buf<B: BufMut>(&self, buffer: &mut B) -> io::Result<usize> {
        let buffer = &mut buffer.limit(self.share);
        match &self.inner {
            Inner::Tcp(stream, _) => drain(
                |read| stream.try_io(Interest::READABLE, read),
                |buffer| stream.try_read_buf(buffer),
                buffer,
            ),
            Inner::Unix(socket) => drain(
                |read| socket.try_read(|_| read()),
                |buffer| receive(socket.std(), buffer),
                buffer,
            ),
        }
    }

    /// Does what [`try_read_buf`](Self::try_read_buf) does, but asks the kernel although the runtime has not said that there is something: what arrived since it looked last is
    /// found, too.
    ///
    /// # Errors
    ///
    /// See [`try_read_buf`](Self::try_read_buf).
    pub fn try_read_unannounced<B: BufMut>(&self, buffer: &mut B) -> io::Result<usize> {
        receive(self, buffer)
    }

    /// Writes from `buffer` and returns how many bytes were taken.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) if there is no room; else the socket failed.
    pub fn try_write(&self, buffer: &[u8]) -> io::Result<usize> {
        match &self.inner {
            Inner::Tcp(stream, _) => stream.try_write(buffer),
            Inner::Unix(stream) => stream.try_write(buffer),
        }
    }

    /// Writes from all of `buffers`, in order and in one system call, and returns how many bytes were taken.
    ///
    /// Linux takes at most 1024 slices in one call. Of a long body in company (see [`adapt_buffers`](Self::adapt_buffers)) fewer are passed on, at least one.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) if there is no room; else the socket failed.
    pub fn try_write_vectored(&self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        let buffers = first(buffers, self.share);
        if let [buffer] = buffers {
            // Cheaper than a vector of one.
            return self.try_write(buffer);
        }
        match &self.inner {
            Inner::Tcp(stream, _) => stream.try_write_vectored(buffers),
            Inner::Unix(stream) => stream.try_write_vectored(buffers),
        }
    }

    /// Sets how many bytes the kernel keeps that were not read.
    ///
    /// # Errors
    ///
    /// The kernel refused.
    pub fn set_receive_buffer(&mut self, buffer: ReceiveBuffer) -> io::Result<()> {
        let Self { inner, buffers, .. } = self;
        match inner {
            Inner::Tcp(stream, peer) => buffers.set_receive(buffer, Some((&SockRef::from(&*stream), *peer))),
            Inner::Unix(_) => buffers.set_receive(buffer, None),
        }
    }

    /// Takes note of what was under way in a turn, to be called in each. With nothing but long bodies, and a peer on this machine, the kernel's buffers are longer than usual,
    /// and the receive buffer stays so; but for one that was set to something else than [`ByDistance`](ReceiveBuffer::ByDistance). While other connections of this thread
    /// have small calls, long bodies are read and written in shorter steps.
    ///
    /// It asks the kernel for something only when something has changed.
    ///
    /// # Errors
    ///
    /// The kernel refused; all works without.
    #[inline]
    pub fn adapt_buffers(&mut self, bulk: BulkOnly) -> io::Result<()> {
        let is_in_company = company::turn(bulk.sending || bulk.receiving);
        self.share = if is_in_company { company::SHARE } else { usize::MAX };
        if !self.buffers.is_other(bulk) {
            return Ok(());
        }
        self.change_buffers(bulk)
    }

    #[cold]
    fn change_buffers(&mut self, bulk: BulkOnly) -> io::Result<()> {
        let Self { inner, buffers, .. } = self;
        match inner {
            Inner::Tcp(stream, peer) => buffers.adapt_tcp(bulk, &SockRef::from(&*stream), *peer),
            Inner::Unix(stream) => buffers.adapt_unix(bulk, &SockRef::from(stream.std())),
        }
    }

    /// Tells the peer that nothing more will be sent. What was written before still arrives, and reading goes
    /// on.
    ///
    /// # Errors
    ///
    /// The socket is not connected any more.
    pub fn shutdown_write(&self) -> io::Result<()> {
        SockRef::from(self).shutdown(Shutdown::Write)
    }

    /// Returns who is at the other end.
    ///
    /// # Errors
    ///
    /// Never for TCP. For Unix, the kernel does not know the peer.
    pub fn peer(&self) -> io::Result<Peer> {
        match &self.inner {
            Inner::Tcp(_, peer) => Ok(Peer::Tcp(*peer)),
            Inner::Unix(stream) => {
                let credentials = stream.peer_cred()?;
                let path = stream.std().peer_addr()?.as_pathname().map(Path::to_path_buf);
                let pid = credentials
                    .pid()
                    .and_then(|pid| u32::try_from(pid).ok())
                    .filter(|pid| *pid != 0);
                let credentials = Credentials {
                    uid: credentials.uid(),
                    gid: credentials.gid(),
                    pid,
                };
                Ok(Peer::Unix { path, credentials })
            }
        }
    }
}

/// As many of `buffers` as are not longer than `len` together, and at least one.
fn first<'a, 'b>(buffers: &'a [IoSlice<'b>], len: usize) -> &'a [IoSlice<'b>] {
    if len == usize::MAX {
        return buffers;
    }
    let ends = buffers.iter().scan(0_usize, |end, buffer| {
        *end = end.saturating_add(buffer.len());
        Some(*end)
    });
    let count = ends.take_while(|end| *end <= len).count();
    buffers.get(..count.max(1)).unwrap_or(buffers)
}

/// Reads once by `read`, within `try_io`; what the socket has less than asked for makes it wait for the next time that something arrives.
///
/// With edge-triggered readiness, a short read shows that the socket is empty, and what arrives later is announced anew: so tokio's own reading does it. `try_io` took note of
/// what was announced before the read, so an announcement that comes meanwhile is not lost.
fn drain<B: BufMut>(
    try_io: impl FnOnce(&mut dyn FnMut() -> io::Result<usize>) -> io::Result<usize>,
    mut read: impl FnMut(&mut B) -> io::Result<usize>,
    buffer: &mut B,
) -> io::Result<usize> {
    let room = buffer.chunk_mut().len();
    let mut taken = 0;
    let result = try_io(&mut || {
        taken = read(buffer)?;
        let is_empty = IS_EDGE_TRIGGERED && (1..room).contains(&taken);
        if is_empty {
            Err(io::ErrorKind::WouldBlock.into())
        } else {
            Ok(taken)
        }
    });
    if taken > 0 { Ok(taken) } else { result }
}

/// Whether readiness is announced when something arrives, and not for as long as it is there: epoll, as tokio uses it.
const IS_EDGE_TRIGGERED: bool = cfg!(any(target_os = "linux", target_os = "android"));

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.inner {
            Inner::Tcp(stream, _) => stream.as_fd(),
            Inner::Unix(stream) => stream.as_fd(),
        }
    }
}

/// Who is at the other end of a socket.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Peer {
    /// The address that the connection comes from, or was made to.
    Tcp(SocketAddr),
    /// A process of this machine.
    Unix {
        /// The file that the peer's socket is bound to, if it is bound to one: servers are, clients are not.
        path: Option<PathBuf>,
        /// Who the peer is, according to the kernel.
        credentials: Credentials,
    },
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix { path: _, credentials } => credentials.fmt(f),
        }
    }
}

/// The identity of a process, as the kernel recorded it when the socket was connected or began to listen.
///
/// A process that changed its user since, or passed the socket on, still has the old one here. A pid may be
/// in use by another process by the time it is looked at: authorise by uid and gid.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Credentials {
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
    /// Process id; none if the process is outside of this process's pid namespace.
    pub pid: Option<u32>,
}

impl fmt::Display for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "uid {} gid {}", self.uid, self.gid)?;
        match self.pid {
            Some(pid) => write!(f, " pid {pid}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::company::SHARE;

    #[test]
    fn a_socket_can_be_shared_between_threads() {
        fn assert_shareable<T: Send + Sync + fmt::Debug>() {}
        assert_shareable::<Socket>();
    }

    #[tokio::test]
    async fn what_the_runtime_has_not_looked_for_can_be_read_all_the_same() {
        let (ours, theirs) = Socket::pair().unwrap();
        theirs.try_write(b"last words").unwrap();
        let mut buffer = bytes::BytesMut::with_capacity(64);
        let error = ours.try_read_buf(&mut buffer).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        assert_eq!(ours.try_read_unannounced(&mut buffer).unwrap(), 10);
        assert_eq!(&buffer[..], b"last words");
        drop(theirs);
        assert_eq!(ours.try_read_unannounced(&mut buffer).unwrap(), 0);
    }

    #[test]
    fn a_peer_is_printed_for_a_log() {
        let mut credentials = Credentials {
            uid: 1000,
            gid: 100,
            pid: Some(7),
        };
        let path = Some(PathBuf::from("/x\ny"));
        assert_eq!(
            Peer::Unix {
                path: path.clone(),
                credentials
            }
            .to_string(),
            "uid 1000 gid 100 pid 7"
        );
        credentials.pid = None;
        assert_eq!(Peer::Unix { path, credentials }.to_string(), "uid 1000 gid 100");
        assert_eq!(Peer::Tcp("[::1]:80".parse().unwrap()).to_string(), "[::1]:80");
    }

    const BULK: BulkOnly = BulkOnly {
        sending: true,
        receiving: true,
    };

    /// Writes what is ready of a long body, and reads it.
    async fn pass(from: &Socket, to: &Socket) -> (usize, usize) {
        let chunk = [7; 48 << 10];
        let chunks = [IoSlice::new(&chunk); 6];
        let written = from.try_write_vectored(&chunks).unwrap();
        std::future::poll_fn(|cx| to.poll_read_ready(cx)).await.unwrap();
        let mut body = bytes::BytesMut::with_capacity(1 << 20);
        let first = to.try_read_buf(&mut body).unwrap();
        while body.len() < written {
            assert!(to.try_read_buf(&mut body).unwrap() > 0);
        }
        (written, first)
    }

    #[tokio::test]
    async fn in_company_of_small_calls_a_long_body_goes_in_shorter_steps() {
        let (mut from, mut to) = Socket::pair().unwrap();
        let (mut small, _peer) = Socket::pair().unwrap();
        let turn = |socket: &mut Socket, bulk| socket.adapt_buffers(bulk).unwrap();
        turn(&mut from, BULK);
        turn(&mut to, BULK);
        let (written, read) = pass(&from, &to).await;
        assert!(written > SHARE && read > SHARE, "{written}, {read}");
        turn(&mut small, BulkOnly::default());
        turn(&mut to, BULK);
        let (written, read) = pass(&from, &to).await;
        assert!(written > SHARE && read == SHARE, "{written}, {read}");
        turn(&mut from, BULK);
        let (written, _) = pass(&from, &to).await;
        assert_eq!(written, 2 * (48 << 10));
        for _ in 0..300 {
            turn(&mut from, BULK);
        }
        assert!(pass(&from, &to).await.0 > SHARE);
    }

    #[test]
    fn at_least_one_buffer_is_written() {
        let bytes = [0; 100];
        let buffers = [40, 100, 1].map(|len| IoSlice::new(&bytes[..len]));
        let count = |len| first(&buffers, len).len();
        assert_eq!(
            [0, 39, 40, 139, 140, 141, usize::MAX].map(count),
            [1, 1, 1, 1, 2, 3, 3]
        );
        assert_eq!(first(&[], 5).len(), 0);
    }
}
