//! RecvBuffer: 16-aligned receive memory from which frames are handed out without copying.

use bytes::{Buf, Bytes, BytesMut};

use crate::error::DecodeError;
use crate::header::{FrameHeader, HEADER_LEN};

/// A complete frame of the peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its header.
    pub header: FrameHeader,
    /// Its body, starting at a multiple of 16 in memory. It shares the receive memory; dropping it gives its part back.
    pub body: Bytes,
}

/// Bytes from the peer, on their way to becoming frames.
///
/// Drive it in this order: read into [`spare`](Self::spare), then take [`next_frame`](Self::next_frame) until there is none.
///
/// Memory is taken in segments that start at a multiple of 16. Every frame is a multiple of 16 long (P-10), so every body in a segment is
/// aligned, and a body is a counted reference into the segment. Only the part of a frame that does not fit into the rest of a segment
/// is moved. A segment whose bodies have all been dropped is used again.
pub struct RecvBuffer {
    /// Bytes that are not handed out. Starts at a multiple of 16 in memory, except while the owner has made it reallocate.
    segment: BytesMut,
    /// The segment before, empty. Its memory is used again once the bodies in it have been dropped.
    retired: BytesMut,
    /// Length of the memory behind `segment` and `retired`.
    segment_allocated: usize,
    retired_allocated: usize,
    /// Number of `segment`: another one whenever bodies may be left behind in other memory.
    segment_number: u64,
    /// Whether a body was handed out of `segment`, so that growing it means moving.
    shared: bool,
    /// Length of new segments: `MIN_SEGMENT` to `MAX_SEGMENT`, doubled when a read fills one or a frame is cut.
    segment_len: usize,
    /// Length of the incomplete frame at the front, 0 while its header is incomplete.
    wanted: usize,
    /// Room that the last `spare` offered.
    offered: usize,
    copied: u64,
}

impl RecvBuffer {
    /// An empty buffer; memory is taken by the first [`spare`](Self::spare).
    pub fn new() -> Self {
        Self {
            segment: BytesMut::new(),
            retired: BytesMut::new(),
            segment_allocated: 0,
            retired_allocated: 0,
            segment_number: 0,
            shared: false,
            segment_len: MIN_SEGMENT,
            wanted: 0,
            offered: 0,
            copied: 0,
        }
    }

    /// Room for the next read, behind the bytes that are there: at least 1 KiB, or what the incomplete frame at the front lacks.
    ///
    /// The owner appends what it reads and changes nothing else. A frame above 256 KiB gets room only as it arrives: at most as much again
    /// as has arrived, whatever its header says.
    pub fn spare(&mut self) -> &mut BytesMut {
        let unread = self.segment.len();
        let filled = self.offered >= self.segment_len / 2 && unread == self.segment.capacity();
        if filled {
            self.segment_len = (self.segment_len * 2).min(MAX_SEGMENT);
        }
        let need = if self.wanted > unread {
            self.wanted.min(MAX_SEGMENT.max(2 * unread))
        } else {
            unread + MIN_ROOM
        };
        if self.segment.capacity() < need {
            if unread > 0 {
                // A frame was cut. Longer segments cut fewer.
                self.segment_len = self
                    .segment_len
                    .max((self.segment_len * 2).min(MAX_SEGMENT_FOR_CUTS));
            }
            self.make_room(need);
        }
        self.offered = self.segment.capacity() - unread;
        debug_assert!(
            self.segment.capacity() >= need,
            "{} < {need}",
            self.segment.capacity()
        );
        &mut self.segment
    }

    /// The next frame, if it has arrived whole.
    ///
    /// # Errors
    ///
    /// [`DecodeError`], which is final: what follows a malformed frame cannot be told from it. A length above `max_body` is refused as
    /// soon as the header is there (P-11).
    pub fn next_frame(&mut self, max_body: u32) -> Result<Option<Frame>, DecodeError> {
        let Some(header) = self.front(max_body)? else {
            return Ok(None);
        };
        let body = self.take_body(&header);
        Ok(Some(Frame { header, body }))
    }

    /// The header of the next frame, if that has arrived whole and is well-formed. Until its body is [taken](Self::take_body) it is the next one.
    ///
    /// # Errors
    ///
    /// See [`next_frame`](Self::next_frame).
    #[inline]
    pub(crate) fn front(&mut self, max_body: u32) -> Result<Option<FrameHeader>, DecodeError> {
        if !self.is_aligned() {
            self.align();
        }
        let Some(bytes) = self.segment.first_chunk::<HEADER_LEN>() else {
            self.wanted = 0;
            return Ok(None);
        };
        let header = FrameHeader::decode(bytes, max_body)?;
        let frame_len = header.frame_len();
        if self.segment.len() < frame_len {
            self.wanted = frame_len;
            return Ok(None);
        }
        self.wanted = 0;
        let padding_len = frame_len - HEADER_LEN - header.body_len as usize;
        let end = self.segment.get(..frame_len).and_then(<[u8]>::last_chunk);
        if end.is_some_and(|end| !ends_in_zeros(end, padding_len)) {
            return Err(DecodeError::PaddingNotZero { kind: header.kind });
        }
        Ok(Some(header))
    }

    /// Takes the frame at the front, which has this header, and returns its body.
    #[inline]
    pub(crate) fn take_body(&mut self, header: &FrameHeader) -> Bytes {
        let (body_len, frame_len) = (header.body_len as usize, header.frame_len());
        if body_len == 0 {
            self.segment.advance(frame_len);
            return Bytes::new();
        }
        self.segment.advance(HEADER_LEN);
        self.shared = true;
        let body = self.segment.split_to(body_len).freeze();
        self.segment.advance(frame_len - HEADER_LEN - body_len);
        debug_assert!(body.as_ptr().addr().is_multiple_of(ALIGNMENT) && self.is_aligned());
        body
    }

    /// The bytes that are not handed out yet.
    pub fn unread(&self) -> &[u8] {
        &self.segment
    }

    /// Takes bytes from the front that the owner has made use of by itself, such as the preface. If bytes are left behind a length that is not a
    /// multiple of 16, that costs a copy later.
    pub fn consume(&mut self, len: usize) {
        self.segment.advance(len.min(self.segment.len()));
        self.wanted = 0;
        // Costs nothing as long as there is nothing to move. Without the room for it, the next segment begins aligned.
        if self.segment.is_empty() && self.segment.capacity() >= ALIGNMENT {
            self.align();
        }
    }

    /// Length of the incomplete frame at the front, or of its header while that is incomplete.
    pub fn expected(&self) -> usize {
        self.wanted.max(HEADER_LEN)
    }

    /// The memory that the last frame's body is in: its number, which only grows, and its length. None of it is free before all bodies in it have been dropped.
    pub fn segment(&self) -> (u64, usize) {
        (self.segment_number, self.segment_allocated)
    }

    /// Gives the memory back if nothing unread is in it. The next [`spare`](Self::spare) takes some again.
    pub fn release(&mut self) {
        if self.segment.is_empty() {
            *self = Self {
                copied: self.copied,
                segment_number: self.segment_number + 1,
                ..Self::new()
            };
        }
    }

    /// Lends the memory to the other buffers of this thread, if nothing is in it: until the next [`spare`](Self::spare), which takes some again. For a buffer whose owner waits.
    pub fn rest(&mut self) {
        if !self.segment.is_empty() {
            return;
        }
        for (memory, allocated) in [
            (&mut self.segment, &mut self.segment_allocated),
            (&mut self.retired, &mut self.retired_allocated),
        ] {
            // As long as there are bodies in it, it is nobody else's.
            if *allocated > 0 && memory.try_reclaim(*allocated) {
                *allocated = 0;
                lent::give(std::mem::take(memory));
            }
        }
        if self.segment_allocated == 0 {
            self.shared = false;
            self.segment_number += 1;
        }
    }

    /// How many bytes have been moved from where they had been read to, since the start.
    pub fn copied_bytes(&self) -> u64 {
        self.copied
    }

    /// Whether frames at the front start at a multiple of 16 in memory.
    fn is_aligned(&self) -> bool {
        self.segment.as_ptr().addr().is_multiple_of(ALIGNMENT) || self.segment.capacity() == 0
    }

    /// Makes the segment at least `need` long, counted from its unread bytes, by the cheapest way there is.
    fn make_room(&mut self, need: usize) {
        // It was not used since the last segment was full.
        if need <= MAX_SEGMENT && self.retired_allocated > 2 * MAX_SEGMENT {
            self.retired = BytesMut::new();
            self.retired_allocated = 0;
        }
        let goal = need.max(self.segment_len) + ALIGNMENT - 1;
        // Memory of a very large frame is kept for the next one, but not filled with small frames, which would pin it.
        let fits =
            |allocated: usize| allocated >= goal && (need > MAX_SEGMENT || allocated <= 2 * MAX_SEGMENT);
        let unread = self.segment.len();
        if fits(self.segment_allocated) {
            let before = self.segment.as_ptr();
            if self.segment.try_reclaim(goal - unread) {
                self.count_move(before, unread);
                self.shared = false;
                return self.align();
            }
        }
        if fits(self.retired_allocated) && self.retired.try_reclaim(goal) {
            return self.change_to_retired();
        }
        if unread > 0 && !self.shared && need > self.segment_allocated {
            // Nobody else refers to the memory: the allocator may be able to extend it where it is.
            let before = self.segment.as_ptr();
            self.segment.reserve(goal - unread);
            self.segment_allocated = self.segment.capacity();
            self.count_move(before, unread);
            return self.align();
        }
        let fresh = lent::take(goal);
        let fresh_allocated = fresh.capacity();
        let old = std::mem::replace(&mut self.retired, fresh);
        let old_allocated = std::mem::replace(&mut self.retired_allocated, fresh_allocated);
        self.change_to_retired();
        // Of the two that are left, the larger one that is not too small for the next time.
        if old_allocated > self.retired_allocated {
            self.retired = old;
            self.retired_allocated = old_allocated;
        }
        if self.retired_allocated < self.segment_len {
            self.retired = BytesMut::new();
            self.retired_allocated = 0;
        }
    }

    /// Goes on in the retired segment, which is unshared, and takes the unread bytes along.
    fn change_to_retired(&mut self) {
        std::mem::swap(&mut self.segment, &mut self.retired);
        std::mem::swap(&mut self.segment_allocated, &mut self.retired_allocated);
        self.segment_number += 1;
        self.shared = false;
        self.align();
        self.segment.extend_from_slice(&self.retired);
        self.copied += self.retired.len() as u64;
        self.retired.clear();
    }

    /// Moves the unread bytes up to the next multiple of 16 in memory.
    fn align(&mut self) {
        let unread = self.segment.len();
        let padding = self.segment.as_ptr().addr().wrapping_neg() % ALIGNMENT;
        if padding == 0 {
            return;
        }
        self.copied += unread as u64;
        if self.segment.capacity() - unread < padding {
            // No room to move within the segment; that cannot happen to segments made here, only to one that the owner overfilled.
            let mut fresh = aligned_memory(unread + MIN_ROOM);
            fresh.extend_from_slice(&self.segment);
            self.segment_allocated = fresh.capacity();
            self.segment_number += 1;
            self.shared = false;
            self.segment = fresh;
            return;
        }
        self.segment.resize(unread + padding, 0);
        self.segment.copy_within(..unread, padding);
        self.segment.advance(padding);
    }

    fn count_move(&mut self, before: *const u8, len: usize) {
        if before != self.segment.as_ptr() {
            self.copied += len as u64;
        }
    }
}

impl Default for RecvBuffer {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for RecvBuffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecvBuffer")
            .field("unread", &self.segment.len())
            .field("wanted", &self.wanted)
            .field("copied", &self.copied)
            .finish_non_exhaustive()
    }
}

/// Whether the last `len` bytes are zero, fewer than all.
#[inline]
fn ends_in_zeros(bytes: &[u8; ALIGNMENT], len: usize) -> bool {
    // As one number: a loop over a few bytes takes as long as reading the header.
    u128::from_be_bytes(*bytes) & ((1 << (8 * len)) - 1) == 0
}

/// Empty memory for at least `len` bytes that starts at a multiple of 16, and that nothing else refers to.
pub(crate) fn aligned_memory(len: usize) -> BytesMut {
    let mut memory = BytesMut::with_capacity(len + ALIGNMENT - 1);
    let padding = memory.as_ptr().addr().wrapping_neg() % ALIGNMENT;
    memory.resize(padding, 0);
    memory.advance(padding);
    memory
}

/// Memory of buffers whose owners wait, per thread: idle connections have none, however many they are.
mod lent {
    use std::cell::RefCell;

    use super::{BytesMut, MAX_SEGMENT};

    /// Segments that are kept.
    const KEEP: usize = 8;

    thread_local! {
        static SEGMENTS: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
    }

    /// Keeps an empty segment.
    pub(super) fn give(segment: BytesMut) {
        // At the end of a thread there is no list, and the segment is dropped with the closure.
        let _ = SEGMENTS.try_with(|segments| {
            let mut segments = segments.borrow_mut();
            if segments.len() < KEEP && segment.capacity() <= 2 * MAX_SEGMENT {
                segments.push(segment);
            }
        });
    }

    /// An empty segment of at least `len` bytes.
    pub(super) fn take(len: usize) -> BytesMut {
        let kept = SEGMENTS.try_with(|segments| {
            let mut segments = segments.borrow_mut();
            let fits = |segment: &BytesMut| (len..=4 * len).contains(&segment.capacity());
            let index = segments.iter().rposition(fits)?;
            Some(segments.swap_remove(index))
        });
        kept.ok()
            .flatten()
            .unwrap_or_else(|| BytesMut::with_capacity(len))
    }
}

/// Alignment of the strictest archive.
pub(crate) const ALIGNMENT: usize = 16;
/// Smallest room for a read.
const MIN_ROOM: usize = 1 << 10;
/// Length of the first segment.
const MIN_SEGMENT: usize = 8 << 10;
/// Length up to which segments grow because their ends cut frames: a tenth of the bytes is moved then, where frames are long.
const MAX_SEGMENT_FOR_CUTS: usize = 64 << 10;
/// Length up to which segments grow with the traffic, and up to which a frame gets room on its own word.
const MAX_SEGMENT: usize = 256 << 10;

const _: () = assert!(HEADER_LEN.is_multiple_of(ALIGNMENT));

#[cfg(test)]
#[path = "buffer_tests.rs"]
mod tests;
