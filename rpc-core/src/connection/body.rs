//! Bodies of calls, replies, failures and goaways: their fixed parts, metadata and texts.

use std::time::Instant;

use bytes::{Buf, Bytes};

use crate::error::ProtocolError;
use crate::frame_buf::FrameBuf;
use crate::header::{Flags, FrameHeader, HEADER_LEN, METADATA_PREFIX_LEN};
use crate::id::MethodId;
use crate::limits::Limits;
use crate::metadata::Metadata;

/// Length of what precedes the metadata of a call.
pub(crate) const PRELUDE_LEN: usize = 16;

const _: () = assert!(PRELUDE_LEN.is_multiple_of(HEADER_LEN) && METADATA_PREFIX_LEN as usize == HEADER_LEN);

/// The fixed part of a call's body (PROTOCOL.md section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Prelude {
    pub(crate) method: MethodId,
    /// Microseconds; 0 is none.
    pub(crate) time_left: u32,
    /// Channels on which the client sends.
    pub(crate) channels: u16,
    pub(crate) metadata_len: u16,
}

impl Prelude {
    pub(crate) fn encode(self) -> [u8; PRELUDE_LEN] {
        let mut bytes = [0; PRELUDE_LEN];
        let (method, rest) = bytes.split_at_mut(8);
        let (time_left, rest) = rest.split_at_mut(4);
        let (channels, metadata_len) = rest.split_at_mut(2);
        method.copy_from_slice(&self.method.0.to_be_bytes());
        time_left.copy_from_slice(&self.time_left.to_be_bytes());
        channels.copy_from_slice(&self.channels.to_be_bytes());
        metadata_len.copy_from_slice(&self.metadata_len.to_be_bytes());
        bytes
    }

    /// Reads the prelude at the beginning of a body. The header's check has made sure that it is there (P-14).
    pub(crate) fn read(body: &[u8]) -> Self {
        let [m0, m1, m2, m3, m4, m5, m6, m7, t0, t1, t2, t3, c0, c1, l0, l1] =
            *body.first_chunk::<PRELUDE_LEN>().unwrap_or(&[0; PRELUDE_LEN]);
        Self {
            method: MethodId(u64::from_be_bytes([m0, m1, m2, m3, m4, m5, m6, m7])),
            time_left: u32::from_be_bytes([t0, t1, t2, t3]),
            channels: u16::from_be_bytes([c0, c1]),
            metadata_len: u16::from_be_bytes([l0, l1]),
        }
    }
}

/// Metadata that is not as the specification says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MetadataError {
    /// It reaches beyond its body.
    BeyondBody,
    /// Its entries are not as they have to be.
    Malformed,
    /// Its padding is not zero.
    PaddingNotZero,
}

/// Takes `len` bytes of metadata and their padding off a body. What is left starts at a multiple of 16.
pub(crate) fn take_metadata(body: &mut Bytes, len: u32) -> Result<Metadata, MetadataError> {
    if len == 0 {
        return Ok(Metadata::default());
    }
    let len = usize::try_from(len).map_err(|_| MetadataError::BeyondBody)?;
    let padded = len
        .checked_next_multiple_of(HEADER_LEN)
        .ok_or(MetadataError::BeyondBody)?;
    if padded > body.len() {
        return Err(MetadataError::BeyondBody);
    }
    if body.slice(len..padded).iter().any(|byte| *byte != 0) {
        return Err(MetadataError::PaddingNotZero);
    }
    let metadata = body.slice(..len);
    body.advance(padded);
    Metadata::read(metadata).map_err(|_| MetadataError::Malformed)
}

/// Splits the body of a reply, failure or end into metadata and the rest (P-40).
pub(crate) fn split_answer(
    header: &FrameHeader,
    mut body: Bytes,
) -> Result<(Metadata, Bytes), ProtocolError> {
    if !header.flags.contains(Flags::METADATA) {
        return Ok((Metadata::default(), body));
    }
    try_split(&mut body)
        .map(|metadata| (metadata, body))
        .ok_or(ProtocolError::MetadataMalformed { call: header.call })
}

/// Splits a body that a dispatcher of this process made, and that begins with metadata.
pub fn split_metadata(mut body: Bytes) -> (Metadata, Bytes) {
    let metadata = try_split(&mut body).unwrap_or_default();
    (metadata, body)
}

fn try_split(body: &mut Bytes) -> Option<Metadata> {
    let len = body.try_get_u32().ok()?;
    let zeros = body.try_get_uint(4).ok()? | body.try_get_u64().ok()?;
    if zeros != 0 {
        return None;
    }
    take_metadata(body, len).ok()
}

/// Writes what precedes the archive, text or end of a frame that carries metadata (P-40). The body has to be empty.
pub(crate) fn write_metadata(frame: &mut FrameBuf, metadata: &Metadata) {
    let len = u32::try_from(metadata.encoded_len()).unwrap_or(u32::MAX);
    let mut prefix = [0; METADATA_PREFIX_LEN as usize];
    if let Some(space) = prefix.first_chunk_mut() {
        *space = len.to_be_bytes();
    }
    frame.extend(&prefix);
    frame.extend(metadata.as_bytes());
    frame.pad();
}

/// What is left until `deadline` as it goes on the wire: at least 1, or 0 if it does not fit (P-35). None if it has passed.
pub(crate) fn time_left(deadline: Instant, now: Instant) -> Option<u32> {
    let left = deadline
        .checked_duration_since(now)
        .filter(|left| !left.is_zero())?;
    Some(u32::try_from(left.as_nanos().div_ceil(1_000)).unwrap_or(0))
}

/// A text for people, cut to what may be sent and to `room`.
pub(crate) fn cut_text(text: &str, room: usize) -> &str {
    // `floor_char_boundary` without its feature: at most three steps.
    let mut end = text.len().min(Limits::MAX_TEXT).min(room);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

/// A text of the peer. What is not UTF-8 is replaced, what is longer than allowed is cut (P-41).
pub(crate) fn read_text(bytes: &[u8]) -> String {
    let bytes = bytes.get(..Limits::MAX_TEXT).unwrap_or(bytes);
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// P-35
    #[test]
    fn time_left_is_rounded_up_and_never_zero_by_accident() {
        // Any instant serves: only differences count.
        let now = crate::connection::link::tests::instant();
        let left = |time| time_left(now + time, now);
        assert_eq!(left(Duration::from_nanos(1)), Some(1));
        assert_eq!(left(Duration::from_nanos(1_001)), Some(2));
        assert_eq!(left(Duration::from_micros(u32::MAX.into())), Some(u32::MAX));
        assert_eq!(left(Duration::from_micros(u64::from(u32::MAX) + 1)), Some(0));
        assert_eq!(left(Duration::ZERO), None);
        assert_eq!(time_left(now, now + Duration::from_secs(1)), None);
    }

    /// P-38, P-41
    #[test]
    fn texts_are_cut_at_a_character_boundary() {
        let cut_text = |text| cut_text(text, usize::MAX);
        assert_eq!(cut_text("short"), "short");
        assert_eq!(super::cut_text("xä", 2), "x");
        let long = format!("a{}", "ä".repeat(5_000));
        assert_eq!(cut_text(&long).len(), 8_191);
        assert!(long.starts_with(super::cut_text(&long, 100)));
        assert_eq!(read_text(&[b'a', 0xff, b'b']), "a\u{fffd}b");
        assert_eq!(read_text(&[b'x'; 9_000]).len(), 8_192);
    }

    /// P-36
    #[test]
    fn metadata_must_fit_into_its_body_with_zero_padding() {
        let take = |len, body: &'static [u8]| {
            let mut body = Bytes::from_static(body);
            take_metadata(&mut body, len).map(|metadata| (metadata.as_bytes().to_vec(), body.to_vec()))
        };
        assert_eq!(take(0, b"archive"), Ok((vec![], b"archive".to_vec())));
        assert_eq!(
            take(5, b"\x01\0\x01kv\0\0\0\0\0\0\0\0\0\0\0arch"),
            Ok((b"\x01\0\x01kv".to_vec(), b"arch".to_vec()))
        );
        assert_eq!(
            take(3, b"key\0\0\0\0\0\0\0\0\0\0\0\0\0arch"),
            Err(MetadataError::Malformed)
        );
        assert_eq!(
            take(3, b"key\0\0\0\0\0\0\0\0\0\0\0\0"),
            Err(MetadataError::BeyondBody)
        );
        assert_eq!(
            take(3, b"key\0\0\0\0\0\0\0\0\0\0\0\0\x01"),
            Err(MetadataError::PaddingNotZero)
        );
        assert_eq!(take(u32::MAX, b"key"), Err(MetadataError::BeyondBody));
    }
}
