//! Lane: one direction of a channel as its owner sees it. What arrives says by itself which it is, and how many came before.

use bytes::Bytes;

use crate::code::Code;
use crate::frame_buf::FrameBuf;
use crate::metadata::Metadata;
use crate::stream::ITEM_OVERHEAD;

/// What one side knows of a channel. Each side has its own, and only the bytes tell one of the other.
#[derive(Clone, Debug)]
pub(super) struct Lane {
    mark: u8,
    /// Items that were sent here, or received here.
    count: u8,
    credit: i64,
    /// What was received and not granted again.
    read: u32,
    ended: bool,
}

impl Lane {
    pub(super) fn new(mark: u8, credit: u32) -> Self {
        Self {
            mark,
            count: 0,
            credit: credit.into(),
            read: 0,
            ended: false,
        }
    }

    /// The next item, if one may be sent: its number, whether it says that it is a run, and the call's mark over and over.
    pub(super) fn send(&mut self, len: usize, packed: bool) -> Option<FrameBuf> {
        if self.credit <= 0 {
            return None;
        }
        let mut body = vec![self.mark; len.max(2)];
        body[0] = self.count;
        body[1] = u8::from(packed);
        let mut frame = FrameBuf::new();
        frame.extend(&body);
        if !self.ended {
            self.count = self.count.wrapping_add(1);
            self.credit -= i64::from(cost(body.len()));
        }
        Some(frame)
    }

    /// The metadata of the end says how many items came before.
    pub(super) fn end(&mut self, len: usize, aborts: bool) -> Metadata {
        self.ended = true;
        let mut metadata = Metadata::new();
        if !aborts {
            let value = vec![self.count; len.clamp(1, 1_000)];
            assert_eq!(metadata.insert("count", value), Ok(()));
        }
        metadata
    }

    pub(super) fn granted(&mut self, bytes: u32) {
        self.credit += i64::from(bytes);
    }

    /// Nobody wants more: the connection has ended the channel.
    pub(super) fn stopped(&mut self) {
        assert!(!self.ended, "a channel that has ended cannot be stopped");
        self.ended = true;
    }

    pub(super) fn receive(&mut self, body: &Bytes, packed: bool) {
        assert!(!self.ended, "an item behind the end");
        assert!(self.credit > 0, "an item without credit");
        assert!(body.as_ptr().addr().is_multiple_of(16));
        assert_eq!(
            (body[0], body[1]),
            (self.count, u8::from(packed)),
            "items in order"
        );
        assert!(
            body[2..].iter().all(|byte| *byte == self.mark),
            "an item of another call"
        );
        self.count = self.count.wrapping_add(1);
        self.credit -= i64::from(cost(body.len()));
        self.read += cost(body.len());
    }

    pub(super) fn receive_end(&mut self, code: Code, metadata: &Metadata) {
        assert!(!self.ended, "a second end");
        self.ended = true;
        if code == Code::OK {
            let value = metadata.get("count").unwrap_or_default();
            assert!(value.iter().all(|byte| *byte == self.count), "items are missing");
            assert!(!value.is_empty());
        } else {
            assert!(metadata.is_empty());
        }
    }

    /// What is to be granted: what was read, and what the connection gives besides.
    pub(super) fn take_read(&mut self, more: impl FnOnce() -> u32) -> u32 {
        if self.ended || self.read == 0 {
            return 0;
        }
        let bytes = std::mem::take(&mut self.read) + more();
        self.credit += i64::from(bytes);
        bytes
    }
}

fn cost(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX) + ITEM_OVERHEAD
}
