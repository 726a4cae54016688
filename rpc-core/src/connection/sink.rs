//! CallSink: where the channels of one call hand over what is for the peer, when the call is on a connection.

use std::time::Instant;

use crate::code::Code;
use crate::connection::{ClientConnection, ServerConnection};
use crate::frame_buf::FrameBuf;
use crate::id::CallId;
use crate::metadata::Metadata;
use crate::stream::ChannelSink;

/// Bytes that are committed for a peer before items have to wait in their channels, so that they hold up neither memory nor the frames of other calls.
const MAX_COMMITTED: usize = 256 << 10;

/// One call of a connection, as [`CallChannels::flush`](crate::stream::CallChannels::flush) wants it.
#[derive(Debug)]
pub struct CallSink<'a, C> {
    connection: &'a mut C,
    call: CallId,
    now: Instant,
}

macro_rules! call_sink {
    ($($connection:ty),*) => {$(
        impl $connection {
            /// Where the channels of a call hand over what is for the peer.
            pub fn sink(&mut self, call: CallId, now: Instant) -> CallSink<'_, Self> {
                CallSink {
                    connection: self,
                    call,
                    now,
                }
            }

            /// Whether items may be sent: not while much is queued before them.
            pub fn takes_items(&self) -> bool {
                let queue = self.send_queue();
                // Beside chunks alone, which may be longer together, items have to come in between.
                queue.is_calm() || queue.committed_len() < MAX_COMMITTED
            }
        }

        impl ChannelSink for CallSink<'_, $connection> {
            fn is_full(&self) -> bool {
                !self.connection.takes_items()
            }

            fn item(&mut self, channel: u16, frame: &mut FrameBuf, packed: bool) {
                self.connection.send_item(self.call, channel, frame, packed);
            }

            fn end(&mut self, channel: u16, code: Code, metadata: &Metadata) {
                self.connection.end_channel(self.call, channel, code, metadata);
            }

            fn stop(&mut self, channel: u16) {
                self.connection.stop_channel(self.call, channel);
            }

            fn grant(&mut self, channel: u16, bytes: u32) -> u32 {
                let more = self.connection.widen(self.call, channel, self.now);
                self.connection.grant(self.call, channel, bytes.saturating_add(more));
                more
            }
        }
    )*};
}

call_sink!(ClientConnection, ServerConnection);
