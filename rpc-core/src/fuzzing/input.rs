//! Input: the fuzzer's bytes, read from the front. Every read has an answer; where bytes are missing they are zero.

use arbitrary::{Arbitrary, Unstructured};

/// What is left of the fuzzer's bytes.
pub(super) struct Input<'a>(Unstructured<'a>);

impl<'a> Input<'a> {
    pub(super) fn new(data: &'a [u8]) -> Self {
        Self(Unstructured::new(data))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn byte(&mut self) -> u8 {
        self.0.arbitrary().unwrap_or_default()
    }

    pub(super) fn u32(&mut self) -> u32 {
        self.0.arbitrary().unwrap_or_default()
    }

    /// At most `len` bytes.
    pub(super) fn bytes(&mut self, len: usize) -> &'a [u8] {
        self.0.bytes(len.min(self.0.len())).unwrap_or_default()
    }

    pub(super) fn rest(&mut self) -> &'a [u8] {
        self.bytes(usize::MAX)
    }

    /// A length from one byte: mostly small, up to 64 KiB.
    pub(super) fn len(&mut self) -> usize {
        match usize::from(self.byte()) {
            small @ 0..128 => small,
            medium @ 128..240 => (medium - 127) * 64,
            large => (large - 239) * 4_096,
        }
    }

    /// One of `len` things; 0 if there are none.
    pub(super) fn index(&mut self, len: usize) -> usize {
        usize::from(self.byte()).checked_rem(len).unwrap_or_default()
    }

    /// A value made of the bytes that follow.
    pub(super) fn value<A: Arbitrary<'a>>(&mut self) -> Option<A> {
        self.0.arbitrary().ok()
    }
}
