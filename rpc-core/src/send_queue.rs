//! SendQueue: frames waiting to leave, small ones side by side in one buffer, large ones as they are.

use std::collections::VecDeque;
use std::fmt;
use std::io::IoSlice;

use crate::frame_buf::FrameBuf;
use crate::header::{FrameHeader, HEADER_LEN};

/// Frames up to this length are copied behind each other, so that one write carries many; longer ones cost less as a slice of their own.
pub const COALESCE_LEN: usize = 4 << 10;

/// Bytes on their way to the peer.
///
/// Drive it in this order: write [`io_slices`](Self::io_slices), then tell [`advance`](Self::advance) how much the socket took.
#[derive(Default)]
pub struct SendQueue {
    /// Never an empty piece.
    pieces: VecDeque<Piece>,
    /// Bytes of the first piece that have been transmitted; less than its length.
    sent: usize,
    /// Bytes of all pieces that have not been transmitted.
    waiting: usize,
    /// Bytes that have ever been queued.
    enqueued: u64,
    /// Bytes of frames that were copied behind each other.
    copied: u64,
    /// Empty buffers for small frames.
    spare: Vec<Vec<u8>>,
    /// Large frames that have left: memory for the next ones.
    recycled: Vec<FrameBuf>,
    /// Frames that were queued since `recycled` was last of use.
    idle: u32,
}

enum Piece {
    /// Small frames behind each other.
    Small(Vec<u8>),
    /// One frame, finished.
    Large(FrameBuf),
}

impl Piece {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Small(bytes) => bytes,
            Self::Large(frame) => frame.finished(),
        }
    }
}

impl SendQueue {
    /// An empty queue.
    pub fn new() -> Self {
        Self::default()
    }

    /// Queues a frame and leaves an empty one behind, with memory for the next. The length in the header is set from the body.
    pub fn push(&mut self, frame: &mut FrameBuf, header: FrameHeader) {
        frame.flatten();
        let body_len = u32::try_from(frame.body_len()).unwrap_or(u32::MAX);
        frame.finish(FrameHeader { body_len, ..header });
        let bytes = frame.finished();
        if bytes.len() <= COALESCE_LEN {
            self.copied += bytes.len() as u64;
            self.push_bytes(bytes);
            frame.clear();
            self.idle = self.idle.saturating_add(1);
            if self.idle == KEEP_RECYCLED {
                self.recycled = Vec::new();
            }
            return;
        }
        self.count(bytes.len());
        let next = self.recycled.pop().unwrap_or_default();
        self.pieces
            .push_back(Piece::Large(std::mem::replace(frame, next)));
    }

    /// Queues a frame whose body is given. For control frames: the body is copied.
    pub fn push_control(&mut self, header: FrameHeader, body: &[u8]) {
        let body_len = u32::try_from(body.len()).unwrap_or(u32::MAX);
        self.push_bytes(&FrameHeader { body_len, ..header }.encode());
        self.push_bytes(body);
        let padding = body.len().next_multiple_of(HEADER_LEN) - body.len();
        self.push_bytes([0; HEADER_LEN].get(..padding).unwrap_or_default());
    }

    /// Queues bytes as they are, such as the preface.
    pub fn push_bytes(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.count(bytes.len());
        match self.pieces.back_mut() {
            Some(Piece::Small(last)) if last.len() + bytes.len() <= PIECE_LEN => {
                last.extend_from_slice(bytes)
            }
            Some(Piece::Small(_) | Piece::Large(_)) | None => {
                let mut piece = self.spare.pop().unwrap_or_default();
                piece.extend_from_slice(bytes);
                self.pieces.push_back(Piece::Small(piece));
            }
        }
    }

    /// Fills `slices` with what one vectored write may carry, from the front, and returns how many are filled.
    pub fn io_slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut sent = self.sent;
        let mut count = 0;
        for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
            *slice = IoSlice::new(piece.bytes().get(sent..).unwrap_or_default());
            sent = 0;
            count += 1;
        }
        count
    }

    /// Takes note that `len` bytes from the front were written. More than are waiting count as all.
    pub fn advance(&mut self, len: usize) {
        debug_assert!(
            len <= self.waiting,
            "{len} bytes written of {} waiting",
            self.waiting
        );
        let len = len.min(self.waiting);
        self.waiting -= len;
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
                Some(Piece::Large(mut frame)) => {
                    frame.clear();
                    self.recycle(frame);
                }
                Some(Piece::Small(_)) | None => {}
            }
        }
    }

    /// Bytes that are waiting.
    pub fn len(&self) -> usize {
        self.waiting
    }

    /// Whether nothing is waiting.
    pub fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// Bytes that have ever been queued: the offset in the stream at which the next frame will start.
    pub fn enqueued(&self) -> u64 {
        self.enqueued
    }

    /// Bytes of frames that were copied into the coalescing buffers since the start.
    pub fn copied_bytes(&self) -> u64 {
        self.copied
    }

    /// Bytes that have ever been written. A frame that ends behind this offset has not left whole.
    pub fn transmitted(&self) -> u64 {
        self.enqueued - self.waiting as u64
    }

    /// Gives back memory that nothing is waiting in.
    pub fn release(&mut self) {
        self.spare = Vec::new();
        self.recycled = Vec::new();
        if self.pieces.is_empty() {
            self.pieces = VecDeque::new();
        }
    }

    /// Keeps the memory of a large frame for the next ones: always of one, of more as long as they are small together.
    fn recycle(&mut self, frame: FrameBuf) {
        self.idle = 0;
        let kept: usize = self.recycled.iter().map(FrameBuf::capacity).sum();
        if self.recycled.is_empty() || kept + frame.capacity() <= KEEP_RECYCLED_LEN {
            self.recycled.push(frame);
        }
    }

    fn count(&mut self, len: usize) {
        self.waiting += len;
        self.enqueued += len as u64;
    }
}

impl fmt::Debug for SendQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendQueue")
            .field("waiting", &self.waiting)
            .field("enqueued", &self.enqueued)
            .finish_non_exhaustive()
    }
}

/// Length up to which small frames are put behind each other. One write seldom takes more.
const PIECE_LEN: usize = 64 << 10;
/// Buffers for small frames that are kept: one that is being written, one that is being filled, and two between large frames.
const KEEP_SPARE: usize = 4;
/// Memory of large frames that is kept, in bytes, beyond that of one.
const KEEP_RECYCLED_LEN: usize = 256 << 10;
/// Small frames after which the memory of the last large one is given back.
const KEEP_RECYCLED: u32 = 256;

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::header::Kind;
    use crate::id::CallId;

    fn push(queue: &mut SendQueue, frame: &mut FrameBuf, body: &[u8]) {
        frame.extend(body);
        queue.push(frame, FrameHeader::new(Kind::Reply, CallId(3)));
        assert_eq!(frame.body_len(), 0, "an empty frame is left behind");
    }

    fn on_the_wire(body: &[u8]) -> Vec<u8> {
        let body_len = body.len().try_into().unwrap();
        let mut bytes = FrameHeader {
            body_len,
            ..FrameHeader::new(Kind::Reply, CallId(3))
        }
        .encode()
        .to_vec();
        bytes.extend(body);
        bytes.resize(bytes.len().next_multiple_of(16), 0);
        bytes
    }

    /// What a socket that takes at most `limit` bytes is given.
    fn write(queue: &mut SendQueue, slice_count: usize, limit: usize) -> Vec<u8> {
        let mut slices = vec![IoSlice::new(&[]); slice_count];
        let count = queue.io_slices(&mut slices);
        let mut bytes: Vec<u8> = slices[..count]
            .iter()
            .flat_map(|slice| slice.iter().copied())
            .collect();
        assert_eq!(bytes.is_empty(), queue.is_empty());
        bytes.truncate(limit);
        queue.advance(bytes.len());
        bytes
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]

        #[test]
        fn any_partial_writes_yield_the_bytes_that_were_queued(
            steps in vec(
                (prop_oneof![3 => 0..100_usize, 2 => 10_000..20_000_usize, 1 => 20_000..90_000_usize],
                 any::<bool>(), 1..5_usize, prop_oneof![0..50_usize, 0..100_000_usize]),
                1..40,
            ),
        ) {
            let mut queue = SendQueue::new();
            let mut frame = FrameBuf::new();
            let mut expected = Vec::new();
            let mut written = Vec::new();
            for (step, (len, control, slice_count, limit)) in steps.into_iter().enumerate() {
                let body: Vec<u8> = (step..).take(len).map(|byte| byte.to_le_bytes()[0]).collect();
                if control {
                    queue.push_control(FrameHeader::new(Kind::Reply, CallId(3)), &body);
                } else {
                    push(&mut queue, &mut frame, &body);
                }
                expected.extend(on_the_wire(&body));
                written.extend(write(&mut queue, slice_count, limit));
                prop_assert_eq!(queue.enqueued(), expected.len() as u64);
                prop_assert_eq!(queue.transmitted(), written.len() as u64);
                prop_assert_eq!(queue.len(), expected.len() - written.len());
            }
            while !queue.is_empty() {
                written.extend(write(&mut queue, 2, 30_000));
            }
            prop_assert!(written == expected);
            prop_assert!(queue.pieces.is_empty() && queue.sent == 0);
        }
    }

    #[test]
    fn small_frames_leave_in_one_slice_and_reuse_their_memory() {
        let mut queue = SendQueue::new();
        let mut frame = FrameBuf::new();
        let mut start = None;
        for _ in 0..100 {
            for _ in 0..20 {
                push(&mut queue, &mut frame, &[7; 64]);
            }
            let mut slices = [IoSlice::new(&[]); 4];
            assert_eq!(queue.io_slices(&mut slices), 1);
            assert_eq!(*start.get_or_insert(slices[0].as_ptr()), slices[0].as_ptr());
            queue.advance(queue.len());
        }
    }

    #[test]
    fn a_large_frame_is_not_copied_and_its_memory_comes_back() {
        let mut queue = SendQueue::new();
        let mut frame = FrameBuf::new();
        frame.extend(&[1; COALESCE_LEN]);
        let memory = frame.body().as_ptr();
        push(&mut queue, &mut frame, &[]);
        let mut slices = [IoSlice::new(&[]); 1];
        queue.io_slices(&mut slices);
        assert_eq!(slices[0][HEADER_LEN..].as_ptr(), memory);
        queue.advance(queue.len());
        // The buffer that has left is handed out for the frame after the next large one.
        push(&mut queue, &mut frame, &[2; COALESCE_LEN]);
        assert_eq!(frame.body().as_ptr(), memory);
    }

    #[test]
    fn memory_of_large_frames_is_given_back_when_only_small_ones_follow() {
        let mut queue = SendQueue::new();
        let mut frame = FrameBuf::new();
        push(&mut queue, &mut frame, &[1; 1 << 20]);
        queue.advance(queue.len());
        assert!(!queue.recycled.is_empty());
        for _ in 0..KEEP_RECYCLED {
            push(&mut queue, &mut frame, &[1; 64]);
            queue.advance(queue.len());
        }
        assert!(queue.recycled.is_empty());
        queue.release();
        assert_eq!(
            queue.spare.capacity() + queue.recycled.capacity() + queue.pieces.capacity(),
            0
        );
    }
}
