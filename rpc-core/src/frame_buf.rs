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
    /// What is attached, if anything is. Few frames have attachments, and all are moved about.
    attachments: Option<Box<Attachments>>,
    /// Length of all attachments.
    attached: usize,
}

/// What is attached to a frame, with the offset in its `bytes` before which it is inserted. Offsets never descend, and none is below `HEADER_LEN`.
#[derive(Clone, Default)]
struct Attachments(Vec<(usize, Bytes)>);

impl FrameBuf {
    /// An empty frame. It has no memory yet.
    pub fn new() -> Self {
        Self {
            bytes: AlignedVec::new(),
            attachments: None,
            attached: 0,
        }
    }

    /// Empties the frame and keeps its memory.
    #[inline]
    pub fn clear(&mut self) {
        self.cut(HEADER_LEN);
        if self.attachments.is_some() {
            self.attachments = None;
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
        debug_assert!(!self.has_attachments(), "the body is not in one piece");
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
        let last = self.attachments().last().map_or(start, |(offset, _)| *offset);
        let last = self.bytes.get(last..).unwrap_or_default();
        self.attachments()
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
        if !self.has_attachments() {
            return;
        }
        let mut bytes = AlignedVec::with_capacity(self.end().next_multiple_of(HEADER_LEN));
        bytes.resize(HEADER_LEN, 0);
        for segment in self.segments() {
            bytes.extend_from_slice(segment);
        }
        self.bytes = bytes;
        self.attachments = None;
        self.attached = 0;
    }

    /// Appends bytes to the body.
    #[inline]
    pub fn extend(&mut self, bytes: &[u8]) {
        self.begin();
        self.bytes.extend_from_slice(bytes);
    }

    /// Appends zeros until the body is a multiple of 16 long.
    #[inline]
    pub fn pad(&mut self) {
        let padding = self.end().next_multiple_of(HEADER_LEN) - self.end();
        if padding == 0 {
            return;
        }
        // There is memory: a frame without any has nothing attached, and so needs no padding.
        let len = self.bytes.len() + padding;
        // One store of known length, where there is room for it, instead of a call.
        if self.bytes.capacity() - self.bytes.len() >= HEADER_LEN {
            self.bytes.extend_from_slice(&[0; HEADER_LEN]);
        }
        self.bytes.resize(len, 0);
    }

    /// Shortens the body, if it is longer.
    #[inline]
    pub fn truncate(&mut self, body_len: usize) {
        let end = HEADER_LEN + body_len;
        if self.has_attachments() {
            self.truncate_pieces(end);
        } else {
            self.cut(end);
        }
    }

    #[cold]
    fn truncate_pieces(&mut self, end: usize) {
        while self.end() > end {
            let too_long = self.end() - end;
            let len = self.bytes.len();
            let Some((offset, last)) = self.attachments.as_mut().and_then(|pieces| pieces.0.last_mut())
            else {
                return self.cut(end);
            };
            let own = len - *offset;
            if own >= too_long {
                return self.cut(len - too_long);
            }
            // The last piece goes whole, and of the attachment before it as much as is too long.
            let gone = last.len().min(too_long - own);
            last.truncate(last.len() - gone);
            let is_empty = last.is_empty();
            self.attached -= gone;
            self.cut(len - own);
            if is_empty && let Some(pieces) = &mut self.attachments {
                pieces.0.pop();
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
        for (offset, _) in self.attachments.iter_mut().flat_map(|pieces| &mut pieces.0) {
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
        for (offset, _) in self.attachments.iter_mut().flat_map(|pieces| &mut pieces.0) {
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
        if let Some(space) = self.bytes.first_chunk_mut() {
            *space = header.encode();
        }
        self.pad();
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
        let offset = self.bytes.len();
        self.attachments.get_or_insert_default().0.push((offset, bytes));
    }

    #[inline]
    pub(crate) fn has_attachments(&self) -> bool {
        !self.attachments().is_empty()
    }

    #[inline]
    fn attachments(&self) -> &[(usize, Bytes)] {
        self.attachments.as_ref().map_or(&[], |pieces| &pieces.0)
    }

    /// Takes out what is attached, with the offsets in [`finished`](Self::finished) before which it belongs.
    pub(crate) fn take_attachments(&mut self) -> Vec<(usize, Bytes)> {
        self.attached = 0;
        self.attachments.take().map_or_else(Vec::new, |pieces| pieces.0)
    }

    /// Where the part ends that begins with the header and is in one piece.
    fn contiguous(&self) -> usize {
        self.attachments()
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
            attachments: None,
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
        frame.pad();
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
