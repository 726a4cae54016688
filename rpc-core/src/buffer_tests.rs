//! RecvBuffer against a naive reassembler, and what it promises about memory.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::header::{Flags, Kind};
use crate::id::CallId;

const MAX_BODY: u32 = 4 << 20;

/// A frame of an extension kind, which allows every body.
fn frame(number: u32, body_len: usize) -> Vec<u8> {
    let header = FrameHeader {
        body_len: body_len.try_into().unwrap(),
        kind: Kind::Extension(200),
        flags: Flags::NONE,
        channel: 0,
        call: CallId(number),
        aux: 0,
    };
    let mut bytes = header.encode().to_vec();
    bytes.extend((number..).take(body_len).map(|byte| byte.to_le_bytes()[0] | 1));
    bytes.resize(bytes.len().next_multiple_of(16), 0);
    bytes
}

/// What a reader of the whole stream finds.
fn naive(mut stream: &[u8]) -> Vec<(u32, Vec<u8>)> {
    let mut frames = Vec::new();
    while !stream.is_empty() {
        let len = u32::from_be_bytes(stream[..4].try_into().unwrap()) as usize;
        let number = u32::from_be_bytes(stream[8..12].try_into().unwrap());
        frames.push((number, stream[16..16 + len].to_vec()));
        stream = &stream[(16 + len).next_multiple_of(16)..];
    }
    frames
}

/// Reads at most `limit` bytes, and not more than fit, as a socket would.
fn read(buffer: &mut RecvBuffer, stream: &mut &[u8], limit: usize) -> usize {
    let spare = buffer.spare();
    let len = limit.min(spare.capacity() - spare.len()).min(stream.len());
    spare.extend_from_slice(&stream[..len]);
    *stream = &stream[len..];
    len
}

fn check(buffer: &RecvBuffer) {
    assert!(buffer.is_aligned());
    assert!(buffer.retired.is_empty());
    assert!((MIN_SEGMENT..=MAX_SEGMENT).contains(&buffer.segment_len));
    assert!(buffer.segment.len() <= buffer.segment.capacity());
}

fn body_len() -> impl Strategy<Value = usize> {
    prop_oneof![4 => 0..64_usize, 3 => 64..2_000_usize, 2 => 2_000..20_000_usize, 1 => 20_000..700_000_usize]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// P-10, P-18
    #[test]
    fn any_chunking_yields_the_frames_of_the_stream(
        lens in vec(body_len(), 1..24),
        chunks in vec(prop_oneof![1..40_usize, 1..5_000_usize, 1..400_000_usize], 1..16),
        keep in vec(any::<bool>(), 1..16),
    ) {
        let stream: Vec<u8> = lens.iter().zip(0..).flat_map(|(len, number)| frame(number, *len)).collect();
        let mut rest = stream.as_slice();
        let mut buffer = RecvBuffer::new();
        let mut frames = Vec::new();
        let mut kept = Vec::new();
        let mut chunks = chunks.iter().cycle();
        let mut keep = keep.iter().cycle();
        while !rest.is_empty() {
            prop_assert!(read(&mut buffer, &mut rest, *chunks.next().unwrap()) > 0);
            check(&buffer);
            while let Some(Frame { header, body }) = buffer.next_frame(MAX_BODY).unwrap() {
                prop_assert!(body.is_empty() || body.as_ptr().addr() % 16 == 0);
                frames.push((header.call.0, body.to_vec()));
                if *keep.next().unwrap() {
                    kept.push((header.call.0, body));
                }
                check(&buffer);
            }
        }
        prop_assert!(buffer.unread().is_empty());
        prop_assert_eq!(&frames, &naive(&stream));
        // Bodies that are held stay what they were, whatever came after them.
        for (number, body) in kept {
            prop_assert_eq!(&frames[number as usize].1[..], &body[..]);
        }
    }
}

/// P-18: exhaustive for a short stream.
#[test]
fn every_split_of_a_short_stream_yields_its_frames() {
    let stream = [frame(0, 0), frame(1, 5), frame(2, 16), frame(3, 17)].concat();
    for first in 0..=stream.len() {
        for second in first..=stream.len() {
            let mut buffer = RecvBuffer::new();
            let mut frames = Vec::new();
            for mut part in [&stream[..first], &stream[first..second], &stream[second..]] {
                read(&mut buffer, &mut part, usize::MAX);
                while let Some(frame) = buffer.next_frame(MAX_BODY).unwrap() {
                    frames.push((frame.header.call.0, frame.body.to_vec()));
                }
            }
            assert_eq!(frames, naive(&stream));
        }
    }
}

/// Whatever the owner appends, bodies are aligned: an owner that overfills the buffer pays with a copy.
#[test]
fn bodies_are_aligned_at_every_offset_of_the_memory() {
    for offset in 0..32 {
        let mut buffer = RecvBuffer::new();
        let frames = [frame(0, 9_000), frame(1, 33), frame(2, 40_000)].concat();
        buffer
            .spare()
            .extend_from_slice(&[vec![0xee; offset], frames].concat());
        buffer.consume(offset);
        for len in [9_000, 33, 40_000] {
            let body = buffer.next_frame(MAX_BODY).unwrap().unwrap().body;
            assert_eq!((body.len(), body.as_ptr().addr() % 16), (len, 0));
            assert!(body.iter().all(|byte| byte & 1 == 1));
        }
    }
}

#[test]
fn an_empty_buffer_is_aligned_again_for_nothing() {
    for offset in 0..32 {
        let mut buffer = RecvBuffer::new();
        read(&mut buffer, &mut vec![0xee; offset].as_slice(), usize::MAX);
        buffer.consume(offset);
        read(&mut buffer, &mut frame(0, 33).as_slice(), usize::MAX);
        assert_eq!(buffer.next_frame(MAX_BODY).unwrap().unwrap().body.len(), 33);
        assert_eq!(buffer.copied_bytes(), 0);
    }
}

/// P-11
#[test]
fn nothing_is_allocated_on_the_word_of_a_header() {
    let mut buffer = RecvBuffer::new();
    let whole = frame(7, MAX_BODY as usize);
    let mut rest = whole.as_slice();
    read(&mut buffer, &mut rest, 16);
    assert_eq!(
        buffer.next_frame(MAX_BODY - 1),
        Err(DecodeError::FrameTooLarge {
            len: MAX_BODY,
            limit: MAX_BODY - 1
        })
    );
    assert_eq!(buffer.next_frame(MAX_BODY), Ok(None));
    let mut arrived = 16;
    while !rest.is_empty() {
        let allowed = (2 * MAX_SEGMENT).max(4 * arrived);
        assert!(buffer.spare().capacity() <= allowed, "{arrived} bytes arrived");
        arrived += read(&mut buffer, &mut rest, 100_000);
        if !rest.is_empty() {
            assert_eq!(buffer.next_frame(MAX_BODY), Ok(None));
        }
    }
    assert_eq!(buffer.next_frame(MAX_BODY).unwrap().unwrap().body, &whole[16..]);
}

/// P-13
#[test]
fn padding_that_is_not_zero_is_refused() {
    for offset in 21..32 {
        let mut bytes = frame(0, 5);
        bytes[offset] = 1;
        let mut buffer = RecvBuffer::new();
        read(&mut buffer, &mut bytes.as_slice(), usize::MAX);
        assert_eq!(
            buffer.next_frame(MAX_BODY),
            Err(DecodeError::PaddingNotZero {
                kind: Kind::Extension(200)
            })
        );
    }
}

#[test]
fn memory_is_used_again_once_its_bodies_are_dropped() {
    let mut buffer = RecvBuffer::new();
    buffer.spare();
    let start = buffer.segment.as_ptr();
    for number in 0..10_000 {
        read(&mut buffer, &mut frame(number, 64).as_slice(), usize::MAX);
        assert_eq!(buffer.next_frame(MAX_BODY).unwrap().unwrap().body.len(), 64);
        let offset = buffer.segment.as_ptr().addr() - start.addr();
        assert!(offset <= MIN_SEGMENT, "the segment is still the first one");
    }
    assert_eq!(buffer.copied_bytes(), 0);
}

#[test]
fn two_segments_take_turns_while_some_bodies_are_held() {
    let mut buffer = RecvBuffer::new();
    let mut held = std::collections::VecDeque::new();
    let mut starts = std::collections::BTreeSet::new();
    for number in 0..10_000 {
        read(&mut buffer, &mut frame(number, 64).as_slice(), usize::MAX);
        held.push_back(buffer.next_frame(MAX_BODY).unwrap().unwrap().body);
        if held.len() > 16 {
            held.pop_front();
        }
        starts.insert(buffer.segment.as_ptr().addr() / (4 * MIN_SEGMENT));
    }
    assert!(
        starts.len() <= 4,
        "two segments, each across at most one boundary: {starts:?}"
    );
}

#[test]
fn memory_of_a_large_frame_is_used_for_the_next_one_and_given_up_for_small_ones() {
    let len = 3 << 20;
    let bytes = frame(0, len);
    let mut buffer = RecvBuffer::new();
    let receive = |buffer: &mut RecvBuffer| {
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            read(buffer, &mut rest, usize::MAX);
            if let Some(frame) = buffer.next_frame(MAX_BODY).unwrap() {
                return frame.body.as_ptr().addr();
            }
        }
        unreachable!("the frame is complete")
    };
    let first = receive(&mut buffer);
    let second = receive(&mut buffer);
    assert_eq!(first / 64, second / 64);
    for number in 0..20_000 {
        read(&mut buffer, &mut frame(number, 64).as_slice(), usize::MAX);
        buffer.next_frame(MAX_BODY).unwrap().unwrap();
    }
    assert!(buffer.segment_allocated + buffer.retired_allocated <= 4 * MAX_SEGMENT);
}

#[test]
fn segments_grow_with_reads_that_fill_them_and_an_idle_buffer_holds_nothing() {
    let stream: Vec<u8> = (0..20_000).flat_map(|number| frame(number, 64)).collect();
    let mut rest = stream.as_slice();
    let mut buffer = RecvBuffer::new();
    while !rest.is_empty() {
        read(&mut buffer, &mut rest, usize::MAX);
        while buffer.next_frame(MAX_BODY).unwrap().is_some() {}
    }
    assert_eq!(buffer.segment_len, MAX_SEGMENT);
    buffer.release();
    assert_eq!(buffer.segment.capacity() + buffer.retired.capacity(), 0);
    read(&mut buffer, &mut [1, 2, 3].as_slice(), 3);
    buffer.release();
    assert_eq!(buffer.unread(), [1, 2, 3], "an incomplete frame is kept");
}
