//! Inbox: frames of the peer, and bodies that arrive in chunks, each read from the socket straight into the memory it stays in.

use std::time::Instant;

use bytes::buf::Limit;
use bytes::{BufMut, Bytes, BytesMut};

use crate::archive::aligned_copy;
use crate::buffer::{ALIGNMENT, RecvBuffer, aligned_memory};
use crate::error::DecodeError;
use crate::header::{Flags, FrameHeader, HEADER_LEN, Kind};
use crate::id::CallId;
use crate::rarity::Rarity;
use crate::spent::{Bodies, Spent};

/// What has arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// The header of a frame that is no chunk. It may be the first one of a body that goes on in chunks. Nothing else comes before the owner has
    /// [taken](Inbox::take_body) its body.
    Frame(FrameHeader),
    /// All of a body that was announced with [`begin`](Inbox::begin).
    Body {
        /// Its call.
        call: CallId,
        /// The body, what [`begin`](Inbox::begin) was given included, starting at a multiple of 16 in memory.
        body: Bytes,
    },
    /// A body that was discarded has come to its end.
    Dropped {
        /// The call that it belongs to.
        call: CallId,
    },
    /// A chunk for a call that has no incomplete body. It was dropped.
    Stray(FrameHeader),
    /// A chunk that is empty, so that it makes no progress, or longer than what its body lacks. It stays where it is: nothing else follows.
    Misfit {
        /// Its header.
        header: FrameHeader,
        /// How many bytes the body lacked.
        missing: usize,
    },
}

/// Bytes from the peer, on their way to becoming frames and chunked bodies.
///
/// Drive it like a [`RecvBuffer`]: read into [`spare`](Self::spare), then take [`next`](Self::next) until there is none. Frames are counted references
/// to the receive memory. A body that arrives in chunks has memory of its own, which grows with what has arrived, whatever was announced. While a chunk of
/// some length is incomplete, [`spare`](Self::spare) is the body's memory, so its bytes are not copied.
///
/// Such a read takes the padding and the next frame's header along: then a body in large chunks costs one read per chunk, and none of them brings bytes of a
/// chunk to where they would have to be moved from.
#[derive(Default)]
pub struct Inbox {
    buffer: RecvBuffer,
    /// Incomplete bodies. They are few: every one holds a call, and lacks more than a frame of the sum that the owner allows.
    bodies: Vec<Body>,
    /// The chunk whose header was taken from the buffer. All of what follows in the buffer belongs to it, as long as it is incomplete.
    reading: Option<Reading>,
    /// Whether a large chunk is likely to be next, of which as little as possible shall be read into the buffer.
    chunk_expected: bool,
    /// The first frame of a body in chunks does not count.
    rarity: Rarity,
    copied: u64,
    spent: Spent,
}

impl Inbox {
    /// An empty inbox; memory is taken by the first [`spare`](Self::spare).
    pub fn new() -> Self {
        Self::default()
    }

    /// One that uses the memory of bodies in chunks again once they have been dropped: of the last one, and of others as long as they are `len` bytes together. The first touch of
    /// new memory costs more than reading a body into it.
    pub fn recycling(len: usize) -> Self {
        Self {
            spent: Spent::Own(Bodies::default(), len),
            ..Self::default()
        }
    }

    /// From now on it uses memory of long bodies again that were dropped, those of all inboxes of its thread that do: of 16 to 64 MiB each, and up to 64 MiB together.
    pub fn share(&mut self) {
        self.spent = Spent::Shared;
    }

    /// Room for the next read, never none: as a rule the receive buffer's, and while a chunk is being read, its body's.
    ///
    /// The owner appends at most as much as the limit says. Whatever it appends is understood, but within the limit nothing is allocated.
    pub fn spare(&mut self) -> Limit<&mut BytesMut> {
        self.settle();
        let mut most = usize::MAX;
        if let Some(reading) = self.reading.as_ref().filter(|reading| !reading.is_done()) {
            let rest = reading.missing + reading.padding;
            let body = self.bodies.iter_mut().find(|body| body.call == reading.call);
            if let Some((memory, total)) = body.and_then(Body::memory) {
                return spare_of(memory, rest + HEADER_LEN, total);
            }
            // The rest of a chunk that nobody wants: what follows it shall start at a multiple of 16.
            most = rest;
        } else if self.chunk_expected {
            let lacking = self.buffer.expected().saturating_sub(self.buffer.unread().len());
            most = (lacking + HEADER_LEN).max(ROOM_BEFORE_CHUNK);
        }
        let segment = self.buffer.spare();
        let room = segment.capacity() - segment.len();
        segment.limit(room.min(most))
    }

    /// The next thing that has arrived whole.
    ///
    /// # Errors
    ///
    /// [`DecodeError`], which is final; see [`RecvBuffer::next_frame`].
    #[inline]
    pub fn next(&mut self, max_frame: u32) -> Result<Option<Received>, DecodeError> {
        if (self.reading.is_some() || !self.bodies.is_empty())
            && let Some(turn) = self.next_chunk(max_frame)?
        {
            return Ok(turn);
        }
        let Some(header) = self.buffer.front(max_frame)? else {
            return Ok(None);
        };
        self.chunk_expected = false;
        if header.kind == Kind::Chunk {
            self.take_body(&header);
            return Ok(Some(Received::Stray(header)));
        }
        Ok(Some(Received::Frame(header)))
    }

    /// Takes the frame that [`next`](Self::next) has found, and returns its body, which starts at a multiple of 16 in memory and shares the receive memory.
    #[inline]
    pub fn take_body(&mut self, header: &FrameHeader) -> Bytes {
        if !header.flags.contains(Flags::CHUNKED) {
            let len = header.body_len as usize;
            self.rarity.frame(len, !self.bodies.is_empty());
        }
        self.buffer.take_body(header)
    }

    /// Goes on with bodies in chunks, if that is what has arrived. None if something else is next.
    fn next_chunk(&mut self, max_frame: u32) -> Result<Option<Option<Received>>, DecodeError> {
        loop {
            self.settle();
            if let Some(reading) = self.reading.take_if(|reading| reading.is_done()) {
                if !reading.clean {
                    return Err(DecodeError::PaddingNotZero { kind: Kind::Chunk });
                }
                if let Some(body) = self.take_complete(reading.call) {
                    return Ok(Some(Some(body)));
                }
            }
            if self.reading.is_some() {
                return Ok(Some(None));
            }
            let Some((header, missing)) = self.chunk_at_front(max_frame)? else {
                return Ok(None);
            };
            let len = header.body_len as usize;
            if len == 0 || len > missing {
                return Ok(Some(Some(Received::Misfit { header, missing })));
            }
            if !self.takes_at_once(&header) {
                return Ok(None);
            }
            self.buffer.consume(HEADER_LEN);
            self.rarity.long(len as u64);
            self.reading = Some(Reading::new(&header));
        }
    }

    /// Announces that the rest of a body follows in chunks: `first` is what its first frame carried, `total` its whole length.
    ///
    /// The owner has checked that `total` is more than that, that it and the sum of all totals are within the limits, and that the call has no other incomplete
    /// body.
    pub fn begin(&mut self, call: CallId, first: &[u8], total: u32) {
        let total = total as usize;
        debug_assert!(total > first.len() && !self.is_incomplete(call));
        self.copied += first.len() as u64;
        self.chunk_expected = first.len() >= DIRECT;
        let mut memory = self
            .spent
            .take(total + BEHIND)
            .unwrap_or_else(|| first_memory(first.len(), total));
        memory.extend_from_slice(first);
        self.bodies.push(Body {
            call,
            memory: Some(memory),
            arrived: first.len(),
            total,
        });
    }

    /// Goes on taking the chunks of a body, without keeping them: its memory is given back, and in the end it will be [`Received::Dropped`].
    pub fn discard(&mut self, call: CallId) {
        if self.bodies.is_empty() {
            return;
        }
        self.settle();
        if let Some(body) = self.bodies.iter_mut().find(|body| body.call == call) {
            body.memory = None;
        }
    }

    /// Forgets a body of which nothing more follows. Whether there was one.
    ///
    /// What is left of a chunk that has arrived in part is taken all the same.
    pub fn abandon(&mut self, call: CallId) -> bool {
        self.settle();
        let position = self.bodies.iter().position(|body| body.call == call);
        position
            .map(|position| self.bodies.swap_remove(position))
            .is_some()
    }

    /// Whether nothing but long frames has arrived for so long that short ones are rare.
    pub fn is_bulk_only(&self) -> bool {
        self.rarity.is_rare()
    }

    /// Whether chunks of a body of that call are to come.
    pub fn is_incomplete(&self, call: CallId) -> bool {
        self.bodies.iter().any(|body| body.call == call)
    }

    /// Sum of the lengths of the incomplete bodies, those included that are discarded.
    pub fn announced(&self) -> u64 {
        self.bodies.iter().map(|body| body.total as u64).sum()
    }

    /// How many bytes of incomplete bodies are held.
    pub fn arrived(&self) -> usize {
        let kept = self.bodies.iter().filter(|body| body.memory.is_some());
        kept.map(|body| body.arrived).sum()
    }

    /// How many bytes of incomplete bodies are still to come, of those included that are discarded.
    pub fn missing(&self) -> u64 {
        let missing = self.bodies.iter().map(|body| body.total - body.arrived);
        missing.map(|len| len as u64).sum()
    }

    /// How much memory incomplete bodies have: up to twice as much as has arrived of them, or as much as will, where it is used again.
    pub fn bodies_memory(&self) -> usize {
        let memory = self.bodies.iter().filter_map(|body| body.memory.as_ref());
        memory.map(BytesMut::capacity).sum()
    }

    /// The memory that the last frame's body is in; see [`RecvBuffer::segment`].
    pub fn segment(&self) -> (u64, usize) {
        self.buffer.segment()
    }

    /// Whether [`next`](Self::next) may find something before more bytes have come.
    pub(crate) fn may_have_more(&self) -> bool {
        self.reading.is_some() || self.buffer.unread().len() >= HEADER_LEN
    }

    /// The bytes in the receive buffer that are not handed out yet. Those of a chunk that is being read are not among them.
    pub fn unread(&self) -> &[u8] {
        self.buffer.unread()
    }

    /// Takes bytes that are no frame, such as the preface, from the front.
    pub fn consume(&mut self, len: usize) {
        self.buffer.consume(len);
    }

    /// How many bytes of the incomplete frame at the front have arrived.
    pub fn received(&self) -> usize {
        match &self.reading {
            Some(reading) => reading.frame_len - reading.missing - reading.padding,
            None => self.buffer.unread().len(),
        }
    }

    /// Length of the incomplete frame at the front, or of its header while that is incomplete.
    pub fn expected(&self) -> usize {
        match &self.reading {
            Some(reading) => reading.frame_len,
            None => self.buffer.expected(),
        }
    }

    /// Lends receive memory in which nothing is to other connections of this thread, see [`RecvBuffer::rest`], and lets go of [shared](Self::share) memory that nobody has
    /// used for ten seconds.
    pub fn rest(&mut self, now: Instant) {
        if self.reading.is_none() {
            self.buffer.rest();
        }
        self.spent.rest(now);
    }

    /// Gives the memory back that holds nothing.
    pub fn release(&mut self) {
        self.settle();
        self.buffer.release();
        self.spent.release();
        if self.bodies.is_empty() {
            self.bodies = Vec::new();
        }
    }

    /// How many bytes have been moved from where they had been read to, since the start. What the allocator moves when the memory of a body grows is not
    /// known here: large memory it remaps.
    pub fn copied_bytes(&self) -> u64 {
        self.buffer.copied_bytes() + self.copied
    }

    /// Gives the bytes behind the header of a chunk to where they belong: those that were read into the memory of its body, then those in the buffer.
    fn settle(&mut self) {
        let Self {
            buffer,
            bodies,
            reading: Some(reading),
            copied,
            ..
        } = self
        else {
            return;
        };
        let mut body = bodies.iter_mut().find(|body| body.call == reading.call);
        if let Some(Body {
            memory: Some(memory),
            arrived,
            ..
        }) = &mut body
        {
            let (own, behind) = reading.split(memory.get(*arrived..).unwrap_or_default());
            *arrived += own.len();
            if !behind.is_empty() {
                buffer.spare().extend_from_slice(behind);
                *copied += behind.len() as u64;
            }
            memory.truncate(*arrived);
        }
        let unread = buffer.unread();
        let (own, behind) = reading.split(unread);
        if let Some(body) = body {
            body.arrived += own.len();
            if let Some((memory, total)) = body.memory() {
                make_room(memory, own.len(), total);
                memory.extend_from_slice(own);
                *copied += own.len() as u64;
            }
        }
        let taken = unread.len() - behind.len();
        buffer.consume(taken);
    }

    /// The header of the next frame, if that is a chunk of an incomplete body, and how many bytes that lacks.
    fn chunk_at_front(&self, max_frame: u32) -> Result<Option<(FrameHeader, usize)>, DecodeError> {
        if self.bodies.is_empty() {
            return Ok(None);
        }
        let Some(bytes) = self.buffer.unread().first_chunk() else {
            return Ok(None);
        };
        let header = FrameHeader::decode(bytes, max_frame)?;
        let body = self.bodies.iter().find(|body| body.call == header.call);
        Ok(body
            .filter(|_| header.kind == Kind::Chunk)
            .map(|body| (header, body.total - body.arrived)))
    }

    /// Whether the chunk at the front is taken from the buffer now, and not when it has arrived whole.
    fn takes_at_once(&mut self, header: &FrameHeader) -> bool {
        let kept = self
            .bodies
            .iter()
            .any(|body| body.call == header.call && body.memory.is_some());
        let direct = kept && header.body_len as usize >= DIRECT;
        self.chunk_expected = direct;
        direct || self.buffer.unread().len() >= header.frame_len()
    }

    /// Hands over the body of that call, if it has arrived whole.
    fn take_complete(&mut self, call: CallId) -> Option<Received> {
        let is_complete = |body: &Body| body.call == call && body.arrived == body.total;
        let position = self.bodies.iter().position(is_complete)?;
        let Some(memory) = self.bodies.swap_remove(position).memory else {
            return Some(Received::Dropped { call });
        };
        let body = if memory.as_ptr().addr().is_multiple_of(ALIGNMENT) {
            let capacity = memory.capacity();
            let body = memory.freeze();
            self.spent.keep(&body, capacity);
            body
        } else {
            self.copied += memory.len() as u64;
            aligned_copy(&memory)
        };
        Some(Received::Body { call, body })
    }
}

/// Memory for a body of which `arrived` bytes are there: halves of the total, so that memory that doubles comes to be as long as the body, and not up to twice as long.
fn first_memory(arrived: usize, total: usize) -> BytesMut {
    let most = FIRST_MEMORY.max(2 * arrived);
    let mut len = total;
    while len > most {
        len = len.div_ceil(2);
    }
    aligned_memory(len.max(arrived) + BEHIND)
}

impl std::fmt::Debug for Inbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inbox")
            .field("buffer", &self.buffer)
            .field("bodies", &self.bodies.len())
            .field("reading", &self.reading)
            .field("copied", &self.copied)
            .finish_non_exhaustive()
    }
}

/// A body of which chunks are to come.
struct Body {
    call: CallId,
    /// What has arrived, and behind it what was read since the last `settle`. None if the body is discarded.
    memory: Option<BytesMut>,
    arrived: usize,
    total: usize,
}

impl Body {
    /// Its memory, if it is kept, and its length in the end.
    fn memory(&mut self) -> Option<(&mut BytesMut, usize)> {
        self.memory.as_mut().map(|memory| (memory, self.total))
    }
}

/// Room for a read of at most `len` bytes into a body that will be `total` long.
fn spare_of(memory: &mut BytesMut, len: usize, total: usize) -> Limit<&mut BytesMut> {
    // The end of the memory is not worth a read of its own.
    make_room(memory, len.min(DIRECT), total);
    let room = memory.capacity() - memory.len();
    memory.limit(len.min(room))
}

/// Makes room for `len` bytes in a body that will be `total` long. Memory is doubled when it is full, so it is never more than what has arrived justifies.
fn make_room(memory: &mut BytesMut, len: usize, total: usize) {
    let arrived = memory.len();
    if memory.capacity() - arrived < len {
        let goal = (2 * arrived).min(total + BEHIND).max(arrived + len);
        memory.reserve(goal - arrived);
    }
}

/// A chunk frame whose header was taken from the buffer: what its body and its padding lack.
#[derive(Debug)]
struct Reading {
    call: CallId,
    frame_len: usize,
    missing: usize,
    padding: usize,
    /// Whether the padding so far is zero.
    clean: bool,
}

impl Reading {
    fn new(header: &FrameHeader) -> Self {
        let missing = header.body_len as usize;
        Self {
            call: header.call,
            frame_len: header.frame_len(),
            missing,
            padding: header.frame_len() - HEADER_LEN - missing,
            clean: true,
        }
    }

    fn is_done(&self) -> bool {
        self.missing == 0 && self.padding == 0
    }

    /// Splits the next bytes into those of the body and those behind the frame, and takes note of them.
    fn split<'a>(&mut self, bytes: &'a [u8]) -> (&'a [u8], &'a [u8]) {
        let (own, bytes) = bytes.split_at(self.missing.min(bytes.len()));
        self.missing -= own.len();
        let (padding, behind) = bytes.split_at(self.padding.min(bytes.len()));
        self.padding -= padding.len();
        self.clean &= padding.iter().all(|byte| *byte == 0);
        (own, behind)
    }
}

/// Length from which a chunk is read into its body's memory: a read costs about as much as copying a page.
const DIRECT: usize = 4 << 10;
/// Room for what comes before a chunk: its header, and small frames or the first frame of a body. What of the chunk comes along has to be copied.
const ROOM_BEFORE_CHUNK: usize = DIRECT + 2 * HEADER_LEN;
/// What a read into the memory of a body may bring behind the body: padding, and a header.
const BEHIND: usize = ALIGNMENT - 1 + HEADER_LEN;
/// Memory of a body of which little has arrived: 256 KiB, with what is behind it and what alignment takes.
const FIRST_MEMORY: usize = (256 << 10) - BEHIND - (ALIGNMENT - 1);

#[cfg(test)]
#[path = "reassembly_tests/mod.rs"]
mod tests;
