//! Bulk: bodies that are too long for one frame, cut into chunks, and whose chunk is next.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::frame_buf::FrameBuf;
use crate::header::{Flags, FrameHeader, HEADER_LEN, Kind};
use crate::id::CallId;
use crate::pieces::Pieces;

/// Longest piece that a body is cut into. A frame of another call waits for one of them at most, and for what is left of the one before: up to a quarter.
pub const CHUNK_LEN: usize = 64 << 10;

/// What has become of a frame that could not leave with its [`push`](crate::send_queue::SendQueue::push).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Its first bytes have their place in the stream: from now on the peer may see it.
    Begun(CallId, Kind),
    /// Its last bytes have their place in the stream.
    Finished {
        /// The call it belongs to.
        call: CallId,
        /// What it is.
        kind: Kind,
        /// Offset in the stream at which it ends. It has left whole once as many bytes are [transmitted](crate::send_queue::SendQueue::transmitted).
        end: u64,
    },
}

/// How far the frames of a call had come that [`abort`](crate::send_queue::SendQueue::abort) dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aborted {
    /// Nothing of the call was waiting.
    None,
    /// The peer sees nothing of what was dropped.
    Unsent,
    /// The first of them was begun, and the peer waits for the rest until it is told that none comes.
    Partly,
}

/// A finished frame that is handed out piece by piece, without copying.
pub(crate) struct Parts {
    memory: Arc<FrameBuf>,
    /// How much of `memory` was handed out.
    at: usize,
    /// What is still to be inserted, with the offset in `memory`.
    attachments: VecDeque<(usize, Bytes)>,
}

/// A piece of a frame.
pub(crate) enum Part {
    /// Of the memory in which it was built.
    Own {
        memory: Arc<FrameBuf>,
        range: Range<usize>,
    },
    /// Of what is attached to it.
    Attached(Bytes),
}

impl Part {
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Own { memory, range } => memory.finished().get(range.clone()).unwrap_or_default(),
            Self::Attached(bytes) => bytes,
        }
    }
}

impl Parts {
    pub(crate) fn new(mut frame: FrameBuf) -> Self {
        let attachments = frame.take_attachments().into();
        Self {
            memory: Arc::new(frame),
            at: 0,
            attachments,
        }
    }

    /// The next piece, of at most `max` bytes and never empty.
    pub(crate) fn next(&mut self, max: usize) -> Option<Part> {
        if max == 0 {
            return None;
        }
        let end = match self.attachments.front_mut() {
            Some((offset, bytes)) if self.at == *offset => {
                let part = bytes.split_to(max.min(bytes.len()));
                if bytes.is_empty() {
                    self.attachments.pop_front();
                }
                return Some(Part::Attached(part));
            }
            Some((offset, _)) => *offset,
            None => self.memory.finished().len(),
        };
        let start = self.at;
        self.at = end.min(start.saturating_add(max));
        (start < self.at).then(|| Part::Own {
            memory: Arc::clone(&self.memory),
            range: start..self.at,
        })
    }
}

/// Frames that cannot leave yet: bulks, and what has to stay behind them.
///
/// A bulk waits for its turn to become active, which the peer's limit on incomplete bodies grants; active ones send a chunk each in turn.
pub(crate) struct Bulks {
    /// What the peer accepts as one frame.
    max_frame: u32,
    /// What the peer accepts as the sum of the bodies that have begun and not ended.
    max_incomplete: u64,
    /// By call; none without frames.
    flows: HashMap<CallId, Flow>,
    /// Calls whose first bulk is active, the next to send in front.
    active: VecDeque<CallId>,
    /// Calls whose first bulk waits to become active.
    waiting: VecDeque<CallId>,
    /// Sum of the bodies of the active bulks.
    incomplete: u64,
    /// Bytes of all flows, without the headers of chunks and the padding that are still to be made.
    pending: usize,
    progress: VecDeque<Progress>,
}

/// What one call has to send, in order.
#[derive(Default)]
struct Flow {
    /// The bulk that has begun.
    cut: Option<Cut>,
    /// What follows. If nothing has begun, the first is a bulk.
    frames: VecDeque<(FrameBuf, FrameHeader)>,
    /// What it counts towards the incomplete bodies: the body of its active bulk.
    counted: u64,
}

impl Flow {
    fn len(&self) -> usize {
        let cut = self.cut.as_ref().map_or(0, |cut| cut.left);
        let frames = self.frames.iter().map(|(frame, _)| pending_len(frame));
        cut + frames.sum::<usize>()
    }
}

struct Cut {
    kind: Kind,
    parts: Parts,
    /// Bytes of the body, without padding, that are still to be committed.
    left: usize,
}

impl Default for Bulks {
    fn default() -> Self {
        Self {
            max_frame: u32::MAX,
            max_incomplete: u64::MAX,
            flows: HashMap::new(),
            active: VecDeque::new(),
            waiting: VecDeque::new(),
            incomplete: 0,
            pending: 0,
            progress: VecDeque::new(),
        }
    }
}

/// What the first frame of a bulk carries. The peer has to copy it to where the body will be, and reads into that what follows.
const FIRST_LEN: usize = 4 << 10;

impl Bulks {
    pub(crate) fn set_limits(&mut self, max_frame: u32, max_incomplete: u64) {
        debug_assert!(
            self.is_empty(),
            "limits change under a body that is cut by others"
        );
        self.max_frame = max_frame;
        self.max_incomplete = max_incomplete;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.flows.is_empty()
    }

    pub(crate) fn pending(&self) -> usize {
        self.pending
    }

    /// The longest that one call has here.
    pub(crate) fn longest(&self) -> usize {
        self.flows.values().map(Flow::len).max().unwrap_or(0)
    }

    pub(crate) fn take_progress(&mut self) -> Option<Progress> {
        self.progress.pop_front()
    }

    /// Whether a frame has to go through here.
    pub(crate) fn takes(&self, call: CallId, body_len: usize) -> bool {
        self.is_bulk(body_len) || self.has(call)
    }

    /// Whether frames of a call are here.
    pub(crate) fn has(&self, call: CallId) -> bool {
        self.flows.contains_key(&call)
    }

    pub(crate) fn push(&mut self, frame: FrameBuf, header: FrameHeader) {
        self.pending += pending_len(&frame);
        let call = header.call;
        let flow = self.flows.entry(call).or_insert_with(|| {
            self.waiting.push_back(call);
            Flow::default()
        });
        flow.frames.push_back((frame, header));
    }

    /// Commits the next chunk, of about `chunk_len` bytes. False if there is none.
    pub(crate) fn commit_next(&mut self, pieces: &mut Pieces, chunk_len: usize) -> bool {
        self.activate();
        let Some(call) = self.active.pop_front() else {
            return false;
        };
        if self.commit_chunk(call, pieces, self.allowed(chunk_len)) {
            self.active.push_back(call);
        } else {
            self.commit_followers(call, pieces);
        }
        true
    }

    /// Drops what a call has here, and says how far it had come. The memory is for the next frames.
    pub(crate) fn abort(&mut self, call: CallId, pieces: &mut Pieces) -> Aborted {
        let Some(flow) = self.flows.remove(&call) else {
            return Aborted::None;
        };
        self.active.retain(|other| *other != call);
        self.waiting.retain(|other| *other != call);
        self.incomplete -= flow.counted;
        for (frame, _) in flow.frames {
            self.pending -= pending_len(&frame);
            pieces.recycle(frame);
        }
        match flow.cut {
            Some(cut) => {
                self.pending -= cut.left;
                Aborted::Partly
            }
            None => Aborted::Unsent,
        }
    }

    /// Gives back memory that holds nothing.
    pub(crate) fn release(&mut self) {
        if self.is_empty() {
            self.flows = HashMap::new();
            self.active = VecDeque::new();
            self.waiting = VecDeque::new();
        }
        if self.progress.is_empty() {
            self.progress = VecDeque::new();
        }
    }

    /// Lets bulks in as far as the peer's limit allows, in the order in which they came.
    fn activate(&mut self) {
        while let Some(call) = self.waiting.front() {
            let Some(flow) = self.flows.get_mut(call) else {
                self.waiting.pop_front();
                continue;
            };
            let total = flow
                .frames
                .front()
                .map_or(0, |(frame, _)| frame.body_len() as u64);
            let allowed = self.active.is_empty() || self.incomplete + total <= self.max_incomplete;
            if !allowed {
                return;
            }
            flow.counted = total;
            self.incomplete += total;
            self.active.extend(self.waiting.pop_front());
        }
    }

    /// Commits the next chunk of an active bulk. False if it was the last.
    fn commit_chunk(&mut self, call: CallId, pieces: &mut Pieces, chunk_len: usize) -> bool {
        let Some(flow) = self.flows.get_mut(&call) else {
            return false;
        };
        let (cut, header_len, len) = match &mut flow.cut {
            Some(cut) => {
                let len = chunk_len.min(cut.left);
                let header = FrameHeader {
                    body_len: frame_len(len),
                    ..FrameHeader::new(Kind::Chunk, call)
                };
                pieces.push_bytes(&header.encode());
                (cut, 0, len)
            }
            None => {
                let Some((frame, header)) = flow.frames.pop_front() else {
                    return false;
                };
                let len = FIRST_LEN.min(chunk_len).min(frame.body_len());
                self.progress.push_back(Progress::Begun(call, header.kind));
                let cut = flow.cut.insert(Cut::new(frame, header, len));
                // The header of the first frame is in front of the body.
                (cut, HEADER_LEN, len)
            }
        };
        cut.left -= len;
        self.pending -= header_len + len;
        // The padding is in the frame, behind the body.
        let missing = pieces.push_parts(&mut cut.parts, header_len + len.next_multiple_of(HEADER_LEN));
        debug_assert_eq!(missing, 0, "a frame is shorter than its length");
        cut.left > 0
    }

    /// Ends the active bulk of a call and commits what follows it, up to the next bulk.
    fn commit_followers(&mut self, call: CallId, pieces: &mut Pieces) {
        let max_frame = self.max_frame;
        let Some(flow) = self.flows.get_mut(&call) else {
            return;
        };
        self.incomplete -= std::mem::take(&mut flow.counted);
        if let Some(Cut { kind, .. }) = flow.cut.take() {
            let end = pieces.enqueued;
            self.progress.push_back(Progress::Finished { call, kind, end });
        }
        while let Some((frame, header)) = flow.frames.pop_front() {
            if exceeds(frame.body_len(), max_frame) {
                flow.frames.push_front((frame, header));
                break;
            }
            self.pending -= pending_len(&frame);
            pieces.push_owned(frame, header);
            let (kind, end) = (header.kind, pieces.enqueued);
            self.progress.push_back(Progress::Begun(call, kind));
            self.progress.push_back(Progress::Finished { call, kind, end });
        }
        if flow.frames.is_empty() {
            self.flows.remove(&call);
        } else {
            self.waiting.push_back(call);
        }
    }

    fn is_bulk(&self, body_len: usize) -> bool {
        exceeds(body_len, self.max_frame)
    }

    /// A multiple of the padding, so that only the last chunk is padded.
    fn allowed(&self, chunk_len: usize) -> usize {
        let max_frame = usize::try_from(self.max_frame).unwrap_or(usize::MAX);
        let len = chunk_len.min(max_frame);
        (len - len % HEADER_LEN).max(HEADER_LEN)
    }
}

impl Cut {
    /// Begins a bulk whose first frame carries `len` bytes.
    fn new(mut frame: FrameBuf, header: FrameHeader, len: usize) -> Self {
        let total = frame.body_len();
        frame.seal(FrameHeader {
            body_len: frame_len(len),
            flags: Flags(header.flags.0 | Flags::CHUNKED.0),
            aux: frame_len(total),
            ..header
        });
        Self {
            kind: header.kind,
            parts: Parts::new(frame),
            left: total,
        }
    }
}

/// What a frame that has not begun counts as waiting.
fn pending_len(frame: &FrameBuf) -> usize {
    HEADER_LEN + frame.body_len()
}

fn exceeds(body_len: usize, max_frame: u32) -> bool {
    frame_len(body_len) > max_frame
}

/// A length as headers state it. Longer bodies than they can are refused where they are encoded.
fn frame_len(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

#[cfg(test)]
#[path = "bulk_tests.rs"]
mod tests;
