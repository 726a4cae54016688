//! Target `frames`: the receive buffer against a reassembler that sees the whole stream at once.

use bytes::Bytes;

use super::input::Input;
use super::script;
use crate::buffer::{Frame, RecvBuffer};
use crate::error::DecodeError;
use crate::header::{FrameHeader, HEADER_LEN};
use crate::preface::{PREFACE_LEN, Preface, Side};

/// A byte of settings, a plan of chunks, then the stream: as bytes, or as frames to be built.
pub(super) fn run(input: &mut Input<'_>) {
    let settings = input.byte();
    let max_body = [64, 4_096, 65_536, 4 << 20][usize::from(settings % 4)];
    let plan_len = 1 + usize::from(settings >> 4);
    let plan = input.bytes(plan_len);
    let stream = if settings & 4 == 0 {
        input.rest().to_vec()
    } else {
        built(input)
    };
    headers_are_what_was_decoded(&stream);
    let expected = reassemble(&stream, max_body);
    assert_eq!(read(&stream, max_body, plan), expected, "chunked by {plan:?}");
    assert_eq!(read_at_once(&stream, max_body), expected, "at once");
}

/// What is in a stream.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    frames: Vec<(FrameHeader, Vec<u8>)>,
    /// The error that ends it, or the length of the incomplete frame at the end and how much of that is needed at least.
    end: Result<(usize, usize), DecodeError>,
}

/// The reader that is right because it is simple.
fn reassemble(mut stream: &[u8], max_body: u32) -> Found {
    let mut frames = Vec::new();
    loop {
        let Some(bytes) = stream.first_chunk::<HEADER_LEN>() else {
            return Found {
                frames,
                end: Ok((stream.len(), HEADER_LEN)),
            };
        };
        let header = match FrameHeader::decode(bytes, max_body) {
            Ok(header) => header,
            Err(error) => {
                return Found {
                    frames,
                    end: Err(error),
                };
            }
        };
        let len = header.body_len as usize;
        let Some((frame, rest)) = stream.split_at_checked(HEADER_LEN + len.next_multiple_of(HEADER_LEN))
        else {
            return Found {
                frames,
                end: Ok((stream.len(), header.frame_len())),
            };
        };
        let (body, padding) = frame[HEADER_LEN..].split_at(len);
        if padding.iter().any(|byte| *byte != 0) {
            return Found {
                frames,
                end: Err(DecodeError::PaddingNotZero { kind: header.kind }),
            };
        }
        frames.push((header, body.to_vec()));
        stream = rest;
    }
}

/// Reads the stream as a socket with that plan would deliver it. Some bodies are held, as running handlers do.
fn read(mut stream: &[u8], max_body: u32, plan: &[u8]) -> Found {
    let mut buffer = RecvBuffer::new();
    let mut frames = Vec::new();
    let mut held: Vec<(usize, Bytes)> = Vec::new();
    let mut steps = plan.iter().copied().cycle();
    loop {
        let step = steps.next().unwrap_or(0xff);
        let len = chunk_len(step).min(stream.len());
        let room = buffer.spare();
        let len = len.min(room.capacity() - room.len());
        room.extend_from_slice(&stream[..len]);
        stream = &stream[len..];
        loop {
            match buffer.next_frame(max_body) {
                Ok(Some(Frame { header, body })) => {
                    assert!(
                        body.is_empty() || body.as_ptr().addr().is_multiple_of(HEADER_LEN),
                        "{header:?}"
                    );
                    if step & 1 == 1 {
                        held.push((frames.len(), body.clone()));
                    }
                    frames.push((header, body.to_vec()));
                }
                Ok(None) => break,
                Err(error) => {
                    held_bodies_are_as_they_were(&held, &frames);
                    return Found {
                        frames,
                        end: Err(error),
                    };
                }
            }
        }
        if step & 6 == 6 {
            held_bodies_are_as_they_were(&held, &frames);
            held.clear();
            buffer.release();
        }
        if stream.is_empty() {
            held_bodies_are_as_they_were(&held, &frames);
            return Found {
                frames,
                end: Ok((buffer.unread().len(), buffer.expected())),
            };
        }
    }
}

/// Reads a stream that was appended without regard for the room that was offered.
fn read_at_once(stream: &[u8], max_body: u32) -> Found {
    let mut buffer = RecvBuffer::new();
    buffer.spare().extend_from_slice(stream);
    let mut frames = Vec::new();
    loop {
        match buffer.next_frame(max_body) {
            Ok(Some(Frame { header, body })) => {
                assert!(
                    body.is_empty() || body.as_ptr().addr().is_multiple_of(HEADER_LEN),
                    "{header:?}"
                );
                frames.push((header, body.to_vec()));
            }
            Ok(None) => {
                return Found {
                    frames,
                    end: Ok((buffer.unread().len(), buffer.expected())),
                };
            }
            Err(error) => {
                return Found {
                    frames,
                    end: Err(error),
                };
            }
        }
    }
}

fn held_bodies_are_as_they_were(held: &[(usize, Bytes)], frames: &[(FrameHeader, Vec<u8>)]) {
    for (index, body) in held {
        assert_eq!(
            body, &frames[*index].1,
            "body {index} changed after it was handed out"
        );
    }
}

/// At least 1, so that every plan comes to the end of the stream.
fn chunk_len(step: u8) -> usize {
    match usize::from(step >> 3) {
        small @ 0..24 => small + 1,
        large => (large - 23) * 8_192,
    }
}

/// A stream of frames; the last may be cut.
fn built(input: &mut Input<'_>) -> Vec<u8> {
    let cut = usize::from(input.byte());
    let mut stream = Vec::new();
    while !input.is_empty() && stream.len() < MAX_STREAM {
        stream.extend(script::frame(input));
    }
    stream.truncate(stream.len().saturating_sub(cut));
    stream
}

/// Every header and preface that is accepted is encoded to the bytes that it was decoded from.
fn headers_are_what_was_decoded(stream: &[u8]) {
    for bytes in stream
        .chunks_exact(HEADER_LEN)
        .filter_map(|chunk| chunk.first_chunk())
    {
        if let Ok(header) = FrameHeader::decode(bytes, u32::MAX) {
            assert_eq!(&header.encode(), bytes);
        }
    }
    if let Some(bytes) = stream.first_chunk::<PREFACE_LEN>() {
        for side in [Side::Client, Side::Server] {
            if let Ok(preface) = Preface::decode(bytes, side) {
                assert_eq!(&preface.encode(), bytes);
            }
        }
    }
}

/// Length at which no further frames are built.
const MAX_STREAM: usize = 256 << 10;
