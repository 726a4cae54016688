//! A scripted peer: bytes as anybody might send them, and what the other side makes of them.

use rpc_core::error::ConnectionError;
use rpc_core::header::{Flags, FrameHeader, Kind};
use rpc_core::preface::{PREFACE_LEN, Preface, Side};
use rpc_core::{CallId, Code, Limits};

use super::{Endpoint, start};

/// What one side did in answer to a stream of bytes.
#[derive(Debug, PartialEq, Eq)]
pub struct Trace {
    pub events: Vec<String>,
    pub error: Option<ConnectionError>,
    /// What it sent.
    pub sent: Vec<u8>,
}

impl Trace {
    /// The frames that were sent behind the preface.
    pub fn frames(&self) -> Vec<(FrameHeader, Vec<u8>)> {
        self.sent.get(PREFACE_LEN..).map(read_frames).unwrap_or_default()
    }

    /// The code and text of the goaway that ends what was sent.
    pub fn goaway(&self) -> Option<(Code, String)> {
        let (header, body) = self
            .frames()
            .pop()
            .filter(|(header, _)| header.kind == Kind::Goaway)?;
        Some((
            Code::from_number(header.aux),
            String::from_utf8(body[8..].to_vec()).unwrap(),
        ))
    }
}

/// The frames of a stream that has to be whole and well-formed.
pub fn read_frames(mut stream: &[u8]) -> Vec<(FrameHeader, Vec<u8>)> {
    let mut frames = Vec::new();
    while let Some(bytes) = stream.first_chunk() {
        let header = FrameHeader::decode(bytes, Limits::LARGEST_BODY).unwrap();
        frames.push((header, stream[16..16 + header.body_len as usize].to_vec()));
        stream = &stream[header.frame_len()..];
    }
    assert_eq!(stream, [], "only whole frames are sent");
    frames
}

/// Gives a side these bytes, `chunk` at a time, and then the end of the stream if `end`.
pub fn play(endpoint: &mut impl Endpoint, mut bytes: &[u8], chunk: usize, end: bool) -> Trace {
    let now = start();
    let mut trace = Trace {
        events: Vec::new(),
        error: None,
        sent: Vec::new(),
    };
    loop {
        let len = endpoint.receive(&bytes[..chunk.min(bytes.len())]);
        bytes = &bytes[len..];
        if bytes.is_empty() && end {
            endpoint.end_input();
        }
        loop {
            match endpoint.poll(now) {
                Ok(Some(event)) => trace.events.push(event),
                Ok(None) => break,
                Err(error) => assert_eq!(trace.error.replace(error), None),
            }
        }
        trace.sent.extend(endpoint.transmit(usize::MAX));
        if bytes.is_empty() || endpoint.closing() {
            assert_eq!(endpoint.closing(), trace.error.is_some());
            return trace;
        }
    }
}

pub fn preface(side: Side) -> Vec<u8> {
    Preface::new(side, &Limits::default()).encode().to_vec()
}

/// A frame as its header and body say, whether or not the header makes sense; the length is set.
pub fn raw(header: FrameHeader, body: &[u8]) -> Vec<u8> {
    let header = FrameHeader {
        body_len: body.len().try_into().unwrap(),
        ..header
    };
    let mut bytes = header.encode().to_vec();
    bytes.extend(body);
    bytes.resize(bytes.len().next_multiple_of(16), 0);
    bytes
}

/// The simplest frame of a kind that is allowed.
pub fn plain(kind: Kind, call: u32) -> Vec<u8> {
    let aux = u32::from(matches!(kind, Kind::Failure | Kind::Credit));
    let call = if matches!(kind, Kind::Ping | Kind::Pong | Kind::Goaway) {
        0
    } else {
        call
    };
    let body: &[u8] = match kind {
        Kind::Call => &[0; 16],
        Kind::Goaway => &[0; 8],
        Kind::Chunk => &[0],
        _ => &[],
    };
    raw(
        FrameHeader {
            aux,
            ..FrameHeader::new(kind, CallId(call))
        },
        body,
    )
}

/// The body of a call.
pub fn call_body(time_left: u32, metadata_len: u16, rest: &[u8]) -> Vec<u8> {
    channels_body(0, time_left, metadata_len, rest)
}

/// The body of a call with channels on which the client sends.
pub fn channels_body(channels: u16, time_left: u32, metadata_len: u16, rest: &[u8]) -> Vec<u8> {
    let mut body = 0x1234_5678_9abc_def0_u64.to_be_bytes().to_vec();
    body.extend(time_left.to_be_bytes());
    body.extend(channels.to_be_bytes());
    body.extend(metadata_len.to_be_bytes());
    body.extend(rest);
    body
}

pub fn call(id: u32, body: &[u8]) -> Vec<u8> {
    raw(FrameHeader::new(Kind::Call, CallId(id)), body)
}

pub fn goaway(code: Code, taken: u64, text: &str) -> Vec<u8> {
    let body = [&taken.to_be_bytes(), text.as_bytes()].concat();
    raw(
        FrameHeader {
            aux: code.number(),
            ..FrameHeader::new(Kind::Goaway, CallId(0))
        },
        &body,
    )
}

/// A call with channels on which the client sends.
pub fn streaming(id: u32, channels: u16) -> Vec<u8> {
    call(id, &channels_body(channels, 0, 0, b""))
}

/// A frame of a channel, with that aux.
pub fn on_channel(kind: Kind, call: u32, channel: u16, aux: u32, body: &[u8]) -> Vec<u8> {
    raw(
        FrameHeader {
            channel,
            aux,
            ..FrameHeader::new(kind, CallId(call))
        },
        body,
    )
}

/// The first frame of a body that is `total` long.
pub fn chunked(kind: Kind, call: u32, total: u32, body: &[u8]) -> Vec<u8> {
    raw(
        FrameHeader {
            flags: Flags::CHUNKED,
            aux: total,
            ..FrameHeader::new(kind, CallId(call))
        },
        body,
    )
}

/// What follows it.
pub fn chunk(call: u32, body: &[u8]) -> Vec<u8> {
    raw(FrameHeader::new(Kind::Chunk, CallId(call)), body)
}
