//! SendQueue: frames waiting to leave, and in which order they do.

use std::fmt;
use std::io::IoSlice;

use crate::bulk::Bulks;
pub use crate::bulk::{Aborted, CHUNK_LEN, Progress};
use crate::frame_buf::FrameBuf;
use crate::header::FrameHeader;
use crate::id::CallId;
pub use crate::pieces::COALESCE_LEN;
use crate::pieces::Pieces;
use crate::rarity::Rarity;

/// Bytes on their way to the peer.
///
/// Drive it in this order: write [`io_slices`](Self::io_slices), then tell [`advance`](Self::advance) how much the socket took.
///
/// What is **committed** has its place in the stream and leaves in order. A frame is committed by its [`push`](Self::push), but for two sorts: a bulk, whose body is longer
/// than the peer takes in one frame, is committed chunk by chunk as bytes leave, in turn with other bulks, so that it holds nobody up; and
/// what follows a bulk in the same call is committed behind its last chunk. [`take_progress`](Self::take_progress) tells how far these have come.
#[derive(Default)]
pub struct SendQueue {
    /// What is committed.
    pieces: Pieces,
    /// What is not.
    bulks: Bulks,
    /// Offset in the stream behind the last chunk; before the first one, that at which it could have been.
    last_chunk: u64,
    /// Chunks in a row, with nothing else committed between them.
    undisturbed: u32,
    rarity: Rarity,
}

/// Bytes that are not worth a write of their own, such as the first ones of a body, or what the socket left of a chunk: they leave with the next chunk.
const REST_LEN: usize = CHUNK_LEN / 4;
/// After how many chunks without another frame between them they double in length, and how often.
const CALM_CHUNKS: u32 = 32;
const DOUBLINGS: u32 = 2;
/// Where short frames are rare, what is committed leaves in fewer and longer writes: a MiB, as much as the kernel's buffers take at once.
const BULK_READY: usize = 3 * (CHUNK_LEN << DOUBLINGS);

impl SendQueue {
    /// An empty queue.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets what the peer accepts: the longest body of one frame, and the sum of the bodies that have begun and not ended. To be called once, when the peer has told;
    /// until then no body is cut.
    pub fn set_limits(&mut self, max_frame: u32, max_incomplete: u64) {
        self.bulks.set_limits(max_frame, max_incomplete);
    }

    /// Queues a frame and leaves an empty one behind, with memory for the next. The length in the header is set from the body.
    ///
    /// Returns the offset in the stream at which the frame ends; none if it is cut or has to wait, and [`take_progress`](Self::take_progress) will tell.
    pub fn push(&mut self, frame: &mut FrameBuf, header: FrameHeader) -> Option<u64> {
        let end = self.push_kept(frame, header);
        frame.clear();
        end
    }

    /// Does what [`push`](Self::push) does, but a frame that is copied, which is one of at most [`COALESCE_LEN`], stays as it was.
    pub fn push_kept(&mut self, frame: &mut FrameBuf, header: FrameHeader) -> Option<u64> {
        let body_len = frame.body_len();
        if !self.bulks.takes(header.call, body_len) {
            self.pieces.push_frame(frame, header);
            let end = self.pieces.enqueued;
            self.undisturbed = 0;
            self.rarity.frame(body_len, !self.bulks.is_empty());
            self.commit();
            return Some(end);
        }
        if self.bulks.is_empty() {
            self.last_chunk = self.pieces.enqueued;
        }
        let next = self.pieces.take_memory();
        self.bulks.push(std::mem::replace(frame, next), header);
        self.commit();
        None
    }

    /// Queues a frame whose body is given. For control frames: the body is copied, and the frame waits for no other of its call.
    pub fn push_control(&mut self, header: FrameHeader, body: &[u8]) {
        self.pieces.push_copied(header, body);
        self.undisturbed = 0;
        self.rarity.short(!self.bulks.is_empty());
        self.commit();
    }

    /// Queues bytes as they are, such as the preface.
    pub fn push_bytes(&mut self, bytes: &[u8]) {
        self.pieces.push_bytes(bytes);
        self.commit();
    }

    /// Drops what of a call is not committed: the rest of a bulk, and what follows it.
    ///
    /// After [`Aborted::Partly`] the peer has to be told, with the next frame that is pushed and before bytes are written again: room for other bodies is
    /// only there once the peer knows that this one has ended.
    pub fn abort(&mut self, call: CallId) -> Aborted {
        self.bulks.abort(call, &mut self.pieces)
    }

    /// Whether frames of a call are not committed, or not to their end.
    pub fn is_waiting(&self, call: CallId) -> bool {
        self.bulks.has(call)
    }

    /// The next news of frames whose [`push`](Self::push) returned no offset: of each that it has begun and that it has finished, unless it is aborted before.
    pub fn take_progress(&mut self) -> Option<Progress> {
        self.bulks.take_progress()
    }

    /// Fills `slices` with what one vectored write may carry, from the front, and returns how many are filled: none only if the queue is empty.
    pub fn io_slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        self.pieces.io_slices(slices)
    }

    /// Takes note that `len` bytes from the front were written. More than are waiting count as all.
    pub fn advance(&mut self, len: usize) {
        self.pieces.advance(len);
        self.commit();
    }

    /// Bytes that are waiting: those that are committed, and frames that are not, without the headers of chunks that are still to be made.
    pub fn len(&self) -> usize {
        self.pieces.unsent + self.bulks.pending()
    }

    /// Bytes that are waiting, without those of the one call that has the longest body under way: what is counted against a limit that a single body may exceed.
    pub fn burden(&self) -> usize {
        self.len() - self.bulks.longest()
    }

    /// Whether nothing is waiting.
    pub fn is_empty(&self) -> bool {
        self.pieces.unsent == 0 && self.bulks.is_empty()
    }

    /// Bytes that are committed and have not been written.
    pub fn committed_len(&self) -> usize {
        self.pieces.unsent
    }

    /// Whether nothing but bulks has had anything to send for a while. What is committed is theirs then, in longer chunks than otherwise.
    pub fn is_calm(&self) -> bool {
        self.undisturbed >= CALM_CHUNKS
    }

    /// Whether nothing but long frames has been sent for so long that short ones are rare.
    pub fn is_bulk_only(&self) -> bool {
        self.rarity.is_rare()
    }

    /// Bytes that have ever been committed: the offset in the stream at which the next frame will start.
    pub fn enqueued(&self) -> u64 {
        self.pieces.enqueued
    }

    /// Bytes of frames that were copied into the coalescing buffers since the start.
    pub fn copied_bytes(&self) -> u64 {
        self.pieces.copied
    }

    /// Bytes that have ever been written. A frame that ends behind this offset has not left whole.
    pub fn transmitted(&self) -> u64 {
        self.pieces.enqueued - self.pieces.unsent as u64
    }

    /// Gives back memory that nothing is waiting in.
    pub fn release(&mut self) {
        self.pieces.release();
        self.bulks.release();
    }

    /// Commits chunks: one when no more is left to write than leaves together with it ([`REST_LEN`], or [`BULK_READY`]), and one for every [`CHUNK_LEN`] bytes of other frames, which could otherwise keep bulks back for good.
    fn commit(&mut self) {
        while !self.bulks.is_empty() && (self.pieces.unsent <= self.ready_len() || self.is_chunk_due()) {
            // Where nobody else has had anything to send for a while, nobody waits for a longer chunk.
            let chunk_len = CHUNK_LEN << (self.undisturbed / CALM_CHUNKS).min(DOUBLINGS);
            self.undisturbed = self.undisturbed.saturating_add(1);
            let before = self.pieces.enqueued;
            if !self.bulks.commit_next(&mut self.pieces, chunk_len) {
                debug_assert!(false, "a bulk that is never active");
                return;
            }
            self.rarity.long(self.pieces.enqueued - before);
            self.last_chunk = self.pieces.enqueued;
        }
    }

    /// How much may be committed when the next chunk is.
    fn ready_len(&self) -> usize {
        if self.is_calm() && self.is_bulk_only() {
            BULK_READY
        } else {
            REST_LEN
        }
    }

    fn is_chunk_due(&self) -> bool {
        self.pieces.enqueued - self.last_chunk >= CHUNK_LEN as u64
    }
}

impl fmt::Debug for SendQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendQueue")
            .field("committed", &self.pieces.unsent)
            .field("pending", &self.bulks.pending())
            .field("enqueued", &self.pieces.enqueued)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "send_queue_tests.rs"]
mod tests;
