//! Trace: what one side makes of a byte stream, which may not depend on how the stream is cut (P-18).

use std::io::IoSlice;
use std::time::Instant;

use bytes::buf::Limit;
use bytes::{BufMut, BytesMut};

use crate::code::Code;
use crate::connection::{ClientConnection, ServerConnection, ServerEvent};
use crate::error::ConnectionError;
use crate::header::FrameHeader;
use crate::limits::Limits;
use crate::metadata::Metadata;
use crate::send_queue::SendQueue;

/// Either role, as its driver sees it.
pub(super) trait Endpoint {
    fn recv_buffer(&mut self) -> Limit<&mut BytesMut>;
    fn handle_eof(&mut self);
    fn send_queue(&self) -> &SendQueue;
    fn advance(&mut self, len: usize);
    fn is_closing(&self) -> bool;

    /// The next event as text. Calls are ended as soon as they arrive, so that answers are a part of the trace.
    fn next(&mut self, now: Instant) -> Result<Option<String>, ConnectionError>;
}

macro_rules! endpoint {
    ($connection:ty, |$this:ident, $now:ident| $next:expr) => {
        impl Endpoint for $connection {
            fn recv_buffer(&mut self) -> Limit<&mut BytesMut> {
                Self::recv_buffer(self)
            }

            fn handle_eof(&mut self) {
                Self::handle_eof(self);
            }

            fn send_queue(&self) -> &SendQueue {
                Self::send_queue(self)
            }

            fn advance(&mut self, len: usize) {
                Self::advance(self, len);
            }

            fn is_closing(&self) -> bool {
                Self::is_closing(self)
            }

            fn next(&mut self, $now: Instant) -> Result<Option<String>, ConnectionError> {
                let $this = self;
                $next
            }
        }
    };
}

endpoint!(ClientConnection, |this, now| Ok(this
    .poll_event(now)?
    .map(|event| format!("{event:?}"))));
endpoint!(ServerConnection, |this, now| {
    let Some(event) = this.poll_event(now)? else {
        return Ok(None);
    };
    let text = format!("{event:?}");
    match event {
        // Every other call goes on, so that ids stay busy and cancels meet running calls.
        ServerEvent::Call { call, .. } if call.0 % 2 == 1 => {
            this.fail(call, Code::INTERNAL, "odd", &Metadata::new());
        }
        ServerEvent::Call { call, .. } => this.open(call, u16::from(call.0 % 4 == 0)),
        ServerEvent::Cancel(call) => this.fail(call, Code::CANCELLED, "", &Metadata::new()),
        ServerEvent::Breach { call, code, text } => this.fail(call, code, text, &Metadata::new()),
        ServerEvent::Channel(_)
        | ServerEvent::Expire(_)
        | ServerEvent::Greeted
        | ServerEvent::Goaway { .. }
        | ServerEvent::Pong(_)
        | ServerEvent::PeerFinished => {}
    }
    Ok(Some(text))
});

/// What one side told its owner and its peer.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Trace {
    events: Vec<String>,
    error: Option<ConnectionError>,
    sent: Vec<u8>,
}

/// Gives a side a stream, cut into chunks of the lengths in `plan` over and over, and then its end.
pub(super) fn play(endpoint: &mut impl Endpoint, mut stream: &[u8], plan: &[usize], now: Instant) -> Trace {
    let mut trace = Trace::default();
    let mut plan = plan.iter().cycle();
    while !endpoint.is_closing() {
        if stream.is_empty() {
            endpoint.handle_eof();
            poll(endpoint, &mut trace, now);
            break;
        }
        let len = plan.next().map_or(1, |len| 1 + *len);
        stream = &stream[receive(endpoint, stream, len)..];
        poll(endpoint, &mut trace, now);
    }
    assert_eq!(endpoint.is_closing(), trace.error.is_some());
    trace.sent = transmit(endpoint, usize::MAX);
    trace
}

fn poll(endpoint: &mut impl Endpoint, trace: &mut Trace, now: Instant) {
    loop {
        match endpoint.next(now) {
            Ok(Some(event)) => trace.events.push(event),
            Ok(None) => return,
            Err(error) => assert_eq!(trace.error.replace(error), None, "an error is the last event"),
        }
    }
}

/// Hands over at most `limit` bytes, as many as there is room for; returns how many.
pub(super) fn receive(endpoint: &mut impl Endpoint, bytes: &[u8], limit: usize) -> usize {
    let mut room = endpoint.recv_buffer();
    let len = limit.min(bytes.len()).min(room.remaining_mut());
    room.put_slice(&bytes[..len]);
    len
}

/// Takes at most `limit` bytes of what waits to be written.
pub(super) fn transmit(endpoint: &mut impl Endpoint, limit: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() < limit && !endpoint.send_queue().is_empty() {
        let mut slices = [IoSlice::new(&[]); 2];
        let count = endpoint.send_queue().io_slices(&mut slices);
        let before = bytes.len();
        slices[..count]
            .iter()
            .for_each(|slice| bytes.extend_from_slice(slice));
        bytes.truncate(limit);
        assert!(bytes.len() > before, "what waits can be written");
        endpoint.advance(bytes.len() - before);
    }
    bytes
}

/// The headers of a stream behind its preface, and whether it ends with a whole frame.
pub(super) fn headers(mut stream: &[u8]) -> (Vec<FrameHeader>, bool) {
    let mut headers = Vec::new();
    while let Some(bytes) = stream.first_chunk() {
        let Ok(header) = FrameHeader::decode(bytes, Limits::LARGEST_BODY) else {
            return (headers, false);
        };
        let Some(rest) = stream.get(header.frame_len()..) else {
            return (headers, false);
        };
        headers.push(header);
        stream = rest;
    }
    (headers, stream.is_empty())
}
