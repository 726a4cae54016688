//! What the tests of the connection share: a pair of connections, and a scripted peer for one.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "every test program uses another part of what is public here"
)]

pub mod host;
pub mod pair;
pub mod script;

use std::io::IoSlice;
use std::time::Instant;

use bytes::BufMut;
use rpc_core::connection::{ClientConnection, ServerConnection};
use rpc_core::error::ConnectionError;
use rpc_core::{FrameBuf, Metadata};

/// An instant to count from. Tests compare instants with it and never with the clock.
#[expect(clippy::disallowed_methods, reason = "there is no other way to an instant")]
pub fn start() -> Instant {
    Instant::now()
}

/// A frame whose body is that.
pub fn frame(body: &[u8]) -> FrameBuf {
    let mut frame = FrameBuf::new();
    frame.extend(body);
    frame
}

/// A frame with space for the prelude and then these arguments.
pub fn call_frame(arguments: &[u8]) -> FrameBuf {
    let mut frame = frame(&[0; 16]);
    frame.extend(arguments);
    frame
}

/// Bytes from hexadecimal digits; white space is free.
pub fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .chars()
        .filter(|c| !c.is_whitespace())
        .map(|c| u8::try_from(c.to_digit(16).unwrap()).unwrap())
        .collect();
    digits
        .chunks_exact(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}

/// Either role, as a driver sees it, with events as text.
pub trait Endpoint {
    /// Appends bytes of the peer, as much as fits; returns how much.
    fn receive(&mut self, bytes: &[u8]) -> usize;
    fn end_input(&mut self);
    fn poll(&mut self, now: Instant) -> Result<Option<String>, ConnectionError>;
    fn expire(&mut self, now: Instant);
    /// Takes at most `limit` bytes of what waits to be written.
    fn transmit(&mut self, limit: usize) -> Vec<u8>;
    fn held(&self) -> usize;
    fn closing(&self) -> bool;
}

macro_rules! endpoint {
    ($connection:ty, |$this:ident, $now:ident| $poll:expr, |$held:ident| $held_bytes:expr) => {
        impl Endpoint for $connection {
            fn receive(&mut self, bytes: &[u8]) -> usize {
                let mut room = self.recv_buffer();
                let len = bytes.len().min(room.remaining_mut());
                room.put_slice(&bytes[..len]);
                len
            }

            fn end_input(&mut self) {
                self.handle_eof();
            }

            fn poll(&mut self, $now: Instant) -> Result<Option<String>, ConnectionError> {
                let $this = self;
                Ok($poll?.map(|event| format!("{event:?}")))
            }

            fn expire(&mut self, now: Instant) {
                self.handle_timeout(now);
            }

            fn transmit(&mut self, limit: usize) -> Vec<u8> {
                let mut sent = Vec::new();
                // Of a long body, one chunk is queued at a time.
                while sent.len() < limit && !self.send_queue().is_empty() {
                    let mut slices = [IoSlice::new(&[]); 8];
                    let count = self.io_slices(&mut slices);
                    let bytes = slices[..count]
                        .iter()
                        .flat_map(|slice| slice.iter().copied());
                    let before = sent.len();
                    sent.extend(bytes.take(limit - before));
                    self.advance(sent.len() - before);
                }
                sent
            }

            fn held(&self) -> usize {
                let $held = self;
                $held_bytes
            }

            fn closing(&self) -> bool {
                self.is_closing()
            }
        }
    };
}

endpoint!(ServerConnection, |this, now| this.poll_event(now), |this| {
    ServerConnection::held(this)
});
endpoint!(ClientConnection, |this, now| this.poll_event(now), |this| this
    .send_queue()
    .len());

/// Metadata with these entries.
pub fn metadata(entries: &[(&str, &[u8])]) -> Metadata {
    let mut metadata = Metadata::new();
    for (key, value) in entries {
        metadata.insert(key, value).unwrap();
    }
    metadata
}
