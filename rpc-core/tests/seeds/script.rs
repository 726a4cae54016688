//! Script: frames in the format by which the targets build them.

pub(crate) const CALL: u8 = 1;
pub(crate) const REPLY: u8 = 2;
pub(crate) const FAILURE: u8 = 3;
pub(crate) const ITEM: u8 = 4;
pub(crate) const END: u8 = 5;
pub(crate) const CREDIT: u8 = 6;
pub(crate) const CANCEL: u8 = 7;
pub(crate) const CHUNK: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;
pub(crate) const GOAWAY: u8 = 11;
pub(crate) const STOP: u8 = 12;

/// A preface as it goes on the wire.
pub(crate) const PREFACE: [u8; 32] = [
    0xf5, b'R', b'P', b'C', 1, 1, 8, 4, 0, 0, 0, 0, 0, 0, 64, 0, 0, 0, 64, 0, 0, 0, 0, 0, 0, 0, 64, 0, 0, 0,
    0, 0,
];

/// The plainest preface.
pub(crate) fn preface() -> Vec<u8> {
    vec![0, 0, 0]
}

/// A frame: kind, flags, the fixed part of its body, the rest of it; whether the body is much longer; its channel, call and aux.
pub(crate) fn frame(
    kind: u8,
    flags: u8,
    fixed: &[u8],
    body: &[u8],
    call: u8,
    aux: u8,
    longer: Option<u8>,
) -> Vec<u8> {
    let number = if kind > STOP { kind } else { kind - 1 };
    let len = u8::try_from(body.len()).unwrap();
    let longer = longer.map_or_else(|| vec![0], |len| vec![0xff, len]);
    let about_call = !matches!(kind, PING | PONG | GOAWAY);
    let call = about_call.then_some(call);
    [
        vec![number, flags],
        fixed.to_vec(),
        vec![len],
        body.to_vec(),
        longer,
        vec![0],
        Vec::from_iter(call),
        vec![aux],
    ]
    .concat()
}

/// The plainest frame of a kind that is allowed.
pub(crate) fn plain(kind: u8, call: u8) -> Vec<u8> {
    let fixed: &[u8] = match kind {
        CALL => &[0; 4],
        GOAWAY => &[0],
        _ => &[],
    };
    frame(kind, 0, fixed, &[], call, 0, None)
}

/// A call with time left in units of 256 microseconds, and a length of metadata.
pub(crate) fn call(id: u8, time_left: u8, metadata_len: u8, body: &[u8]) -> Vec<u8> {
    frame(CALL, 0, &[1, time_left, 0, metadata_len], body, id, 0, None)
}

/// A call with channels on which the client sends.
pub(crate) fn streaming(id: u8, channels: u8) -> Vec<u8> {
    frame(CALL, 0, &[1, 0, channels, 0], b"", id, 0, None)
}

/// An item of so many bytes, as a length is written; or the beginning of one that so many more bytes follow.
pub(crate) fn item(id: u8, len: u8, more: Option<u8>) -> Vec<u8> {
    frame(
        ITEM,
        more.is_some().into(),
        &[],
        &[],
        id,
        more.unwrap_or(0),
        Some(len),
    )
}

/// Items that use up a credit of 16 KiB to its last byte.
pub(crate) fn last_credit(id: u8) -> [Vec<u8>; 2] {
    // With 16 for each item: 12,304 and 4,080.
    [
        item(id, 0xf2, None),
        frame(ITEM, 0, &[], &[7; 96], id, 0, Some(0xbd)),
    ]
}

/// A header as it goes on the wire, with a length and a kind.
pub(crate) fn header(len: u32, kind: u8) -> Vec<u8> {
    let [a, b, c, d] = len.to_be_bytes();
    vec![a, b, c, d, kind, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
}
