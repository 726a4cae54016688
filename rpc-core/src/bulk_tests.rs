//! Bulks as the peer sees them: a naive reassembler against a model of what was pushed.

use std::collections::BTreeMap;
use std::io::IoSlice;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::send_queue::{COALESCE_LEN, SendQueue};

/// A body that says which frame it is of, in its own memory and attachments.
fn frame(seed: u8, segments: &[(bool, usize)]) -> (FrameBuf, Vec<u8>) {
    let mut frame = FrameBuf::new();
    let mut body = Vec::new();
    for (index, (attach, len)) in (seed..).zip(segments) {
        let bytes: Vec<u8> = (index..=255).cycle().take(*len).collect();
        body.extend_from_slice(&bytes);
        if *attach && *len > 0 {
            frame.attach(Bytes::from(bytes));
        } else {
            frame.extend(&bytes);
        }
    }
    (frame, body)
}

fn header(kind: Kind, call: u32) -> FrameHeader {
    FrameHeader::new(kind, CallId(call))
}

fn push(queue: &mut SendQueue, kind: Kind, call: u32, len: usize) -> Option<u64> {
    let mut frame = frame(1, &[(false, len)]).0;
    let end = queue.push(&mut frame, header(kind, call));
    assert_eq!(frame.body_len(), 0, "an empty frame is left behind");
    end
}

/// Writes at most `limit` bytes of the first `slice_count` pieces.
fn write(queue: &mut SendQueue, slice_count: usize, limit: usize) -> Vec<u8> {
    let mut slices = vec![IoSlice::new(&[]); slice_count];
    let count = queue.io_slices(&mut slices);
    let mut bytes = slices[..count]
        .iter()
        .map(|slice| &**slice)
        .collect::<Vec<_>>()
        .concat();
    assert_eq!(bytes.is_empty(), queue.is_empty());
    let waiting = queue.len();
    assert_eq!(queue.is_empty(), waiting == 0);
    bytes.truncate(limit);
    queue.advance(bytes.len());
    bytes
}

fn write_all(queue: &mut SendQueue) -> Vec<u8> {
    let mut bytes = Vec::new();
    while !queue.is_empty() {
        bytes.extend(write(queue, 8, usize::MAX));
    }
    assert_eq!(queue.transmitted(), queue.enqueued());
    bytes
}

/// What the peer has of one frame.
#[derive(Debug, PartialEq)]
enum Received {
    Whole(Vec<u8>),
    /// Its end was called off.
    Beginning(Vec<u8>),
}

/// Reads frames as the peer does, without looking at how they were made.
struct Reassembler {
    max_frame: u32,
    max_incomplete: u64,
    open: BTreeMap<u32, (u32, Vec<u8>)>,
    /// Per call, with the offset at which each frame ends.
    received: BTreeMap<u32, Vec<(Received, u64)>>,
    offset: u64,
    order: Vec<(Kind, u32)>,
}

impl Reassembler {
    fn new(max_frame: u32, max_incomplete: u64) -> Self {
        Self {
            max_frame,
            max_incomplete,
            open: BTreeMap::new(),
            received: BTreeMap::new(),
            offset: 0,
            order: Vec::new(),
        }
    }

    fn read(&mut self, mut stream: &[u8]) {
        while let Some((head, rest)) = stream.split_first_chunk() {
            let header = FrameHeader::decode(head, self.max_frame).unwrap();
            let (body, rest) = rest.split_at(header.body_len as usize);
            let (padding, rest) = rest.split_at(body.len().next_multiple_of(16) - body.len());
            assert!(padding.iter().all(|byte| *byte == 0));
            self.offset += header.frame_len() as u64;
            self.frame(header, body);
            stream = rest;
        }
        assert!(stream.is_empty());
        assert!(self.open.is_empty(), "bodies without end");
    }

    fn frame(&mut self, header: FrameHeader, body: &[u8]) {
        let call = header.call.0;
        self.order.push((header.kind, call));
        match header.kind {
            Kind::Chunk => {
                let (total, open) = self.open.get_mut(&call).unwrap();
                assert!(!body.is_empty() && body.len() <= 4 * CHUNK_LEN);
                open.extend_from_slice(body);
                if open.len() == *total as usize {
                    let (_, whole) = self.open.remove(&call).unwrap();
                    self.end(call, Received::Whole(whole));
                }
            }
            Kind::Credit => assert!(body.is_empty()),
            Kind::Cancel => {
                if let Some((_, beginning)) = self.open.remove(&call) {
                    self.end(call, Received::Beginning(beginning));
                }
            }
            _ if header.flags.contains(Flags::CHUNKED) => {
                assert!(header.aux > self.max_frame && body.len() < header.aux as usize);
                let before = self.open.insert(call, (header.aux, body.to_vec()));
                assert!(before.is_none(), "two incomplete bodies of one call");
                let sum: u64 = self.open.values().map(|(total, _)| u64::from(*total)).sum();
                assert!(sum <= self.max_incomplete || self.open.len() == 1);
            }
            Kind::Item | Kind::Reply => {
                assert!(!self.open.contains_key(&call), "overtakes a body of its call");
                self.end(call, Received::Whole(body.to_vec()));
            }
            Kind::Call
            | Kind::Failure
            | Kind::End
            | Kind::Ping
            | Kind::Pong
            | Kind::Goaway
            | Kind::Stop
            | Kind::Extension(_) => {
                panic!("{header:?}")
            }
        }
    }

    fn end(&mut self, call: u32, received: Received) {
        let offset = self.offset;
        self.received.entry(call).or_default().push((received, offset));
    }
}

#[derive(Clone, Debug)]
enum Step {
    Push(u32, Vec<(bool, usize)>),
    Control(u32),
    Abort(u32),
    Write(usize, usize),
}

fn any_steps() -> impl Strategy<Value = Vec<Step>> {
    let len = prop_oneof![
        0..40_usize,
        1_000..9_000_usize,
        10_000..40_000_usize,
        60_000..200_000_usize
    ];
    let call = 0..4_u32;
    vec(
        prop_oneof![
            6 => (call.clone(), vec((any::<bool>(), len), 0..4)).prop_map(|(call, body)| Step::Push(call, body)),
            2 => call.clone().prop_map(Step::Control),
            1 => call.prop_map(Step::Abort),
            5 => (1..6_usize, prop_oneof![0..100_usize, 0..300_000_usize]).prop_map(|(count, limit)| Step::Write(count, limit)),
        ],
        1..40,
    )
}

/// What was pushed: per call the bodies, and how far the queue said that they have come.
struct Model {
    queue: SendQueue,
    calls: BTreeMap<u32, Vec<Pushed>>,
    written: Vec<u8>,
    /// Where each frame ends that is not a chunk, and its length.
    others: Vec<(u64, usize)>,
}

struct Pushed {
    kind: Kind,
    body: Vec<u8>,
    state: State,
    /// Where it ends in the stream, once that is known.
    end: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waits,
    Begun,
    Finished,
    Cut,
}

impl Model {
    fn step(&mut self, step: Step, seed: u8) {
        match step {
            Step::Push(call, segments) => {
                let (mut frame, body) = frame(seed, &segments);
                // Kinds alternate, so that news of one frame is not taken for that of the next.
                let kind = if seed.is_multiple_of(2) {
                    Kind::Reply
                } else {
                    Kind::Item
                };
                let end = self.queue.push(&mut frame, header(kind, call));
                if let Some(end) = end {
                    self.others.push((end, body.len()));
                }
                let state = end.map_or(State::Waits, |_| State::Finished);
                self.calls.entry(call).or_default().push(Pushed {
                    kind,
                    body,
                    state,
                    end,
                });
            }
            Step::Control(call) => self.control(Kind::Credit, call),
            Step::Abort(call) => self.abort(call),
            Step::Write(slice_count, limit) => {
                let bytes = write(&mut self.queue, slice_count, limit);
                self.written.extend(bytes);
            }
        }
        self.news();
        assert_eq!(self.queue.transmitted(), self.written.len() as u64);
        assert_eq!(
            self.queue.enqueued(),
            self.queue.transmitted() + self.queue.committed_len() as u64
        );
    }

    /// A control frame leaves behind what is committed, and of bulks that is little.
    fn control(&mut self, kind: Kind, call: u32) {
        let transmitted = self.queue.transmitted();
        let others = self.others.iter().filter(|(end, _)| *end > transmitted);
        let others: usize = others.map(|(_, len)| len + 32).sum();
        // One may be of the longest sort, after many that nothing disturbed.
        let chunks = (7 + others / CHUNK_LEN) * (CHUNK_LEN + 32);
        let controls = 16 * 40;
        assert!(self.queue.committed_len() <= others + chunks + controls);
        let aux = u32::from(kind == Kind::Credit);
        let before = self.queue.enqueued();
        let header = header(kind, call);
        self.queue.push_control(FrameHeader { aux, ..header }, &[]);
        assert!(self.queue.enqueued() >= before + 16);
    }

    fn abort(&mut self, call: u32) {
        self.news();
        let enqueued = self.queue.enqueued();
        let aborted = self.queue.abort(CallId(call));
        assert_eq!(self.queue.enqueued(), enqueued, "abort commits nothing");
        let pushed = self.calls.entry(call).or_default();
        let begun = pushed.iter_mut().find(|frame| frame.state == State::Begun);
        match aborted {
            Aborted::Partly => {
                begun.unwrap().state = State::Cut;
                self.control(Kind::Cancel, call);
            }
            Aborted::Unsent | Aborted::None => assert!(begun.is_none()),
        }
        let pushed = self.calls.entry(call).or_default();
        let before = pushed.len();
        pushed.retain(|frame| frame.state != State::Waits);
        assert!(aborted != Aborted::None || pushed.len() == before);
        assert!(aborted != Aborted::Unsent || pushed.len() < before);
    }

    fn news(&mut self) {
        while let Some(progress) = self.queue.take_progress() {
            let (call, kind, from, to) = match progress {
                Progress::Begun(call, kind) => (call, kind, State::Waits, State::Begun),
                Progress::Finished { call, kind, .. } => (call, kind, State::Begun, State::Finished),
            };
            let pushed = self.calls.get_mut(&call.0).unwrap();
            let open = |frame: &&mut Pushed| matches!(frame.state, State::Waits | State::Begun);
            let frame = pushed.iter_mut().find(open).unwrap();
            assert_eq!((frame.kind, frame.state), (kind, from));
            frame.state = to;
            if let Progress::Finished { end, .. } = progress {
                frame.end = Some(end);
                self.others.push((end, frame.body.len()));
            }
        }
    }

    fn finish(mut self, mut peer: Reassembler) {
        self.written.extend(write_all(&mut self.queue));
        self.news();
        peer.read(&self.written);
        for (call, pushed) in self.calls {
            let received = peer.received.remove(&call).unwrap_or_default();
            assert_eq!(received.len(), pushed.len(), "frames of call {call}");
            for ((received, offset), Pushed { body, state, end, .. }) in received.into_iter().zip(pushed) {
                match received {
                    Received::Whole(whole) => {
                        assert!(whole == body && state == State::Finished);
                        assert_eq!(end, Some(offset));
                    }
                    Received::Beginning(part) => assert!(body.starts_with(&part) && state == State::Cut),
                }
            }
        }
        assert!(peer.received.is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn the_peer_reassembles_what_was_pushed(
        steps in any_steps(),
        max_frame in prop_oneof![Just(16_384_u32), Just(20_001), Just(65_536), Just(100_000), Just(262_144)],
        factor in 0..6_u64,
    ) {
        let max_incomplete = factor * u64::from(max_frame);
        let mut queue = SendQueue::new();
        queue.set_limits(max_frame, max_incomplete);
        let mut model = Model {
            queue,
            calls: BTreeMap::new(),
            written: Vec::new(),
            others: Vec::new(),
        };
        for (step, seed) in steps.into_iter().zip(0..) {
            model.step(step, seed);
        }
        model.finish(Reassembler::new(max_frame, max_incomplete));
    }
}

const MAX_FRAME: u32 = 100_000;
/// What a frame waits for at most beside a bulk: a chunk, its header, and what was left of the one before.
const WAIT: usize = CHUNK_LEN + HEADER_LEN + CHUNK_LEN / 4;

fn limited(max_incomplete: u64) -> SendQueue {
    let mut queue = SendQueue::new();
    queue.set_limits(MAX_FRAME, max_incomplete);
    queue
}

/// The kinds and calls of the frames that the queue sends.
fn sent(queue: &mut SendQueue) -> Vec<(Kind, u32)> {
    let mut peer = Reassembler::new(MAX_FRAME, u64::MAX);
    peer.read(&write_all(queue));
    peer.order
}

fn progress(queue: &mut SendQueue) -> Vec<Progress> {
    std::iter::from_fn(|| queue.take_progress()).collect()
}

#[test]
fn without_limits_no_body_is_cut() {
    let mut queue = SendQueue::new();
    assert_eq!(push(&mut queue, Kind::Reply, 1, 3 << 20), Some((3 << 20) + 16));
    assert_eq!(queue.committed_len(), (3 << 20) + 16);
    assert_eq!(queue.take_progress(), None);
}

#[test]
fn a_small_frame_overtakes_a_bulk() {
    let mut queue = limited(u64::MAX);
    assert_eq!(push(&mut queue, Kind::Reply, 1, 16 << 20), None);
    assert_eq!(
        queue.len(),
        (16 << 20) + 2 * HEADER_LEN,
        "the first chunk has its header"
    );
    for written in [0, 1, 17, CHUNK_LEN - 1, CHUNK_LEN, 3 * CHUNK_LEN] {
        for _ in 0..5 {
            write(&mut queue, 4, written);
            let before = queue.committed_len();
            // The small frames of the rounds that write little are before it, too.
            assert!((1..=WAIT + 30 * 32).contains(&before), "{before}");
            let end = push(&mut queue, Kind::Reply, 2, 16).unwrap();
            assert_eq!(end, queue.transmitted() + before as u64 + 32);
        }
    }
}

#[test]
fn the_longest_body_is_no_burden_and_the_others_are() {
    let mut queue = limited(u64::MAX);
    push(&mut queue, Kind::Reply, 1, 10 << 20);
    assert!(queue.burden() < 3 * CHUNK_LEN, "{}", queue.burden());
    push(&mut queue, Kind::Reply, 2, 1 << 20);
    assert!(queue.burden() > 1 << 20 && queue.burden() < 2 << 20);
    write_all(&mut queue);
    assert_eq!(queue.burden(), 0);
}

#[test]
fn bulks_take_turns_within_the_limit_on_incomplete_bodies() {
    let mut queue = limited(400_000);
    for (call, len) in [(1, 200_000), (2, 150_000), (3, 100_001), (4, 500_000)] {
        push(&mut queue, Kind::Item, call, len);
    }
    let calls: Vec<_> = sent(&mut queue).into_iter().map(|(_, call)| call).collect();
    assert_eq!(calls[..11], [1, 1, 1, 2, 1, 2, 3, 2, 3, 2, 3]);
    assert_eq!(calls[11..], [4; 9]);
}

#[test]
fn other_frames_do_not_keep_a_bulk_back() {
    let mut queue = limited(u64::MAX);
    for _ in 0..20 {
        push(&mut queue, Kind::Reply, 1, 50_000);
    }
    push(&mut queue, Kind::Reply, 2, 200_000);
    assert!(progress(&mut queue).is_empty(), "there is enough to write");
    for round in 0..10 {
        push(&mut queue, Kind::Reply, 1, 50_000);
        write(&mut queue, 4, 40_000);
        let bulk_is_done = progress(&mut queue).len() == 1 && round > 1;
        if bulk_is_done {
            return;
        }
    }
    panic!("the bulk has not ended");
}

#[test]
fn frames_of_a_call_wait_behind_its_bulk() {
    let mut queue = limited(u64::MAX);
    push(&mut queue, Kind::Item, 1, 110_000);
    assert_eq!(push(&mut queue, Kind::Item, 1, 10), None);
    assert_eq!(push(&mut queue, Kind::Item, 1, 120_000), None);
    assert_eq!(push(&mut queue, Kind::Reply, 1, 5_000), None);
    assert!(push(&mut queue, Kind::Reply, 2, 5_000).is_some());
    queue.push_control(header(Kind::Cancel, 3), &[]);
    let all = queue.len();
    assert_eq!(progress(&mut queue), [Progress::Begun(CallId(1), Kind::Item)]);
    let order = sent(&mut queue);
    let expected = [
        (Kind::Item, 1),
        (Kind::Chunk, 1),
        (Kind::Reply, 2),
        (Kind::Cancel, 3),
        (Kind::Chunk, 1),
        (Kind::Item, 1),
        (Kind::Item, 1),
        (Kind::Chunk, 1),
        (Kind::Chunk, 1),
        (Kind::Reply, 1),
    ];
    assert_eq!(order, expected);
    let news = progress(&mut queue);
    let end = queue.enqueued();
    assert_eq!(
        end,
        all as u64 + 3 * 16 + 6 + 8,
        "headers and padding of what was not cut yet"
    );
    assert_eq!(news.len(), 7);
    let (call, kind) = (CallId(1), Kind::Reply);
    assert_eq!(
        news[5..],
        [
            Progress::Begun(call, kind),
            Progress::Finished { call, kind, end }
        ]
    );
    // Nothing is left of the bulk: frames are committed at once.
    assert!(push(&mut queue, Kind::Item, 1, 10).is_some());
}

#[test]
fn an_aborted_bulk_that_has_not_begun_leaves_no_trace() {
    let mut queue = limited(300_000);
    assert_eq!(queue.abort(CallId(2)), Aborted::None);
    push(&mut queue, Kind::Reply, 1, 200_000);
    push(&mut queue, Kind::Reply, 2, 200_000);
    push(&mut queue, Kind::Reply, 2, 10);
    push(&mut queue, Kind::Reply, 3, 110_000);
    let before = queue.len();
    assert_eq!(queue.abort(CallId(2)), Aborted::Unsent);
    assert_eq!(queue.len(), before - 200_016 - 26);
    assert_eq!(queue.abort(CallId(2)), Aborted::None);
    // Active, but not begun.
    assert_eq!(queue.abort(CallId(3)), Aborted::Unsent);
    assert!(sent(&mut queue).iter().all(|(_, call)| *call == 1));
}

#[test]
fn a_call_that_was_aborted_has_one_turn_again() {
    let mut queue = limited(u64::MAX);
    for call in [1, 2] {
        push(&mut queue, Kind::Reply, call, 200_000);
    }
    assert_eq!(queue.abort(CallId(2)), Aborted::Unsent);
    push(&mut queue, Kind::Reply, 2, 200_000);
    let calls = |order: &[(Kind, u32)]| -> Vec<u32> { order.iter().map(|(_, call)| *call).collect() };
    assert_eq!(calls(&sent(&mut queue)), [1, 1, 1, 2, 1, 2, 2, 2]);

    for call in [1, 2] {
        push(&mut queue, Kind::Reply, call, 300_000);
    }
    // With the next chunk the second is let in.
    let committed = queue.committed_len();
    let mut written = write(&mut queue, 4, committed);
    assert_eq!(queue.abort(CallId(2)), Aborted::Unsent);
    push(&mut queue, Kind::Reply, 2, 300_000);
    written.extend(write_all(&mut queue));
    let mut peer = Reassembler::new(MAX_FRAME, u64::MAX);
    peer.read(&written);
    assert_eq!(calls(&peer.order), [1, 1, 1, 1, 2, 1, 2, 1, 2, 2, 2, 2]);
}

#[test]
fn an_aborted_bulk_that_has_begun_ends_where_it_is() {
    let mut queue = limited(250_000);
    push(&mut queue, Kind::Reply, 1, 200_000);
    push(&mut queue, Kind::Reply, 1, 10);
    push(&mut queue, Kind::Reply, 2, 200_000);
    assert_eq!(queue.abort(CallId(1)), Aborted::Partly);
    assert_eq!(queue.abort(CallId(1)), Aborted::None);
    queue.push_control(header(Kind::Cancel, 1), &[]);
    let order = sent(&mut queue);
    assert_eq!(
        order[..3],
        [(Kind::Reply, 1), (Kind::Chunk, 1), (Kind::Cancel, 1)]
    );
    assert_eq!(
        order[3..],
        [
            (Kind::Reply, 2),
            (Kind::Chunk, 2),
            (Kind::Chunk, 2),
            (Kind::Chunk, 2)
        ]
    );
    let finished = |progress: &Progress| matches!(progress, Progress::Finished { .. });
    assert_eq!(progress(&mut queue).iter().filter(|one| finished(one)).count(), 1);
}

#[test]
fn a_bulk_that_is_committed_whole_is_past_aborting() {
    let mut queue = limited(u64::MAX);
    push(&mut queue, Kind::Reply, 1, 100_001);
    // All but the last of its three frames.
    for _ in 0..2 {
        let committed = queue.committed_len();
        write(&mut queue, 4, committed);
    }
    let (call, kind, end) = (CallId(1), Kind::Reply, queue.enqueued());
    let finished = Progress::Finished { call, kind, end };
    assert_eq!(progress(&mut queue), [Progress::Begun(call, kind), finished]);
    assert_eq!(queue.abort(CallId(1)), Aborted::None);
    assert_eq!(queue.len(), queue.committed_len());
    write_all(&mut queue);
    assert_eq!(queue.transmitted(), end);
}

#[test]
fn nothing_of_a_bulk_is_copied_and_its_memory_comes_back() {
    let mut queue = limited(u64::MAX);
    let (mut frame, _) = frame(1, &[(false, 150_000), (true, 90_000), (false, 70_000)]);
    let own = frame.segments().next().unwrap().as_ptr_range();
    let attached = frame.segments().nth(1).unwrap().as_ptr_range();
    queue.push(&mut frame, header(Kind::Reply, 1));
    let mut uncopied = 0;
    while !queue.is_empty() {
        let mut slices = [IoSlice::new(&[])];
        queue.io_slices(&mut slices);
        let (slice, len) = (slices[0].as_ptr(), slices[0].len());
        let header = len == HEADER_LEN;
        let in_own = own.start.addr() - HEADER_LEN <= slice.addr() && slice.addr() < own.end.addr() + 70_000;
        assert!(
            header || in_own || attached.contains(&slice),
            "{len} bytes are a copy"
        );
        uncopied += if header { 0 } else { len };
        queue.advance(len);
    }
    assert_eq!(uncopied, 310_000 + HEADER_LEN);
    assert_eq!(queue.copied_bytes(), 0);
    // The memory is handed out in exchange for the next large frame.
    frame.extend(&[1; 2 * COALESCE_LEN]);
    queue.push(&mut frame, header(Kind::Reply, 1));
    assert_eq!(frame.body().as_ptr(), own.start);
}

#[test]
fn a_frame_with_attachments_leaves_in_three_pieces() {
    let mut queue = limited(u64::MAX);
    let (mut frame, body) = frame(1, &[(false, 16), (true, 20_001), (false, 30)]);
    let attached = frame.segments().nth(1).unwrap().as_ptr();
    assert_eq!(queue.push(&mut frame, header(Kind::Reply, 1)), Some(16 + 20_048));
    let mut slices = [IoSlice::new(&[]); 9];
    assert_eq!(queue.io_slices(&mut slices), 3);
    assert_eq!(slices[1].as_ptr(), attached);
    let mut peer = Reassembler::new(MAX_FRAME, 0);
    peer.read(&write_all(&mut queue));
    assert_eq!(peer.received[&1], [(Received::Whole(body), 20_064)]);
    assert_eq!(queue.copied_bytes(), 0);
}

#[test]
fn an_aborted_bulk_gives_its_attachments_free() {
    let mut queue = limited(0);
    let attached = Bytes::from(vec![1; 200_000]);
    for call in [1, 2] {
        let mut frame = FrameBuf::new();
        frame.attach(attached.clone());
        queue.push(&mut frame, header(Kind::Reply, call));
    }
    assert_eq!(queue.abort(CallId(2)), Aborted::Unsent);
    assert_eq!(queue.abort(CallId(1)), Aborted::Partly);
    assert!(!attached.is_unique(), "a chunk is committed");
    queue.push_control(header(Kind::Cancel, 1), &[]);
    let mut written = Vec::new();
    while !queue.is_empty() {
        written.extend(write(&mut queue, 8, 10_000));
    }
    Reassembler::new(MAX_FRAME, 0).read(&written);
    assert!(attached.is_unique());
    queue.release();
    assert_eq!(queue.len(), 0);
}

#[test]
fn what_is_left_of_a_chunk_leaves_with_the_next() {
    let mut queue = limited(u64::MAX);
    push(&mut queue, Kind::Reply, 1, 1 << 20);
    let first = FIRST_LEN + HEADER_LEN;
    assert_eq!(queue.committed_len(), first + CHUNK_LEN + HEADER_LEN);
    let left = CHUNK_LEN / 4;
    let len = queue.committed_len() - left - 1;
    write(&mut queue, 8, len);
    assert_eq!(queue.committed_len(), left + 1, "worth a write of its own");
    write(&mut queue, 8, 1);
    assert_eq!(queue.committed_len(), left + CHUNK_LEN + HEADER_LEN);
}

#[test]
fn chunks_grow_where_nothing_else_is_sent_and_are_short_again_when_something_is() {
    let mut queue = limited(u64::MAX);
    push(&mut queue, Kind::Reply, 1, 64 << 20);
    for _ in 0..30 {
        assert!(queue.committed_len() <= WAIT && !queue.is_calm());
        write(&mut queue, 8, usize::MAX);
    }
    for _ in 0..64 {
        write(&mut queue, 8, usize::MAX);
        assert!(queue.committed_len() <= 2 * CHUNK_LEN);
    }
    // As long as the peer takes them.
    assert_eq!(queue.committed_len(), MAX_FRAME as usize + HEADER_LEN);
    assert!(queue.is_calm());
    push(&mut queue, Kind::Reply, 2, 16);
    assert!(!queue.is_calm());
    for _ in 0..30 {
        write(&mut queue, 8, usize::MAX);
        assert!((1..=WAIT).contains(&queue.committed_len()));
    }
}

#[test]
fn a_mebibyte_is_ready_where_nothing_else_was_sent_for_long_and_a_chunk_when_something_is() {
    let mut queue = limited(u64::MAX);
    push(&mut queue, Kind::Reply, 1, 64 << 20);
    while !queue.is_bulk_only() {
        assert!(queue.committed_len() <= WAIT + MAX_FRAME as usize);
        write(&mut queue, 8, usize::MAX);
    }
    assert!(queue.transmitted() > 8 << 20, "{}", queue.transmitted());
    write(&mut queue, 8, 1);
    let ready = (768 << 10)..=(1 << 20) + 8 * HEADER_LEN;
    assert!(
        ready.contains(&queue.committed_len()),
        "{}",
        queue.committed_len()
    );
    push(&mut queue, Kind::Reply, 2, 16);
    assert!(!queue.is_bulk_only());
    let committed = queue.committed_len();
    write(&mut queue, 16, committed);
    assert!(queue.committed_len() <= WAIT, "{}", queue.committed_len());
}
