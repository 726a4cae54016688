//! [`KernelBuffers`]: how much of a connection the kernel holds, which depends on what travels on it.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;

use socket2::SockRef;

use crate::receive_buffer::{ReceiveBuffer, is_near};

/// In which directions nothing but long bodies has been under way for a while.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BulkOnly {
    /// From this side to the peer.
    pub sending: bool,
    /// From the peer to this side.
    pub receiving: bool,
}

/// The kernel's buffers of one connection between processes of one machine.
///
/// Nothing can overtake what the kernel holds, so it holds little where small calls may be waiting for it. Where there are none, more is better: both ends sleep and are woken less
/// often. Peers on other machines have the usual buffers only: there the network is the slower end, and what waits in front of it waits for long.
#[derive(Debug, Default)]
pub(crate) struct KernelBuffers {
    receive: ReceiveBuffer,
    bulk: BulkOnly,
    /// The send buffer that a Unix socket had before it was longer.
    usual_send_buffer: Option<usize>,
}

/// Bytes that the kernel takes of a TCP socket beyond those that are on their way. What it has taken nothing can overtake, and by itself it takes megabytes.
pub(crate) const NOT_SENT: u32 = 128 << 10;
/// Likewise, with nothing but long bodies under way. Half as much brings less.
const BULK_NOT_SENT: u32 = 1 << 20;
/// The receive buffer that goes with it, and its window: the kernel doubles what it is told.
const BULK_RECEIVE: usize = 1 << 20;
const BULK_WINDOW: libc::c_int = 2 << 20;
/// The send buffer of a Unix socket. Twice and four times as much are no faster.
const BULK_UNIX: usize = 512 << 10;

impl KernelBuffers {
    /// Takes note of the usual receive buffer, and sets it if `tcp` is there, for its socket and its peer.
    pub(crate) fn set_receive(
        &mut self,
        receive: ReceiveBuffer,
        tcp: Option<(&SockRef<'_>, SocketAddr)>,
    ) -> io::Result<()> {
        self.receive = receive;
        tcp.map_or(Ok(()), |(socket, peer)| receive.apply(socket, peer))
    }

    /// Whether something else is under way than before.
    #[inline]
    pub(crate) fn is_other(&self, bulk: BulkOnly) -> bool {
        self.bulk != bulk
    }

    /// Makes the buffers of a TCP socket as long as is good for what is under way.
    pub(crate) fn adapt_tcp(
        &mut self,
        bulk: BulkOnly,
        socket: &SockRef<'_>,
        peer: SocketAddr,
    ) -> io::Result<()> {
        let before = std::mem::replace(&mut self.bulk, bulk);
        if !is_near(socket, peer.ip())? {
            return Ok(());
        }
        if before.sending != bulk.sending {
            socket.set_tcp_notsent_lowat(if bulk.sending { BULK_NOT_SENT } else { NOT_SENT })?;
        }
        // It stays longer afterwards: when it became shorter, the next small call could wait a fifth of a second, as if what was on its way had been dropped and sent again.
        if bulk.receiving && !before.receiving && self.receive == ReceiveBuffer::ByDistance {
            socket.set_recv_buffer_size(BULK_RECEIVE)?;
            // Under load the window stays what it was with the shorter buffer, without that: bodies of 1 MiB pass a sixth slower.
            set_window_clamp(socket, BULK_WINDOW)?;
        }
        Ok(())
    }

    /// Makes the buffer of a Unix socket as long as is good for what is under way.
    pub(crate) fn adapt_unix(&mut self, bulk: BulkOnly, socket: &SockRef<'_>) -> io::Result<()> {
        let before = std::mem::replace(&mut self.bulk, bulk);
        if before.sending == bulk.sending {
            return Ok(());
        }
        if !bulk.sending {
            // The kernel doubles what it is told.
            let usual = self.usual_send_buffer.take();
            return usual.map_or(Ok(()), |usual| socket.set_send_buffer_size(usual / 2));
        }
        let usual = socket.send_buffer_size()?;
        if usual < 2 * BULK_UNIX {
            self.usual_send_buffer = Some(usual);
            socket.set_send_buffer_size(BULK_UNIX)?;
        }
        Ok(())
    }
}

/// Sets the longest window that the kernel grants the peer.
#[expect(unsafe_code, reason = "no crate has this option")]
fn set_window_clamp(socket: &SockRef<'_>, bytes: libc::c_int) -> io::Result<()> {
    const LEN: libc::socklen_t = 4;
    const { assert!(size_of::<libc::c_int>() == LEN as usize) };
    // SAFETY: the option's value is one int, and the kernel reads that one during the call; the descriptor is borrowed for as long.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_WINDOW_CLAMP,
            (&raw const bytes).cast(),
            LEN,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
