//! [`BlockingSocket`]: one connected file descriptor, used by threads without a runtime.

use std::io::{self, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::net::{Shutdown, SocketAddr, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, SockAddr, SockRef, Type};

use crate::address::Address;
use crate::dial::{DialError, DialErrorKind, interleave, refuse_own_end, tcp_kind, unix_kind};
use crate::kernel_buffers::NOT_SENT;
use crate::receive_buffer::ReceiveBuffer;

/// One connected socket, TCP or Unix, whose reads wait in the kernel.
///
/// It is used through a shared reference: one thread may read while another writes. TCP sockets send without delay. Dropping it closes it.
#[derive(Debug)]
pub struct BlockingSocket {
    inner: Inner,
}

#[derive(Debug)]
enum Inner {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// Flags of `send` and `recv` on Linux, for which the standard library has no names.
const MSG_PEEK: i32 = 0x02;
const MSG_DONTWAIT: i32 = 0x40;
const MSG_NOSIGNAL: i32 = 0x4000;

impl BlockingSocket {
    /// Connects to `address`, as [`connect`](crate::connect) does, and blocks the thread until that has succeeded or failed.
    ///
    /// # Errors
    ///
    /// As [`connect`](crate::connect); [`DialErrorKind::TimedOut`] also when `timeout` is over, the look-up of a host name included.
    pub fn connect(address: &Address, timeout: Duration) -> Result<Self, DialError> {
        if let Err(error) = address.check() {
            let source = io::Error::new(io::ErrorKind::InvalidInput, error);
            return Err(DialError::new(address, DialErrorKind::InvalidAddress, 0, source));
        }
        match address {
            Address::Tcp { host, port } => connect_tcp(address, host, *port, timeout),
            Address::Unix(_) | Address::UnixAbstract(_) => connect_unix(address),
        }
    }

    /// Reads into `buffer` and returns how many bytes came; 0 is the end, if `buffer` has any length. Waits for the first of them.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) if none came within the read timeout; else the socket failed, or a signal came between.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match &self.inner {
            Inner::Tcp(stream) => (&mut &*stream).read(buffer),
            Inner::Unix(stream) => (&mut &*stream).read(buffer),
        }
    }

    /// Whether a read would find something without waiting: bytes, or the end.
    ///
    /// # Errors
    ///
    /// The socket failed.
    pub fn has_something_to_read(&self) -> io::Result<bool> {
        let mut byte = [MaybeUninit::uninit()];
        match self.as_ref().recv_with_flags(&mut byte, MSG_PEEK | MSG_DONTWAIT) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Writes from `buffers`, in order and in one system call, without waiting for room, and returns how many bytes were taken.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) if there is no room; else the socket failed.
    pub fn try_write_vectored(&self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        let flags = MSG_DONTWAIT | MSG_NOSIGNAL;
        match buffers {
            // Cheaper than a vector of one.
            [buffer] => self.as_ref().send_with_flags(buffer, flags),
            buffers => self.as_ref().send_vectored_with_flags(buffers, flags),
        }
    }

    /// Writes from `buffer`, and waits until it is taken or the write timeout is over. Returns how many bytes were taken.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) if there was no room in time; else the socket failed, or a signal came between.
    pub fn write(&self, buffer: &[u8]) -> io::Result<usize> {
        match &self.inner {
            Inner::Tcp(stream) => (&mut &*stream).write(buffer),
            Inner::Unix(stream) => (&mut &*stream).write(buffer),
        }
    }

    /// Sets how long a read waits; `None` and zero are for ever. The kernel counts in ticks of up to 10 ms, and never waits for less than it was told.
    ///
    /// # Errors
    ///
    /// The kernel refused.
    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.as_ref().set_read_timeout(timeout)
    }

    /// Sets how long a [`write`](Self::write) waits.
    ///
    /// # Errors
    ///
    /// The kernel refused.
    pub fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.as_ref().set_write_timeout(timeout)
    }

    /// Sets how many bytes the kernel keeps that were not read.
    ///
    /// # Errors
    ///
    /// The kernel refused.
    pub fn set_receive_buffer(&self, buffer: ReceiveBuffer) -> io::Result<()> {
        match &self.inner {
            Inner::Tcp(stream) => buffer.apply(&SockRef::from(stream), stream.peer_addr()?),
            Inner::Unix(_) => Ok(()),
        }
    }

    /// Ends the connection in both directions: a thread that waits for bytes finds the end.
    ///
    /// # Errors
    ///
    /// The socket is not connected any more.
    pub fn shutdown(&self) -> io::Result<()> {
        self.as_ref().shutdown(Shutdown::Both)
    }

    fn as_ref(&self) -> SockRef<'_> {
        match &self.inner {
            Inner::Tcp(stream) => SockRef::from(stream),
            Inner::Unix(stream) => SockRef::from(stream),
        }
    }

    fn of_tcp(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        // Not every kernel has it, and all works without.
        let _ = SockRef::from(&stream).set_tcp_notsent_lowat(NOT_SENT);
        Ok(Self {
            inner: Inner::Tcp(stream),
        })
    }
}

fn connect_tcp(
    address: &Address,
    host: &str,
    port: u16,
    timeout: Duration,
) -> Result<BlockingSocket, DialError> {
    let started = Instant::now();
    let unresolved = |source| DialError::new(address, DialErrorKind::Unresolved, 0, source);
    let timed_out = |tried| {
        let source = io::Error::new(io::ErrorKind::TimedOut, "the time for dialling is over");
        DialError::new(address, DialErrorKind::TimedOut, tried, source)
    };
    let Some(resolved) = resolve(host, port, timeout) else {
        return Err(timed_out(0));
    };
    let mut last = None;
    let mut tried = 0;
    for target in interleave(&resolved.map_err(unresolved)?) {
        let left = timeout.saturating_sub(started.elapsed());
        if left.is_zero() {
            return Err(timed_out(tried));
        }
        tried += 1;
        match connect_to(target, left) {
            Ok(socket) => return Ok(socket),
            Err(error) => last = Some(error),
        }
    }
    Err(match last {
        Some(error) => DialError::new(address, tcp_kind(&error), tried, error),
        None => unresolved(io::Error::new(io::ErrorKind::NotFound, "the name has no address")),
    })
}

/// The addresses of a host; nothing if the resolver does not answer in time. A name is looked up by a thread of its own, which cannot be stopped.
fn resolve(host: &str, port: u16, timeout: Duration) -> Option<io::Result<Vec<SocketAddr>>> {
    if let Ok(ip) = host.parse() {
        return Some(Ok(vec![SocketAddr::new(ip, port)]));
    }
    let host = host.to_owned();
    let (sender, receiver) = mpsc::sync_channel(1);
    let look_up = move || {
        let addresses = (host.as_str(), port).to_socket_addrs();
        // Nobody waits for it any more.
        let _ = sender.send(addresses.map(Iterator::collect));
    };
    match thread::Builder::new().name("rpc-resolve".into()).spawn(look_up) {
        Ok(_) => receiver.recv_timeout(timeout).ok(),
        Err(error) => Some(Err(error)),
    }
}

fn connect_to(target: SocketAddr, timeout: Duration) -> io::Result<BlockingSocket> {
    let stream = TcpStream::connect_timeout(&target, timeout)?;
    refuse_own_end(stream.local_addr()?, stream.peer_addr()?)?;
    BlockingSocket::of_tcp(stream)
}

fn connect_unix(address: &Address) -> Result<BlockingSocket, DialError> {
    let path = address.unix_path().unwrap_or_default();
    let connect = || {
        let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
        // A blocking one would wait for room in the listener's queue, for ever.
        socket.set_nonblocking(true)?;
        socket.connect(&SockAddr::unix(&path)?)?;
        socket.set_nonblocking(false)?;
        Ok(UnixStream::from(socket))
    };
    match connect() {
        Ok(stream) => Ok(BlockingSocket {
            inner: Inner::Unix(stream),
        }),
        Err(error) => Err(DialError::new(address, unix_kind(&error, &path), 1, error)),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn pair() -> (BlockingSocket, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("tcp://localhost:{}", listener.local_addr().unwrap().port());
        let socket = BlockingSocket::connect(&address.parse().unwrap(), 60 * SECOND).unwrap();
        (socket, listener.accept().unwrap().0)
    }

    #[test]
    fn bytes_pass_and_an_end_is_seen_before_it_is_read() {
        let (socket, mut peer) = pair();
        assert!(!socket.has_something_to_read().unwrap());
        assert_eq!(
            socket
                .try_write_vectored(&[IoSlice::new(b"he"), IoSlice::new(b"llo")])
                .unwrap(),
            5
        );
        let mut buffer = [0; 5];
        peer.read_exact(&mut buffer).unwrap();
        assert_eq!(&buffer, b"hello");
        drop(peer);
        assert_eq!(socket.read(&mut buffer).unwrap(), 0);
        assert!(socket.has_something_to_read().unwrap());
    }

    #[test]
    fn a_read_waits_no_longer_than_it_was_told() {
        let (socket, _peer) = pair();
        socket.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        let error = socket.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn a_full_socket_takes_nothing_and_does_not_wait() {
        let (socket, _peer) = pair();
        let block = [7; 64 << 10];
        let full = loop {
            match socket.try_write_vectored(&[IoSlice::new(&block)]) {
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn nobody_there_is_told_as_to_the_others() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("tcp://{}", listener.local_addr().unwrap());
        drop(listener);
        for (address, kind) in [
            (address.as_str(), DialErrorKind::Refused),
            ("unix:///nowhere/at/all", DialErrorKind::NoSuchSocket),
            ("unix-abstract:nobody-listens-here", DialErrorKind::Refused),
        ] {
            let error = BlockingSocket::connect(&address.parse().unwrap(), SECOND).unwrap_err();
            assert_eq!(error.kind(), kind, "{address}");
        }
    }
}
