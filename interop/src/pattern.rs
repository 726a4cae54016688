//! Bytes that both sides know: a body that is cut, shifted or mixed up with another is noticed.

use bytes::Bytes;

/// A body of a length.
pub fn body(len: usize) -> Bytes {
    (0..len).map(|index| byte(len, index)).collect()
}

/// Whether a body is the one of its length.
pub fn is_body(body: &[u8]) -> bool {
    let len = body.len();
    body.iter()
        .enumerate()
        .all(|(index, found)| *found == byte(len, index))
}

/// The byte at a place: of the place, so that shifts show, and of the length, so that mix-ups do.
fn byte(len: usize, index: usize) -> u8 {
    let mixed = (index ^ (len << 7)).wrapping_mul(0x9e37_79b9);
    (mixed >> 13).to_le_bytes()[0]
}
