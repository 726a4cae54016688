//! Inbox against a naive reassembler.

mod costs;

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::buffer::Frame;
use crate::header::Flags;
use crate::rarity::{BULK_LEN, LONG_LEN};
use crate::send_queue::CHUNK_LEN;

const MAX_FRAME: u32 = 256 << 10;
/// Kinds of frames by which a stream tells the owner what to do, so that it does so at the same place however the stream is cut.
const PLAIN: Kind = Kind::Extension(200);
const DISCARD: Kind = Kind::Extension(201);
const ABANDON: Kind = Kind::Extension(202);

fn header(kind: Kind, call: u32, len: usize) -> FrameHeader {
    FrameHeader {
        body_len: len.try_into().unwrap(),
        ..FrameHeader::new(kind, CallId(call))
    }
}

/// A frame whose body differs from place to place and holds no zero.
fn frame(header: FrameHeader) -> Vec<u8> {
    let mut bytes = header.encode().to_vec();
    let seed = header.call.0.wrapping_mul(77) ^ header.body_len;
    bytes.extend(
        (seed..)
            .take(header.body_len as usize)
            .map(|n| n.wrapping_mul(0x9e37_79b1).to_be_bytes()[0] | 1),
    );
    bytes.resize(header.frame_len(), 0);
    bytes
}

fn first(call: u32, len: usize, total: usize) -> Vec<u8> {
    frame(FrameHeader {
        flags: Flags::CHUNKED,
        aux: total.try_into().unwrap(),
        ..header(Kind::Item, call, len)
    })
}

fn chunk(call: u32, len: usize) -> Vec<u8> {
    frame(header(Kind::Chunk, call, len))
}

/// What an inbox has received, with the bodies of frames.
#[derive(Clone, Debug, PartialEq)]
enum Received {
    Frame(Frame),
    Body { call: CallId, body: Bytes },
    Dropped { call: CallId },
    Stray(FrameHeader),
    Misfit { header: FrameHeader, missing: usize },
}

fn next(inbox: &mut Inbox) -> Result<Option<Received>, DecodeError> {
    let next = inbox.next(MAX_FRAME)?;
    Ok(next.map(|received| match received {
        super::Received::Frame(header) => {
            let again = inbox.next(MAX_FRAME);
            assert_eq!(
                again,
                Ok(Some(super::Received::Frame(header))),
                "it is next until its body is taken"
            );
            let body = inbox.take_body(&header);
            Received::Frame(Frame { header, body })
        }
        super::Received::Body { call, body } => Received::Body { call, body },
        super::Received::Dropped { call } => Received::Dropped { call },
        super::Received::Stray(header) => Received::Stray(header),
        super::Received::Misfit { header, missing } => Received::Misfit { header, missing },
    }))
}

/// What an owner finds in a stream, and how the stream ends: an error, or how much of the last frame is there and needed.
#[derive(Debug, PartialEq)]
struct Found {
    received: Vec<Received>,
    end: Result<(usize, usize), DecodeError>,
}

/// The reassembler that is right because it is simple.
fn naive(mut stream: &[u8]) -> Found {
    let mut open = BTreeMap::<CallId, (Vec<u8>, usize, bool)>::new();
    let mut received = Vec::new();
    let end = loop {
        let Some(bytes) = stream.first_chunk() else {
            break Ok((stream.len(), HEADER_LEN));
        };
        let header = match FrameHeader::decode(bytes, MAX_FRAME) {
            Ok(header) => header,
            Err(error) => break Err(error),
        };
        let len = header.body_len as usize;
        if header.kind == Kind::Chunk
            && let Some((body, total, _)) = open.get(&header.call)
            && (len == 0 || len > total - body.len())
        {
            let missing = total - body.len();
            received.push(Received::Misfit { header, missing });
            break Ok((0, 0));
        }
        let Some((frame, rest)) = stream.split_at_checked(header.frame_len()) else {
            break Ok((stream.len(), header.frame_len()));
        };
        let (body, padding) = frame[HEADER_LEN..].split_at(len);
        if padding.iter().any(|byte| *byte != 0) {
            break Err(DecodeError::PaddingNotZero { kind: header.kind });
        }
        stream = rest;
        if header.kind != Kind::Chunk {
            if header.flags.contains(Flags::CHUNKED) {
                open.insert(header.call, (body.to_vec(), header.aux as usize, true));
            } else if header.kind == DISCARD {
                open.entry(header.call).and_modify(|entry| entry.2 = false);
            } else if header.kind == ABANDON {
                open.remove(&header.call);
            }
            let body = Bytes::copy_from_slice(body);
            received.push(Received::Frame(Frame { header, body }));
        } else if let Some((so_far, total, kept)) = open.get_mut(&header.call) {
            so_far.extend_from_slice(body);
            if so_far.len() == *total {
                let call = header.call;
                received.push(if *kept {
                    Received::Body {
                        call,
                        body: std::mem::take(so_far).into(),
                    }
                } else {
                    Received::Dropped { call }
                });
                open.remove(&header.call);
            }
        } else {
            received.push(Received::Stray(header));
        }
    };
    Found { received, end }
}

/// Reads at most `limit` bytes, and not more than fit, as a socket would.
fn read(inbox: &mut Inbox, stream: &mut &[u8], limit: usize) -> usize {
    let mut room = inbox.spare();
    assert!(
        room.remaining_mut() > 0,
        "a read of nothing would look like the end"
    );
    let capacity = room.get_ref().capacity();
    let len = limit.min(room.remaining_mut()).min(stream.len());
    room.put_slice(&stream[..len]);
    assert_eq!(
        room.get_ref().capacity(),
        capacity,
        "what is offered is there already"
    );
    *stream = &stream[len..];
    len
}

/// Takes all there is, and does what the frames tell the owner to do.
fn take(inbox: &mut Inbox, received: &mut Vec<Received>) -> Result<(), DecodeError> {
    while let Some(found) = next(inbox)? {
        match &found {
            Received::Frame(Frame { header, body }) => {
                assert!(body.is_empty() || body.as_ptr().addr() % 16 == 0);
                if header.flags.contains(Flags::CHUNKED) {
                    inbox.begin(header.call, body, header.aux);
                } else if header.kind == DISCARD {
                    inbox.discard(header.call);
                } else if header.kind == ABANDON {
                    assert_eq!(inbox.is_incomplete(header.call), inbox.abandon(header.call));
                }
            }
            Received::Body { body, .. } => assert!(body.as_ptr().addr() % 16 == 0),
            Received::Stray(_) | Received::Dropped { .. } => {}
            Received::Misfit { .. } => {
                assert_eq!(next(inbox), Ok(Some(found.clone())));
                received.push(found);
                return Ok(());
            }
        }
        received.push(found);
    }
    Ok(())
}

fn is_over(received: &[Received]) -> bool {
    matches!(received.last(), Some(Received::Misfit { .. }))
}

/// What an inbox finds if the stream is read in steps of these lengths, over and over.
fn play(mut stream: &[u8], plan: &[usize]) -> Found {
    let mut inbox = Inbox::new();
    let mut received = Vec::new();
    let mut plan = plan.iter().cycle();
    while !stream.is_empty() {
        assert!(read(&mut inbox, &mut stream, *plan.next().unwrap()) > 0);
        let taken = take(&mut inbox, &mut received);
        check_memory(&inbox);
        if let Err(error) = taken {
            return Found {
                received,
                end: Err(error),
            };
        }
        if is_over(&received) {
            return Found {
                received,
                end: Ok((0, 0)),
            };
        }
    }
    Found {
        received,
        end: Ok((inbox.received(), inbox.expected())),
    }
}

/// Reads a stream as fast as it is offered room; returns how many reads that took, and how many bytes were copied.
fn pour(inbox: &mut Inbox, mut stream: &[u8]) -> (usize, u64, Vec<Received>) {
    let (mut reads, mut received) = (0, Vec::new());
    while !stream.is_empty() {
        read(inbox, &mut stream, usize::MAX);
        take(inbox, &mut received).unwrap();
        reads += 1;
    }
    (reads, inbox.copied_bytes(), received)
}

fn check_memory(inbox: &Inbox) {
    for body in &inbox.bodies {
        if let Some(memory) = &body.memory {
            assert!(memory.capacity() <= 2 * body.arrived + (256 << 10));
            assert_eq!(memory.len(), body.arrived);
        }
    }
}

/// What a peer sends next: what, for which call, and a length.
fn step() -> impl Strategy<Value = (u8, u32, usize)> {
    let len = prop_oneof![4 => 0..64_usize, 2 => 64..2_000_usize, 3 => 2_000..20_000_usize, 1 => 20_000..200_000_usize];
    (0..16_u8, 0..4_u32, len)
}

/// The stream of a peer that means to send that. Chunks that would be empty or too long are cut to what is allowed.
fn stream(steps: &[(u8, u32, usize)]) -> (Vec<u8>, BTreeMap<u32, usize>) {
    let mut open = BTreeMap::<u32, usize>::new();
    let mut bytes = Vec::new();
    for (what, call, len) in steps.iter().copied() {
        match (what, open.get_mut(&call)) {
            (0, _) => bytes.extend(frame(header(DISCARD, call, 0))),
            (1, _) => {
                bytes.extend(frame(header(ABANDON, call, len.min(20))));
                open.remove(&call);
            }
            (2..5, _) => bytes.extend(frame(header(PLAIN, call, len))),
            (5, None) => bytes.extend(chunk(call, len)),
            (_, None) => {
                let lacks = 1 + len * usize::from(what % 4 + 1);
                bytes.extend(first(call, len, len + lacks));
                open.insert(call, lacks);
            }
            (_, Some(lacks)) => {
                let len = len.clamp(1, *lacks);
                *lacks -= len;
                if *lacks == 0 {
                    open.remove(&call);
                }
                bytes.extend(chunk(call, len));
            }
        }
    }
    (bytes, open)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    /// P-18, P-20
    #[test]
    fn any_cut_of_any_interleaving_yields_what_is_in_the_stream(
        steps in vec(step(), 1..40),
        plan in vec(prop_oneof![1..40_usize, 1..5_000_usize, 1..400_000_usize, Just(usize::MAX)], 1..16),
        fault in 0..6_u8,
        cut in prop_oneof![2 => Just(0), 1 => 0..5_000_usize],
    ) {
        let (mut stream, open) = stream(&steps);
        let call = open.keys().next().copied().unwrap_or(9);
        let lacks = open.get(&call).copied().unwrap_or(100);
        match fault {
            0 => stream.extend(chunk(call, 0)),
            1 => stream.extend(chunk(call, (lacks + 1).min(MAX_FRAME as usize))),
            2 => {
                stream.extend(chunk(call, lacks.min(5_001)));
                *stream.last_mut().unwrap() |= 1;
            }
            _ => {}
        }
        stream.truncate(stream.len().saturating_sub(cut));
        prop_assert_eq!(play(&stream, &plan), naive(&stream));
    }

    /// Whenever it happens, and whatever else is on its way.
    #[test]
    fn a_body_can_be_given_up_at_any_time(
        at in 0..30_000_usize,
        plan in vec(prop_oneof![1..40_usize, 1..9_000_usize], 1..8),
        is_discarded: bool,
        is_seen: bool,
    ) {
        let others = |found: &[Received]| -> Vec<Received> {
            found
                .iter()
                .filter(|next| match next {
                    Received::Body { call, .. } | Received::Dropped { call } => *call != CallId(1),
                    Received::Stray(header) => header.call != CallId(1),
                    Received::Frame(_) | Received::Misfit { .. } => true,
                })
                .cloned()
                .collect()
        };
        let stream = [
            first(1, 100, 15_103),
            chunk(1, 9_001),
            first(2, 5, 8_005),
            chunk(1, 6_002),
            chunk(2, 8_000),
            frame(header(PLAIN, 3, 77)),
        ]
        .concat();
        let mut inbox = Inbox::new();
        let (mut rest, mut received, mut plan) = (stream.as_slice(), Vec::new(), plan.iter().cycle());
        let mut given_up = false;
        while !rest.is_empty() {
            read(&mut inbox, &mut rest, *plan.next().unwrap());
            if is_seen {
                take(&mut inbox, &mut received).unwrap();
            }
            if !given_up && stream.len() - rest.len() >= at {
                given_up = true;
                if is_discarded {
                    inbox.discard(CallId(1));
                } else {
                    inbox.abandon(CallId(1));
                }
                prop_assert!(inbox.bodies.iter().all(|body| body.call != CallId(1) || body.memory.is_none()));
            }
            take(&mut inbox, &mut received).unwrap();
        }
        prop_assert_eq!(others(&received), others(&naive(&stream).received));
        prop_assert_eq!((inbox.received(), inbox.announced(), inbox.arrived()), (0, 0, 0));
    }
}

/// P-18: exhaustive for a short stream, with a chunk that is read directly.
#[test]
fn every_split_of_a_short_stream_yields_the_same() {
    let stream = [
        first(1, 3, 5_020),
        chunk(1, 5_001),
        chunk(1, 16),
        frame(header(PLAIN, 2, 17)),
    ]
    .concat();
    let expected = naive(&stream);
    for at in 1..stream.len() {
        assert_eq!(play(&stream, &[at, usize::MAX]), expected, "{at}");
    }
    assert_eq!(play(&stream, &[1]), expected);
}

/// Owners that read twice before they look are understood, and so is one that appends more than was offered.
#[test]
fn nothing_is_lost_if_nobody_looks_between_two_reads() {
    let stream = [
        first(1, 3, 5_004),
        chunk(1, 5_001),
        frame(header(PLAIN, 2, 17)),
        frame(header(PLAIN, 2, 3_000)),
    ]
    .concat();
    for step in [1, 7, 500, 5_000] {
        let mut inbox = Inbox::new();
        let (mut rest, mut received) = (stream.as_slice(), Vec::new());
        read(&mut inbox, &mut rest, 500);
        take(&mut inbox, &mut received).unwrap();
        while !rest.is_empty() {
            read(&mut inbox, &mut rest, step);
        }
        take(&mut inbox, &mut received).unwrap();
        assert_eq!(received, naive(&stream).received);

        let mut inbox = Inbox::new();
        let (mut rest, mut received) = (stream.as_slice(), Vec::new());
        read(&mut inbox, &mut rest, step);
        take(&mut inbox, &mut received).unwrap();
        inbox.spare().get_mut().extend_from_slice(rest);
        take(&mut inbox, &mut received).unwrap();
        assert_eq!(received, naive(&stream).received);
    }
}

#[test]
fn a_discarded_body_takes_no_memory_and_still_has_to_fit() {
    let mut inbox = Inbox::new();
    pour(&mut inbox, &first(1, 1_000, 601_000));
    inbox.discard(CallId(1));
    assert_eq!((inbox.announced(), inbox.arrived()), (601_000, 0));
    let copied = inbox.copied_bytes();
    for _ in 0..5 {
        assert_eq!(pour(&mut inbox, &chunk(1, 100_000)).2, []);
    }
    assert_eq!(inbox.missing(), 100_000);
    assert!(inbox.is_incomplete(CallId(1)));
    let too_long = chunk(1, 100_001);
    let header = FrameHeader::decode(too_long.first_chunk().unwrap(), MAX_FRAME).unwrap();
    let misfit = Received::Misfit {
        header,
        missing: 100_000,
    };
    read(&mut inbox, &mut too_long.as_slice(), HEADER_LEN);
    assert_eq!(next(&mut inbox), Ok(Some(misfit)));
    inbox.consume(HEADER_LEN);
    let dropped = Received::Dropped { call: CallId(1) };
    assert_eq!(pour(&mut inbox, &chunk(1, 100_000)).2, [dropped]);
    assert!(!inbox.is_incomplete(CallId(1)));
    assert!(
        inbox.copied_bytes() - copied < 200_000,
        "only what grows the buffer"
    );
}

#[test]
fn what_is_left_of_a_chunk_that_was_given_up_moves_nothing() {
    let stream = [
        first(1, 8, 30_000),
        chunk(1, 9_001),
        frame(header(PLAIN, 3, 7_000)),
    ]
    .concat();
    let mut inbox = Inbox::new();
    pour(&mut inbox, &stream[..7_000]);
    let before = inbox.copied_bytes();
    inbox.discard(CallId(1));
    let (_, copied, received) = pour(&mut inbox, &stream[7_000..]);
    assert_eq!((received.len(), copied), (1, before));
}

/// P-11: a chunk is a frame, with a frame's limit.
#[test]
fn a_chunk_above_the_limit_is_refused_by_its_header() {
    let mut inbox = Inbox::new();
    pour(&mut inbox, &first(1, 1_000, 601_000));
    let header = header(Kind::Chunk, 1, MAX_FRAME as usize + 1);
    read(&mut inbox, &mut header.encode().as_slice(), HEADER_LEN);
    let (len, limit) = (MAX_FRAME + 1, MAX_FRAME);
    assert_eq!(next(&mut inbox), Err(DecodeError::FrameTooLarge { len, limit }));
}

/// P-13
#[test]
fn padding_of_a_chunk_that_is_not_zero_is_refused() {
    for (len, offset) in [(5, 21), (5, 31), (5_001, 5_017), (5_001, 5_023)] {
        let mut stream = [first(1, 0, 9_000), chunk(1, len)].concat();
        stream[HEADER_LEN + offset] = 1;
        for plan in [1, 16, 1_000, usize::MAX] {
            let error = DecodeError::PaddingNotZero { kind: Kind::Chunk };
            assert_eq!(play(&stream, &[plan]).end, Err(error));
        }
    }
}

#[test]
fn a_body_whose_memory_was_moved_out_of_alignment_is_copied_at_the_end() {
    let mut inbox = Inbox::new();
    pour(&mut inbox, &first(1, 1_000, 9_000));
    let memory = inbox.bodies[0].memory.as_mut().unwrap();
    let mut moved = aligned_memory(9_000 + BEHIND + 1);
    moved.extend_from_slice(&[0]);
    moved.extend_from_slice(memory);
    bytes::Buf::advance(&mut moved, 1);
    *memory = moved;
    let before = inbox.copied_bytes();
    let (_, copied, received) = pour(&mut inbox, &chunk(1, 8_000));
    assert!(matches!(&received[..], [Received::Body { body, .. }] if body.as_ptr().addr() % 16 == 0));
    assert!(copied - before >= 9_000);
}
