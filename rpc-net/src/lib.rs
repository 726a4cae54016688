//! Addresses and sockets shared by server and client.
//!
//! - An [`Address`] says where a server is: `tcp://host:port`, `unix:///path` or `unix-abstract:name`.
//!   Whatever the kernel would truncate or misread is refused before any system call.
//! - A [`BoundListener`] owns an address: the port is taken, or the socket file exists. It belongs to no runtime
//!   and can be sent to the thread that will accept.
//! - A [`Listener`] is a bound listener registered with a tokio runtime. It yields sockets.
//! - A [`Socket`] is one connected file descriptor, TCP or Unix, used through a shared reference. It knows
//!   its [`Peer`]: an IP address, or the process at the other end of a Unix socket.
//! - [`connect`] dials an address and yields a socket as well.
//! - A [`BlockingSocket`] is a connected file descriptor for threads that have no runtime.
//!
//! ```text
//! Address ─ BoundListener::bind ─► BoundListener ─ into_tokio ─► Listener ─ poll_accept ─► Socket
//! Address ─ connect ───────────────────────────────────────────────────────────────────► Socket
//! ```
//!
//! Nothing here knows frames, time limits or retries: a limit on time is the caller's, and so is the decision
//! to try again. What an accept loop needs for that decision is [`classify_accept_error`] and
//! [`AcceptBackoff`].
//!
//! # Examples
//!
//! ```
//! use rpc_net::{Address, BindOptions, BoundListener, connect};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let address: Address = "tcp://127.0.0.1:0".parse()?;
//! let bound = BoundListener::bind(&address, &BindOptions::default())?;
//! let real = bound.local_address()?;
//! let listener = bound.into_tokio()?;
//!
//! let (client, server) = (connect(&real).await?, listener.accept().await?);
//! client.try_write(b"hello")?;
//! std::future::poll_fn(|cx| server.poll_read_ready(cx)).await?;
//! let mut buffer = bytes::BytesMut::with_capacity(16);
//! assert_eq!(server.try_read_buf(&mut buffer)?, 5);
//! # Ok(())
//! # }
//! ```
//!
//! # Platforms
//!
//! Linux. The lengths of socket names, the error numbers and the abstract namespace are those of Linux.

#[cfg(not(target_os = "linux"))]
compile_error!("rpc-net knows the socket names and error numbers of Linux only");

mod accept_error;
mod address;
mod bind_error;
mod blocking;
mod busy_poll;
mod company;
mod dial;
mod kernel_buffers;
mod listener;
mod receive_buffer;
mod socket;
mod socket_file;
mod turns;
mod unix_socket;

pub use accept_error::{AcceptAction, AcceptBackoff, classify_accept_error};
pub use address::{Address, AddressError, AddressErrorKind};
pub use bind_error::{BindError, BindErrorKind};
pub use blocking::BlockingSocket;
pub use busy_poll::BusyPoll;
pub use dial::{DialError, DialErrorKind, connect};
pub use kernel_buffers::BulkOnly;
pub use listener::{BindOptions, BoundListener, Listener};
pub use receive_buffer::ReceiveBuffer;
pub use socket::{Credentials, Peer, Socket};
pub use turns::{Turns, yield_to_others};
