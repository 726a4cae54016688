//! Tests of the send queue, on bytes as a socket is given them.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::header::{HEADER_LEN, Kind};
use crate::id::CallId;
use crate::pieces::KEEP_RECYCLED;
use crate::rarity::{BULK_LEN, LONG_LEN};

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
        prop_assert!(queue.pieces.pieces.is_empty() && queue.pieces.sent == 0);
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
    assert!(!queue.pieces.recycled.is_empty());
    for _ in 0..KEEP_RECYCLED {
        push(&mut queue, &mut frame, &[1; 64]);
        queue.advance(queue.len());
    }
    assert!(queue.pieces.recycled.is_empty());
    queue.release();
    assert_eq!(
        queue.pieces.spare.capacity() + queue.pieces.recycled.capacity() + queue.pieces.pieces.capacity(),
        0
    );
}

#[test]
fn a_stream_of_long_frames_alone_is_noticed_until_a_short_one_is_sent() {
    let mut queue = SendQueue::new();
    let mut frame = FrameBuf::new();
    let send = |queue: &mut SendQueue, frame: &mut FrameBuf, len: usize| {
        push(queue, frame, &vec![1; len]);
        queue.advance(queue.len());
    };
    let fill = |queue: &mut SendQueue, frame: &mut FrameBuf| {
        for _ in 0..usize::try_from(BULK_LEN).unwrap() / LONG_LEN {
            assert!(!queue.is_bulk_only());
            send(queue, frame, LONG_LEN);
        }
        assert!(queue.is_bulk_only() && !queue.is_calm());
    };
    fill(&mut queue, &mut frame);
    send(&mut queue, &mut frame, LONG_LEN - 1);
    assert!(!queue.is_bulk_only());
    fill(&mut queue, &mut frame);
    queue.push_control(FrameHeader::new(Kind::Ping, CallId(0)), &[]);
    assert!(!queue.is_bulk_only());
}

#[test]
fn a_short_frame_beside_a_body_is_taken_to_be_rare_only_after_four_times_as_much() {
    const FRAME_LEN: u32 = 64 << 10;
    let bulk_len = usize::try_from(BULK_LEN).unwrap();
    let mut queue = SendQueue::new();
    queue.set_limits(FRAME_LEN, u64::MAX);
    let mut frame = FrameBuf::new();
    push(&mut queue, &mut frame, &vec![1; 6 * bulk_len]);
    let pass = |queue: &mut SendQueue, len: usize| {
        let before = queue.transmitted();
        while queue.transmitted() - before < len as u64 {
            queue.advance(queue.committed_len().min(FRAME_LEN as usize));
        }
    };
    let ping = |queue: &mut SendQueue| {
        queue.push_control(FrameHeader::new(Kind::Ping, CallId(0)), &[]);
        assert!(!queue.is_bulk_only());
    };
    pass(&mut queue, bulk_len);
    assert!(queue.is_bulk_only());
    ping(&mut queue);
    pass(&mut queue, 3 * bulk_len);
    assert!(!queue.is_bulk_only(), "one every three times so much is not rare");
    ping(&mut queue);
    // Nothing waits behind a body that has left: four times as much stays enough.
    for _ in 0..2 {
        while !queue.is_empty() {
            pass(&mut queue, 1);
        }
        ping(&mut queue);
        push(&mut queue, &mut frame, &vec![1; 4 * bulk_len + (1 << 20)]);
        while !queue.is_empty() {
            pass(&mut queue, 1);
        }
        assert!(queue.is_bulk_only());
    }
}
