//! [`ReceiveBuffer`]: how much of a TCP connection the kernel keeps that was not read yet.

use std::io;
use std::net::{IpAddr, SocketAddr};

use socket2::SockRef;

/// How many bytes of a TCP connection the kernel keeps that were not read yet. Unix sockets have no such buffer.
///
/// Nothing can overtake what the kernel holds, so with long bodies under way this is what small calls of the same connection wait for. On a long way it is also what limits
/// the throughput: no more than the buffer can be under way at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum ReceiveBuffer {
    /// [`NEAR`](Self::NEAR) bytes if the peer is on this machine, else as [`Kernel`](Self::Kernel).
    ///
    /// Between two processes of one machine the way is short and the reader the slower end, so whatever the buffer may hold is waited for. Across a network
    /// the way is the slower end, and the buffer is empty most of the time.
    ///
    /// Once nothing but long bodies has come from a peer on this machine, 128 chunks of them in a row, it is 1 MiB, as far as the kernel grants that: small calls
    /// are taken to be rare then. It stays so: bytes may be on their way that a shorter one has no room for.
    #[default]
    ByDistance,
    /// As many as the kernel finds useful, which may be megabytes.
    Kernel,
    /// About so many: the kernel takes twice as many, its own records included, and has limits of its own (`net.core.rmem_max`).
    Bytes(usize),
}

impl ReceiveBuffer {
    /// Bytes that are kept of a connection whose peer is on this machine. Less costs throughput of long bodies, more keeps small calls waiting without any gain.
    pub const NEAR: usize = 192 << 10;

    /// Tells the kernel, for a TCP socket that is connected to `peer`.
    pub(crate) fn apply(self, socket: &SockRef<'_>, peer: SocketAddr) -> io::Result<()> {
        match self {
            Self::ByDistance if is_near(socket, peer.ip())? => socket.set_recv_buffer_size(Self::NEAR),
            Self::ByDistance | Self::Kernel => Ok(()),
            Self::Bytes(bytes) => socket.set_recv_buffer_size(bytes),
        }
    }
}

/// Whether the peer is on this machine: its address is a loopback one, or the socket's own.
pub(crate) fn is_near(socket: &SockRef<'_>, peer: IpAddr) -> io::Result<bool> {
    if peer.to_canonical().is_loopback() {
        return Ok(true);
    }
    let own = socket.local_addr()?.as_socket().map(|own| own.ip());
    Ok(own == Some(peer))
}
