//! The connection: the protocol's state for one socket, without the socket.
//!
//! [`ServerConnection`] and [`ClientConnection`] are driven alike. Whoever owns the socket calls, in this order and as often as it wants:
//!
//! 1. **Bytes in.** Read into [`recv_buffer`](ClientConnection::recv_buffer) while [`wants_read`](ClientConnection::wants_read); at the end of the
//!    peer's bytes, [`handle_eof`](ClientConnection::handle_eof).
//! 2. **Time.** When [`deadline`](ClientConnection::deadline) has come, [`handle_timeout`](ClientConnection::handle_timeout).
//! 3. **Events out.** After both, [`poll_event`](ClientConnection::poll_event) until it returns `None`. An error is the last event.
//! 4. **Commands**, at any time: start, cancel, reply, fail, goaway.
//! 5. **Bytes out.** While the queue is not empty, write [`io_slices`](ClientConnection::io_slices) and tell
//!    [`advance`](ClientConnection::advance).
//!
//! Once [`is_finished`](ClientConnection::is_finished), the socket can be closed: nothing is owed to anyone. After an error of `poll_event`, what is
//! queued (the goaway that tells the peer) is still to be written, then the socket is closed.
//!
//! In steady state a unary call allocates nothing here: tables and queues keep their memory, frames are counted slices of the receive memory.

mod body;
mod channels;
mod client;
mod deadlines;
mod event;
pub(crate) mod link;
mod server;
mod sink;

pub use body::split_metadata;
pub(crate) use body::write_metadata;
pub use client::{ClientConnection, NewCall};
pub use event::{ChannelEvent, ChannelSignal, ClientEvent, Sent, ServerEvent};
pub use server::{LIGHT, Pressure, ServerConnection};
pub use sink::CallSink;

/// The methods that both roles delegate to their link, so that a driver can be written once.
macro_rules! drive_methods {
    () => {
        /// Room for the next read. Append what was read, at most as much as is offered; see [`Inbox::spare`](crate::reassembly::Inbox::spare).
        pub fn recv_buffer(&mut self) -> bytes::buf::Limit<&mut bytes::BytesMut> {
            self.link.recv.spare()
        }

        /// Takes note that the peer will send nothing more. What has arrived is still to be polled.
        pub fn handle_eof(&mut self) {
            self.link.handle_eof();
        }

        /// What waits to be written.
        pub fn send_queue(&self) -> &crate::send_queue::SendQueue {
            &self.link.send
        }

        /// Whether nothing but long bodies has been sent for so long that small frames are rare.
        pub fn sends_bulk_only(&self) -> bool {
            self.link.send.is_bulk_only()
        }

        /// Whether nothing but long bodies has arrived for so long that small frames are rare.
        pub fn receives_bulk_only(&self) -> bool {
            self.link.recv.is_bulk_only()
        }

        /// Fills `slices` for one vectored write; see [`SendQueue::io_slices`](crate::send_queue::SendQueue::io_slices).
        pub fn io_slices<'a>(&'a self, slices: &mut [std::io::IoSlice<'a>]) -> usize {
            self.link.send.io_slices(slices)
        }

        /// Asks whether the peer is there. Its answer is an event. One question at a time: a second one replaces the first.
        pub fn ping(&mut self, number: u32) {
            self.link.ping(number);
        }

        /// What the peer announced, once its preface has arrived.
        pub fn peer_preface(&self) -> Option<&crate::preface::Preface> {
            self.link.peer()
        }

        /// Whether the connection is over but for what is queued: no event follows, commands do nothing.
        pub fn is_closing(&self) -> bool {
            self.link.is_closed()
        }

        /// Bytes of frames that were copied inside of the connection since the start: small ones into one write, and the beginnings of frames that did not
        /// fit into the rest of a receive segment.
        pub fn copied_bytes(&self) -> u64 {
            self.link.recv.copied_bytes() + self.link.send.copied_bytes()
        }

        /// Lends receive memory in which nothing is to other connections of this thread. For an owner that is about to wait for more bytes.
        pub fn rest(&mut self, now: std::time::Instant) {
            self.link.recv.rest(now);
        }

        /// Gives back memory that holds nothing. For connections that have been idle for a while.
        pub fn release_memory(&mut self) {
            self.link.recv.release();
            self.link.send.release();
        }
    };
}
use drive_methods;
