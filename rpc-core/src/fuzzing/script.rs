//! Script: what a peer may send, built from the fuzzer's bytes so that most of it gets past framing.

use super::input::Input;
use crate::header::{Flags, FrameHeader, Kind};
use crate::id::CallId;
use crate::limits::Limits;
use crate::preface::{Preface, Side};

/// A frame with any header and a body that is long enough for its kind. Zeros make the plainest frame that is allowed.
pub(super) fn frame(input: &mut Input<'_>) -> Vec<u8> {
    let kind = kind(input.byte());
    let flags = Flags(input.byte());
    let mut body = body(kind, flags, input);
    if input.byte() == 0xff {
        // Anything may follow, also what makes a call's archive cross a segment.
        let len = input.len();
        body.extend((0..len).map(|index| index.to_le_bytes()[0]));
    }
    let header = FrameHeader {
        body_len: u32::try_from(body.len()).unwrap_or(u32::MAX),
        kind,
        flags,
        channel: input.byte().into(),
        call: if about_connection(kind) {
            CallId(0)
        } else {
            CallId(number(input))
        },
        aux: aux(kind, flags, body.len(), input),
    };
    let mut bytes = header.encode().to_vec();
    bytes.extend(body);
    bytes.resize(bytes.len().next_multiple_of(16), 0);
    bytes
}

/// The preface of a side, with at most one byte changed.
pub(super) fn preface(side: Side, input: &mut Input<'_>) -> Vec<u8> {
    let limits = Limits {
        max_body: Limits::GUARANTEED_BODY << (input.byte() % 8),
        ..Limits::default()
    };
    let mut bytes = Preface {
        max_calls: calls(side, input.byte()),
        ..Preface::new(side, &limits)
    }
    .encode();
    let change = input.byte();
    let at = usize::from(change) % bytes.len();
    if let Some(byte) = bytes.get_mut(at).filter(|_| change >= 128) {
        *byte = input.byte();
    }
    bytes.to_vec()
}

fn calls(side: Side, byte: u8) -> u32 {
    match side {
        Side::Client => 0,
        Side::Server => Limits::GUARANTEED_CALLS + u32::from(byte),
    }
}

fn kind(byte: u8) -> Kind {
    let plain = Kind::from_number(byte % 12 + 1);
    if byte >= 0xf0 {
        Kind::Extension(byte)
    } else {
        plain.unwrap_or(Kind::Ping)
    }
}

fn about_connection(kind: Kind) -> bool {
    matches!(kind, Kind::Ping | Kind::Pong | Kind::Goaway)
}

/// Mostly small, sometimes at an edge.
fn number(input: &mut Input<'_>) -> u32 {
    match input.byte() {
        0xfb => 1_023,
        0xfc => 1_024,
        0xfd => 65_536,
        0xfe => u32::MAX,
        0xff => input.u32(),
        small => small.into(),
    }
}

fn aux(kind: Kind, flags: Flags, body_len: usize, input: &mut Input<'_>) -> u32 {
    let aux = number(input);
    match kind {
        Kind::Failure | Kind::Credit => aux.max(1),
        Kind::Call | Kind::Reply | Kind::Item if flags.contains(Flags::CHUNKED) => {
            aux.saturating_add(u32::try_from(body_len).unwrap_or(u32::MAX))
        }
        Kind::Call
        | Kind::Reply
        | Kind::Item
        | Kind::End
        | Kind::Cancel
        | Kind::Chunk
        | Kind::Ping
        | Kind::Pong
        | Kind::Goaway
        | Kind::Stop
        | Kind::Extension(_) => aux,
    }
}

fn body(kind: Kind, flags: Flags, input: &mut Input<'_>) -> Vec<u8> {
    let mut body = Vec::new();
    match kind {
        Kind::Call => {
            body.extend(u64::from(input.byte()).to_be_bytes());
            body.extend((number(input) << 8).to_be_bytes());
            body.extend(u16::from(input.byte() % 20).to_be_bytes());
            let [_, _, high, low] = number(input).to_be_bytes();
            body.extend([high, low]);
        }
        Kind::Goaway => {
            body.extend(u64::from(number(input)).to_be_bytes());
        }
        _ if flags.contains(Flags::METADATA) => {
            body.extend(number(input).to_be_bytes());
            body.extend([0; 12]);
        }
        Kind::Reply
        | Kind::Failure
        | Kind::Item
        | Kind::End
        | Kind::Credit
        | Kind::Cancel
        | Kind::Chunk
        | Kind::Ping
        | Kind::Pong
        | Kind::Stop
        | Kind::Extension(_) => {}
    }
    let len = input.len();
    body.extend(input.bytes(len));
    body
}
