//! Pieces: bytes whose place in the stream is settled, as slices for vectored writes.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::Arc;

use crate::bulk::{Part, Parts};
use crate::frame_buf::FrameBuf;
use crate::header::{FrameHeader, HEADER_LEN};

/// Frames up to this length are copied behind each other, so that one write carries many; longer ones cost less as a slice of their own.
pub const COALESCE_LEN: usize = 4 << 10;

// A frame is this long with its padding if and only if it is without.
const _: () = assert!(COALESCE_LEN.is_multiple_of(HEADER_LEN));

/// What is committed to the stream, first in, first out: small frames side by side in one buffer, large ones as they are.
#[derive(Default)]
pub(crate) struct Pieces {
    /// Never an empty piece.
    pub(crate) pieces: VecDeque<Piece>,
    /// Bytes of the first piece that have been transmitted; less than its length.
    pub(crate) sent: usize,
    /// Bytes of all pieces that have not been transmitted.
    pub(crate) unsent: usize,
    /// Bytes that have ever been committed.
    pub(crate) enqueued: u64,
    /// Bytes of frames that were copied behind each other.
    pub(crate) copied: u64,
    /// Empty buffers for small frames.
    pub(crate) spare: Vec<Vec<u8>>,
    /// Large frames that have left: memory for the next ones.
    pub(crate) recycled: Vec<FrameBuf>,
    /// Frames that were queued since `recycled` was last of use.
    idle: u32,
}

pub(crate) enum Piece {
    /// Small frames behind each other.
    Small(Vec<u8>),
    /// One frame, finished.
    Large(FrameBuf),
    /// Part of a frame.
    Part(Part),
}

impl Piece {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Small(bytes) => bytes,
            Self::Large(frame) => frame.finished(),
            Self::Part(part) => part.bytes(),
        }
    }
}

impl Pieces {
    /// Commits a whole frame. The length in the header is set from the body. A small one is copied and stays as it was, for a large one an empty one is left, with memory for the
    /// next.
    pub(crate) fn push_frame(&mut self, frame: &mut FrameBuf, header: FrameHeader) {
        if !self.copy_small(frame, header) {
            let next = self.take_memory();
            self.push_large(std::mem::replace(frame, next), header);
        }
    }

    /// Commits a whole frame that nobody else has a use for.
    pub(crate) fn push_owned(&mut self, frame: FrameBuf, header: FrameHeader) {
        if !self.copy_small(&frame, header) {
            self.push_large(frame, header);
        }
    }

    /// Commits a frame whose body is copied. The length in the header is set from it.
    #[inline]
    pub(crate) fn push_copied(&mut self, header: FrameHeader, body: &[u8]) {
        let body_len = u32::try_from(body.len()).unwrap_or(u32::MAX);
        let len = HEADER_LEN + body.len().next_multiple_of(HEADER_LEN);
        self.count(len);
        let piece = self.small_piece(len);
        // Room for a whole unit of padding: to store one of known length and cut it costs less than to fill the rest.
        piece.reserve(len + HEADER_LEN);
        let end = piece.len() + len;
        piece.extend_from_slice(&FrameHeader { body_len, ..header }.encode());
        piece.extend_from_slice(body);
        piece.extend_from_slice(&[0; HEADER_LEN]);
        piece.truncate(end);
    }

    /// The piece that takes the next `len` bytes of small frames.
    #[inline]
    fn small_piece(&mut self, len: usize) -> &mut Vec<u8> {
        let has_room =
            matches!(self.pieces.back(), Some(Piece::Small(last)) if last.len() + len <= PIECE_LEN);
        if !has_room {
            let piece = self.spare.pop().unwrap_or_default();
            self.pieces.push_back(Piece::Small(piece));
        }
        match self.pieces.back_mut() {
            Some(Piece::Small(piece)) => piece,
            Some(Piece::Large(_) | Piece::Part(_)) | None => unreachable!("a small piece is the last one"),
        }
    }

    /// Commits bytes, which are copied.
    pub(crate) fn push_bytes(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.count(bytes.len());
        self.small_piece(bytes.len()).extend_from_slice(bytes);
    }

    /// Commits the next `len` bytes of a frame that is cut, and returns how many of them there were not.
    pub(crate) fn push_parts(&mut self, parts: &mut Parts, mut len: usize) -> usize {
        while let Some(part) = parts.next(len) {
            len -= part.bytes().len();
            self.count(part.bytes().len());
            self.pieces.push_back(Piece::Part(part));
        }
        len
    }

    /// An empty frame, with the memory of one that has left if there is some.
    pub(crate) fn take_memory(&mut self) -> FrameBuf {
        self.recycled.pop().unwrap_or_default()
    }

    pub(crate) fn io_slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut sent = self.sent;
        let mut count = 0;
        for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
            *slice = IoSlice::new(piece.bytes().get(sent..).unwrap_or_default());
            sent = 0;
            count += 1;
        }
        count
    }

    pub(crate) fn advance(&mut self, len: usize) {
        debug_assert!(
            len <= self.unsent,
            "{len} bytes written of {} waiting",
            self.unsent
        );
        let len = len.min(self.unsent);
        self.unsent -= len;
        self.sent += len;
        while let Some(front) = self.pieces.front() {
            let front_len = front.bytes().len();
            if self.sent < front_len {
                break;
            }
            self.sent -= front_len;
            match self.pieces.pop_front() {
                Some(Piece::Small(mut bytes)) if self.spare.len() < KEEP_SPARE => {
                    bytes.clear();
                    self.spare.push(bytes);
                }
                Some(Piece::Large(frame)) => self.recycle(frame),
                // The last part of a frame that leaves has its memory to itself.
                Some(Piece::Part(Part::Own { memory, .. })) => {
                    if let Some(frame) = Arc::into_inner(memory) {
                        self.recycle(frame);
                    }
                }
                Some(Piece::Small(_) | Piece::Part(Part::Attached(_))) | None => {}
            }
        }
    }

    /// Gives back memory that nothing is waiting in.
    pub(crate) fn release(&mut self) {
        self.spare = Vec::new();
        self.recycled = Vec::new();
        if self.pieces.is_empty() {
            self.pieces = VecDeque::new();
        }
    }

    /// Keeps the memory of a large frame for the next ones: always of one, of more as long as they are small together.
    pub(crate) fn recycle(&mut self, mut frame: FrameBuf) {
        if frame.capacity() <= COALESCE_LEN {
            // What was long about it was attached. In the list it would take the place of memory that costs something.
            return;
        }
        frame.clear();
        self.idle = 0;
        let kept: usize = self.recycled.iter().map(FrameBuf::capacity).sum();
        if self.recycled.is_empty() || kept + frame.capacity() <= KEEP_RECYCLED_LEN {
            self.recycled.push(frame);
        }
    }

    /// Commits a copy of a frame, if it is small.
    #[inline]
    fn copy_small(&mut self, frame: &FrameBuf, header: FrameHeader) -> bool {
        if HEADER_LEN + frame.body_len() > COALESCE_LEN || frame.has_attachments() {
            return false;
        }
        let before = self.enqueued;
        self.push_copied(header, frame.body());
        self.copied += self.enqueued - before;
        self.idle = self.idle.saturating_add(1);
        if self.idle == KEEP_RECYCLED {
            self.recycled = Vec::new();
        }
        true
    }

    /// Commits a frame from where it is.
    fn push_large(&mut self, mut frame: FrameBuf, header: FrameHeader) {
        let body_len = u32::try_from(frame.body_len()).unwrap_or(u32::MAX);
        frame.finish(FrameHeader { body_len, ..header });
        if frame.has_attachments() {
            self.push_parts(&mut Parts::new(frame), usize::MAX);
        } else {
            self.count(frame.finished().len());
            self.pieces.push_back(Piece::Large(frame));
        }
    }

    fn count(&mut self, len: usize) {
        self.unsent += len;
        self.enqueued += len as u64;
    }
}

/// Length up to which small frames are put behind each other. One write seldom takes more.
const PIECE_LEN: usize = 64 << 10;
/// Buffers for small frames that are kept: one that is being written, one that is being filled, and two between large frames.
const KEEP_SPARE: usize = 4;
/// Memory of large frames that is kept, in bytes, beyond that of one.
const KEEP_RECYCLED_LEN: usize = 256 << 10;
/// Small frames after which the memory of the last large one is given back.
pub(crate) const KEEP_RECYCLED: u32 = 256;
