//! FrameBuf: memory in which one outgoing frame is built, header space first, body 16-aligned behind it.

use std::fmt;

use bytes::Bytes;
use rkyv::util::AlignedVec;

use crate::header::{FrameHeader, HEADER_LEN};

/// A buffer that holds exactly one outgoing frame: header, body, padding.
///
/// The body is written first, the header once its length is known. Buffers are reused: [`FrameBuf::clear`] keeps the memory.
///
/// Long [`Bytes`] in a message are not copied into the buffer but attached: the body then consists of several [`segments`](Self::segments).
pub struct FrameBuf {
    /// `HEADER_LEN` bytes for the header, then the body without what is attached; without any memory as long as nothing was ever written: a frame that is only there in place of
    /// another one costs nothing.
    bytes: AlignedVec<16>,
    /// What is attached, with the offset in `bytes` before which it is inserted. Offsets never descend, and none is below `HEADER_LEN`.
    attachments: Vec<(usize, Bytes)>,
    /// Length of all attachments.
    attached: usize,
}

impl FrameBuf {
    /// An empty frame. It has no memory yet.
    pub fn new() -> Self {
        Self {
            bytes: AlignedVec::new(),
            attachments: Vec::new(),
            attached: 0,
        }
    }

    /// Empties the frame and keeps its memory.
    #[inline]
    pub fn clear(&mut self) {
        self.cut(HEADER_LEN);
        if !self.attachments.is_empty() {
            self.attachments.clear();
            self.attached = 0;
        }
    }

    /// Leaves at most `len` bytes, the header's space among them.
    #[inline]
    fn cut(&mut self, len: usize) {
        if self.bytes.len() > len {
            self.bytes.resize(len, 0);
        }
    }

    /// Has space for the header.
    #[inline]
    fn begin(&mut self) {
        if self.bytes.is_empty() {
            self.begin_anew();
        }
    }

    #[cold]
    fn begin_anew(&mut self) {
        self.bytes.reserve(FIRST_LEN);
        self.bytes.resize(HEADER_LEN, 0);
    }

    /// The length of the body so far, in bytes, with what is attached.
    pub fn body_len(&self) -> usize {
        self.end() - HEADER_LEN
    }

    /// The body so far, of a frame to which nothing is attached; else its part before the first attachment. See [`flatten`](Self::flatten).
    pub fn body(&self) -> &[u8] {
        debug_assert!(self.attachments.is_empty(), "the body is not in one piece");
        self.bytes.get(HEADER_LEN..self.contiguous()).unwrap_or_default()
    }

    /// The body so far, to be changed in place; as far as the first attachment.
    pub fn body_mut(&mut self) -> &mut [u8] {
        let end = self.contiguous();
        self.bytes.get_mut(HEADER_LEN..end).unwrap_or_default()
    }

    /// The pieces of the body in their order. None is empty.
    pub fn segments(&self) -> impl Iterator<Item = &[u8]> {
        let mut start = HEADER_LEN;
        let last = self.attachments.last().map_or(start, |(offset, _)| *offset);
        let last = self.bytes.get(last..).unwrap_or_default();
        self.attachments
            .iter()
            .flat_map(move |(offset, attached)| {
                let own = self.bytes.get(start..*offset).unwrap_or_default();
                start = *offset;
                [own, attached.as_ref()]
            })
            .chain([last])
            .filter(|segment| !segment.is_empty())
    }

    /// Makes the body contiguous: copies it if anything is attached.
    pub fn flatten(&mut self) {
        if self.attachments.is_empty() {
            return;
        }
        let mut bytes = AlignedVec::with_capacity(self.end().next_multiple_of(HEADER_LEN));
        bytes.resize(HEADER_LEN, 0);
        for segment in self.segments() {
            bytes.extend_from_slice(segment);
        }
        self.bytes = bytes;
        self.attachments.clear();
        self.attached = 0;
    }

    /// Appends bytes to the body.
    #[inline]
    pub fn extend(&mut self, bytes: &[u8]) {
        self.begin();
        self.bytes.extend_from_slice(bytes);
    }

    /// Appends zeros until the body is a multiple of 16 long.
    pub fn pad(&mut self) {
        self.align(HEADER_LEN);
    }

    /// Shortens the body, if it is longer.
    pub fn truncate(&mut self, body_len: usize) {
        let end = HEADER_LEN + body_len;
        while self.end() > end {
            let own = self.bytes.len() - self.attachments.last().map_or(HEADER_LEN, |(offset, _)| *offset);
            let too_long = self.end() - end;
            if own >= too_long || self.attachments.is_empty() {
                let len = self.bytes.len().saturating_sub(too_long).max(HEADER_LEN);
                return self.bytes.resize(len, 0);
            }
            // The last piece goes whole, and of the attachment before it as much as is too long.
            self.bytes.resize(self.bytes.len() - own, 0);
            let too_long = too_long - own;
            if let Some((_, last)) = self.attachments.last_mut() {
                let left = last.len().saturating_sub(too_long);
                self.attached -= last.len() - left;
                last.truncate(left);
                if left == 0 {
                    self.attachments.pop();
                }
            }
        }
    }

    /// Inserts bytes, and behind them zeros up to a multiple of 16, at an offset of the body that is not beyond its first attachment.
    pub(crate) fn insert_padded(&mut self, offset: usize, bytes: &[u8]) {
        self.begin();
        let padded = bytes.len().next_multiple_of(HEADER_LEN);
        let (start, before) = (HEADER_LEN + offset, self.bytes.len());
        debug_assert!(start <= self.contiguous());
        self.bytes.resize(before + padded, 0);
        self.bytes.copy_within(start..before, start + padded);
        if let Some(space) = self.bytes.get_mut(start..start + padded) {
            let (own, padding) = space.split_at_mut(bytes.len());
            own.copy_from_slice(bytes);
            padding.fill(0);
        }
        for (offset, _) in &mut self.attachments {
            *offset += padded;
        }
    }

    /// Takes out again what [`insert_padded`](Self::insert_padded) has put there, `len` bytes and their padding.
    pub(crate) fn remove_padded(&mut self, offset: usize, len: usize) {
        let padded = len.next_multiple_of(HEADER_LEN);
        let (start, before) = (HEADER_LEN + offset, self.bytes.len());
        debug_assert!(start + padded <= self.contiguous());
        self.bytes.copy_within((start + padded).min(before).., start);
        self.bytes.resize(before.saturating_sub(padded), 0);
        for (offset, _) in &mut self.attachments {
            *offset -= padded;
        }
    }

    /// Makes this frame a copy of another one; what is attached there is shared.
    pub fn copy_from(&mut self, other: &Self) {
        self.bytes.clear();
        self.bytes.extend_from_slice(&other.bytes);
        self.attachments.clone_from(&other.attachments);
        self.attached = other.attached;
    }

    /// How many bytes the buffer can hold without asking for memory.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Writes the header and the padding.
    pub fn finish(&mut self, header: FrameHeader) {
        debug_assert_eq!(header.body_len as usize, self.body_len());
        self.seal(header);
    }

    /// The bytes of a frame that [`FrameBuf::finish`] has completed, as they go on the wire; without what is attached.
    pub fn finished(&self) -> &[u8] {
        &self.bytes
    }

    /// Writes the padding, and a header that may be that of the beginning only.
    pub(crate) fn seal(&mut self, header: FrameHeader) {
        self.begin();
        if let Some(space) = self.bytes.get_mut(..HEADER_LEN) {
            space.copy_from_slice(&header.encode());
        }
        self.align(HEADER_LEN);
    }

    /// Appends zeros until the end is a multiple of `alignment`.
    #[inline]
    pub(crate) fn align(&mut self, alignment: usize) {
        let padding = self.end().next_multiple_of(alignment) - self.end();
        if padding > 0 {
            self.begin();
            self.bytes.resize(self.bytes.len() + padding, 0);
        }
    }

    /// Where the next byte goes, counted from the start of the frame.
    #[inline]
    pub(crate) fn end(&self) -> usize {
        self.bytes.len().max(HEADER_LEN) + self.attached
    }

    /// Appends bytes to the body without copying them.
    pub(crate) fn attach(&mut self, bytes: Bytes) {
        self.begin();
        self.attached += bytes.len();
        self.attachments.push((self.bytes.len(), bytes));
    }

    pub(crate) fn has_attachments(&self) -> bool {
        !self.attachments.is_empty()
    }

    /// Takes out what is attached, with the offsets in [`finished`](Self::finished) before which it belongs.
    pub(crate) fn take_attachments(&mut self) -> Vec<(usize, Bytes)> {
        self.attached = 0;
        std::mem::take(&mut self.attachments)
    }

    /// Where the part ends that begins with the header and is in one piece.
    fn contiguous(&self) -> usize {
        self.attachments
            .first()
            .map_or(self.bytes.len(), |(offset, _)| *offset)
    }
}

/// Memory that a frame begins with: most calls need no more.
const FIRST_LEN: usize = 256;

impl Clone for FrameBuf {
    /// Copies what is in the frame; what is attached is shared.
    fn clone(&self) -> Self {
        let mut copy = Self {
            bytes: AlignedVec::with_capacity(self.bytes.len()),
            attachments: Vec::new(),
            attached: 0,
        };
        copy.copy_from(self);
        copy
    }
}

impl Default for FrameBuf {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for FrameBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrameBuf")
            .field("body_len", &self.body_len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_with_attachments_is_their_bytes_in_order() {
        let mut frame = FrameBuf::new();
        let attached = Bytes::from_static(b"attached");
        frame.attach(attached.clone());
        frame.extend(b"own");
        frame.attach(Bytes::new());
        frame.attach(attached.slice(2..));
        frame.align(HEADER_LEN);
        assert_eq!(frame.body_len(), 32);
        assert!(frame.body_mut().is_empty(), "as far as the first attachment");
        let segments: Vec<_> = frame.segments().collect();
        assert_eq!(segments[..3], [&b"attached"[..], b"own", b"tached"]);
        assert_eq!(segments[0].as_ptr(), attached.as_ptr());
        let whole = segments.concat();
        assert_eq!(whole, [&b"attachedowntached"[..], &[0; 15]].concat());
        frame.flatten();
        assert_eq!(frame.body(), whole);
        assert!(frame.body().as_ptr().addr().is_multiple_of(16));
        assert_eq!(frame.segments().count(), 1);
    }

    #[test]
    fn a_body_can_be_shortened_to_any_length() {
        let attached = Bytes::from_static(b"0123456789");
        let build = || {
            let mut frame = FrameBuf::new();
            frame.extend(b"abc");
            frame.attach(attached.clone());
            frame.extend(b"def");
            frame.attach(attached.slice(..4));
            frame
        };
        let whole: Vec<u8> = build().segments().flatten().copied().collect();
        for len in 0..=whole.len() + 1 {
            let mut frame = build();
            frame.truncate(len);
            let body: Vec<u8> = frame.segments().flatten().copied().collect();
            assert_eq!(body, whole[..len.min(whole.len())], "{len}");
            assert_eq!(frame.body_len(), body.len());
            frame.extend(b"!");
            assert_eq!(frame.segments().flatten().last(), Some(&b'!'));
        }
    }

    #[test]
    fn bytes_are_inserted_before_what_is_there() {
        let mut frame = FrameBuf::new();
        frame.extend(&[1; 16]);
        frame.extend(b"own");
        frame.attach(Bytes::from_static(b"attached"));
        let copy = frame.clone();
        frame.insert_padded(16, &[7; 17]);
        let body: Vec<u8> = frame.segments().flatten().copied().collect();
        assert_eq!(
            body,
            [&[1; 16][..], &[7; 17], &[0; 15], b"own", b"attached"].concat()
        );
        let before: Vec<u8> = copy.segments().flatten().copied().collect();
        assert_eq!(before, [&[1; 16][..], b"own", b"attached"].concat());
    }

    #[test]
    fn an_emptied_frame_holds_no_attachment() {
        let mut frame = FrameBuf::new();
        let attached = Bytes::from(vec![1; 100]);
        frame.attach(attached.clone());
        frame.clear();
        assert!(attached.is_unique());
        assert_eq!((frame.body_len(), frame.segments().count()), (0, 0));
    }
}
