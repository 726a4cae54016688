//! FrameBuf: memory in which one outgoing frame is built, header space first, body 16-aligned behind it.

use rkyv::util::AlignedVec;

use crate::header::{FrameHeader, HEADER_LEN};

/// A buffer that holds exactly one outgoing frame: header, body, padding.
///
/// The body is written first, the header once its length is known. Buffers are reused: [`FrameBuf::clear`] keeps the memory.
pub struct FrameBuf {
    /// `HEADER_LEN` bytes for the header, then the body. `bytes.len() >= HEADER_LEN` always.
    bytes: AlignedVec<16>,
}

impl FrameBuf {
    /// An empty frame.
    pub fn new() -> Self {
        let mut bytes = AlignedVec::new();
        bytes.resize(HEADER_LEN, 0);
        Self { bytes }
    }

    /// Empties the frame and keeps its memory.
    pub fn clear(&mut self) {
        self.bytes.resize(HEADER_LEN, 0);
    }

    /// The length of the body so far, in bytes.
    pub fn body_len(&self) -> usize {
        self.bytes.len() - HEADER_LEN
    }

    /// The body so far.
    pub fn body(&self) -> &[u8] {
        self.bytes.get(HEADER_LEN..).unwrap_or_default()
    }

    /// The body so far, to be changed in place.
    pub fn body_mut(&mut self) -> &mut [u8] {
        self.bytes.get_mut(HEADER_LEN..).unwrap_or_default()
    }

    /// Appends bytes to the body.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// How many bytes the buffer can hold without asking for memory.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Writes the header and the padding; the result is the frame as it goes on the wire.
    pub fn finish(&mut self, header: FrameHeader) -> &[u8] {
        debug_assert_eq!(header.body_len as usize, self.body_len());
        if let Some(space) = self.bytes.get_mut(..HEADER_LEN) {
            space.copy_from_slice(&header.encode());
        }
        let padded = self.bytes.len().next_multiple_of(HEADER_LEN);
        self.bytes.resize(padded, 0);
        &self.bytes
    }

    /// The bytes of a frame that [`FrameBuf::finish`] has completed.
    pub fn finished(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn writer(&mut self) -> &mut AlignedVec<16> {
        &mut self.bytes
    }
}

impl Default for FrameBuf {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for FrameBuf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FrameBuf")
            .field("body_len", &self.body_len())
            .finish_non_exhaustive()
    }
}
