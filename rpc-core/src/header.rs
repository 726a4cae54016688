//! FrameHeader: the fixed 16-byte big-endian header of every frame, and which of its values each kind allows.

use std::fmt;

use crate::error::DecodeError;
use crate::id::CallId;

/// Length of a frame header in bytes; also the unit to which frames are padded (P-10).
pub const HEADER_LEN: usize = 16;

// Headers and padding keep every body where an archive of the strictest alignment may start.
const _: () = assert!(HEADER_LEN.is_multiple_of(align_of::<u128>()));
const _: () = assert!(size_of::<FrameHeader>() <= 24);
const _: () = assert!(size_of::<DecodeError>() <= 32);

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A client starts a call.
    Call,
    /// A server answers a call with the method's value or the method's own error.
    Reply,
    /// A server ends a call without an answer of the method.
    Failure,
    /// An element, or a run of them, on a channel.
    Item,
    /// A channel carries nothing more.
    End,
    /// Permission to send more on a channel.
    Credit,
    /// A client gives up a call.
    Cancel,
    /// The next bytes of a chunked body.
    Chunk,
    /// A question whether the peer is there.
    Ping,
    /// The answer to a ping.
    Pong,
    /// The sender takes no further calls.
    Goaway,
    /// The receiver of a channel wants no more of it.
    Stop,
    /// Kinds 128 to 255: ignored with their bodies (P-12).
    Extension(u8),
}

impl Kind {
    /// The kind with that number, unless it is one of those that must be understood and is not.
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Call,
            2 => Self::Reply,
            3 => Self::Failure,
            4 => Self::Item,
            5 => Self::End,
            6 => Self::Credit,
            7 => Self::Cancel,
            8 => Self::Chunk,
            9 => Self::Ping,
            10 => Self::Pong,
            11 => Self::Goaway,
            12 => Self::Stop,
            128..=255 => Self::Extension(number),
            _ => return None,
        })
    }

    /// The number on the wire.
    pub const fn number(self) -> u8 {
        match self {
            Self::Call => 1,
            Self::Reply => 2,
            Self::Failure => 3,
            Self::Item => 4,
            Self::End => 5,
            Self::Credit => 6,
            Self::Cancel => 7,
            Self::Chunk => 8,
            Self::Ping => 9,
            Self::Pong => 10,
            Self::Goaway => 11,
            Self::Stop => 12,
            Self::Extension(number) => number,
        }
    }

    /// The row of the kind in the table of PROTOCOL.md section 2; none for kinds that are ignored.
    const fn rule(self) -> Option<Rule> {
        let (flags, channel, call, aux, body) = match self {
            Self::Call => (0x31, false, true, Aux::TotalIfChunked, Body::AtLeast(16)),
            Self::Reply => (0x27, false, true, Aux::TotalIfChunked, Body::AtLeast(0)),
            Self::Failure => (0x02, false, true, Aux::NotZero, Body::AtLeast(0)),
            Self::Item => (0x09, true, true, Aux::TotalIfChunked, Body::AtLeast(0)),
            Self::End => (0x02, true, true, Aux::Any, Body::Empty),
            Self::Credit => (0x00, true, true, Aux::NotZero, Body::Empty),
            Self::Cancel => (0x00, false, true, Aux::Zero, Body::Empty),
            Self::Chunk => (0x00, false, true, Aux::Zero, Body::AtLeast(1)),
            Self::Stop => (0x00, true, true, Aux::Zero, Body::Empty),
            Self::Ping | Self::Pong => (0x00, false, false, Aux::Any, Body::Empty),
            Self::Goaway => (0x00, false, false, Aux::Any, Body::AtLeast(8)),
            Self::Extension(_) => return None,
        };
        let rule = Rule {
            flags: Flags(flags),
            channel,
            call,
            aux,
            body,
            plain: Plain { zero: 0, least: 0 },
        };
        Some(Rule {
            plain: rule.plain(),
            ..rule
        })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Call => "call",
            Self::Reply => "reply",
            Self::Failure => "failure",
            Self::Item => "item",
            Self::End => "end",
            Self::Credit => "credit",
            Self::Cancel => "cancel",
            Self::Chunk => "chunk",
            Self::Ping => "ping",
            Self::Pong => "pong",
            Self::Goaway => "goaway",
            Self::Stop => "stop",
            Self::Extension(number) => return write!(f, "extension {number}"),
        })
    }
}

/// The flags of a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Flags(pub u8);

impl Flags {
    /// No flag.
    pub const NONE: Self = Self(0);
    /// The body goes on in chunk frames.
    pub const CHUNKED: Self = Self(0x01);
    /// The body begins with metadata.
    pub const METADATA: Self = Self(0x02);
    /// The archive is the method's error, not its value.
    pub const ERROR: Self = Self(0x04);
    /// The body is a run of archives.
    pub const PACKED: Self = Self(0x08);
    /// No reply is wanted.
    pub const ONEWAY: Self = Self(0x10);
    /// File descriptors travel with the frame.
    pub const DESCRIPTORS: Self = Self(0x20);

    /// Whether all of these flags are set.
    pub const fn contains(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }
}

/// The header of one frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// Length of the body in bytes, without padding.
    pub body_len: u32,
    /// What the frame is.
    pub kind: Kind,
    /// The flags, per kind.
    pub flags: Flags,
    /// The channel for item, end, credit and stop; the number of descriptors with that flag; else 0.
    pub channel: u16,
    /// The call, or 0 for frames about the connection.
    pub call: CallId,
    /// Per kind: total length of a chunked body, failure code, credit, number of a ping; else 0.
    pub aux: u32,
}

impl FrameHeader {
    /// A header without body, flags, channel and aux.
    pub const fn new(kind: Kind, call: CallId) -> Self {
        Self {
            body_len: 0,
            kind,
            flags: Flags::NONE,
            channel: 0,
            call,
            aux: 0,
        }
    }

    /// The header as it goes on the wire.
    pub const fn encode(&self) -> [u8; HEADER_LEN] {
        let fields = (self.body_len as u128) << 96
            | (self.kind.number() as u128) << 88
            | (self.flags.0 as u128) << 80
            | (self.channel as u128) << 64
            | (self.call.0 as u128) << 32
            | self.aux as u128;
        fields.to_be_bytes()
    }

    /// Reads a header and checks all that can be known without the body (P-11 to P-14).
    ///
    /// # Errors
    ///
    /// [`DecodeError`] for the first value that its kind does not allow. A length above `max_body` is found first.
    #[inline]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "each field is cut out of the number that holds all of them"
    )]
    pub fn decode(bytes: &[u8; HEADER_LEN], max_body: u32) -> Result<Self, DecodeError> {
        // As one number, which takes two loads; field by field, it takes one for every byte or two.
        let fields = u128::from_be_bytes(*bytes);
        let body_len = (fields >> 96) as u32;
        let number = (fields >> 88) as u8;
        if body_len > max_body {
            return Err(DecodeError::FrameTooLarge {
                len: body_len,
                limit: max_body,
            });
        }
        let kind = Kind::from_number(number).ok_or(DecodeError::UnknownKind { kind: number })?;
        let header = Self {
            body_len,
            kind,
            flags: Flags((fields >> 80) as u8),
            channel: (fields >> 64) as u16,
            call: CallId((fields >> 32) as u32),
            aux: fields as u32,
        };
        if let Some(Some(rule)) = RULES.get(usize::from(number))
            && !rule.plain.admits(fields, body_len)
        {
            rule.check(&header)?;
        }
        Ok(header)
    }

    /// Length of the whole frame: header, body and padding.
    pub fn frame_len(&self) -> usize {
        // A body that does not fit into the address space was refused by the limit, which is a configured length.
        usize::try_from(self.body_len)
            .unwrap_or(usize::MAX / 2)
            .next_multiple_of(HEADER_LEN)
            + HEADER_LEN
    }
}

/// By number of the kind.
static RULES: [Option<Rule>; 13] = {
    let mut rules = [None; 13];
    let mut number = 0;
    while number < 13 {
        if let Some(kind) = Kind::from_number(number) {
            rules[number as usize] = kind.rule();
        }
        number += 1;
    }
    rules
};

/// What one kind allows.
#[derive(Clone, Copy)]
struct Rule {
    flags: Flags,
    /// Whether the channel field is used. With descriptors it is: as their number.
    channel: bool,
    call: bool,
    aux: Aux,
    body: Body,
    plain: Plain,
}

/// What a header without flags is admitted by, in one comparison. Those of calls and answers as a rule are.
#[derive(Clone, Copy)]
struct Plain {
    /// What of the header has to be zero. All of it where that is not enough to know, which none is.
    zero: u128,
    /// Length of the shortest body.
    least: u32,
}

impl Plain {
    /// Whether [`Rule::check`] would find nothing. If not, it may still find nothing.
    #[inline]
    const fn admits(&self, fields: u128, body_len: u32) -> bool {
        fields & self.zero == 0 && body_len >= self.least
    }
}

#[derive(Clone, Copy)]
enum Aux {
    Any,
    NotZero,
    TotalIfChunked,
    Zero,
}

#[derive(Clone, Copy)]
enum Body {
    AtLeast(u32),
    /// Empty, or metadata if flagged.
    Empty,
}

impl Rule {
    const fn plain(&self) -> Plain {
        let mut zero = 0xff << 80;
        if !self.channel {
            zero |= 0xffff << 64;
        }
        if !self.call {
            zero |= 0xffff_ffff << 32;
        }
        match self.aux {
            Aux::Any => {}
            Aux::NotZero => zero = u128::MAX,
            Aux::TotalIfChunked | Aux::Zero => zero |= 0xffff_ffff,
        }
        let least = match self.body {
            Body::AtLeast(least) => least,
            Body::Empty => {
                zero |= 0xffff_ffff << 96;
                0
            }
        };
        Plain { zero, least }
    }

    /// P-13, P-14
    #[inline(never)]
    const fn check(&self, header: &FrameHeader) -> Result<(), DecodeError> {
        let FrameHeader {
            body_len: len,
            kind,
            flags,
            channel,
            call,
            aux,
        } = *header;
        let refused = flags.0 & !self.flags.0;
        if refused != 0 {
            return Err(DecodeError::FlagNotAllowed {
                kind,
                flags: Flags(refused),
            });
        }
        if channel != 0 && !self.channel && !flags.contains(Flags::DESCRIPTORS) {
            return Err(DecodeError::FieldNotZero {
                kind,
                field: "channel",
                value: channel as u32,
            });
        }
        if call.0 != 0 && !self.call {
            return Err(DecodeError::FieldNotZero {
                kind,
                field: "call id",
                value: call.0,
            });
        }
        match self.aux {
            Aux::NotZero if aux == 0 => return Err(DecodeError::AuxZero { kind }),
            Aux::Zero if aux != 0 => {
                return Err(DecodeError::FieldNotZero {
                    kind,
                    field: "aux",
                    value: aux,
                });
            }
            Aux::TotalIfChunked if aux != 0 && !flags.contains(Flags::CHUNKED) => {
                return Err(DecodeError::FieldNotZero {
                    kind,
                    field: "aux",
                    value: aux,
                });
            }
            Aux::Any | Aux::NotZero | Aux::TotalIfChunked | Aux::Zero => {}
        }
        let least = match self.body {
            _ if flags.contains(Flags::METADATA) => METADATA_PREFIX_LEN,
            Body::AtLeast(least) => least,
            Body::Empty if len > 0 => return Err(DecodeError::BodyNotEmpty { kind, len }),
            Body::Empty => 0,
        };
        if len < least {
            return Err(DecodeError::BodyTooShort { kind, len, least });
        }
        Ok(())
    }
}

/// Length of what precedes metadata in a reply, failure or end (P-40).
pub(crate) const METADATA_PREFIX_LEN: u32 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: u32 = 1 << 20;

    fn plain(kind: Kind) -> FrameHeader {
        let body_len = [(Kind::Call, 16), (Kind::Goaway, 8), (Kind::Chunk, 1)]
            .iter()
            .find(|row| row.0 == kind)
            .map_or(0, |row| row.1);
        let aux = u32::from(matches!(kind, Kind::Failure | Kind::Credit));
        FrameHeader {
            body_len,
            aux,
            ..FrameHeader::new(kind, CallId(0))
        }
    }

    fn all() -> impl Iterator<Item = Kind> {
        (0..=127).filter_map(Kind::from_number)
    }

    #[test]
    fn a_decoded_header_is_the_one_that_was_encoded() {
        for kind in all().chain([Kind::Extension(128), Kind::Extension(255)]) {
            let header = plain(kind);
            assert_eq!(FrameHeader::decode(&header.encode(), MAX), Ok(header));
        }
    }

    #[test]
    fn fields_are_big_endian_and_in_the_order_of_the_specification() {
        let header = FrameHeader {
            body_len: 0x0001_0203,
            kind: Kind::Item,
            flags: Flags::PACKED,
            channel: 0x0607,
            call: CallId(0x0809_0a0b),
            aux: 0,
        };
        assert_eq!(
            header.encode(),
            [0, 1, 2, 3, 4, 8, 6, 7, 8, 9, 10, 11, 0, 0, 0, 0]
        );
        assert_eq!(header.frame_len(), 16 + 0x0001_0210);
    }

    /// P-12
    #[test]
    fn every_kind_is_known_ignored_or_refused() {
        for number in 0..=255_u8 {
            match Kind::from_number(number) {
                Some(Kind::Extension(extension)) => assert!(number >= 128 && extension == number),
                Some(kind) => assert!((1..=12).contains(&number) && kind.number() == number),
                None => {
                    assert!(number == 0 || (13..128).contains(&number));
                    let mut bytes = plain(Kind::Ping).encode();
                    bytes[4] = number;
                    assert_eq!(
                        FrameHeader::decode(&bytes, MAX),
                        Err(DecodeError::UnknownKind { kind: number })
                    );
                }
            }
        }
    }

    /// P-13: exhaustive over all flag bytes of all kinds, against the table of the specification.
    #[test]
    fn only_the_flags_of_the_table_are_allowed() {
        let table = include_str!("../../PROTOCOL.md");
        for kind in all() {
            let row = table
                .lines()
                .find(|line| line.starts_with(&format!("| {kind} | {} |", kind.number())));
            let cell = row.unwrap().split('|').nth(6).unwrap();
            let bits = [
                ("chunked", 1),
                ("metadata", 2),
                ("error", 4),
                ("packed", 8),
                ("oneway", 16),
                ("descriptors", 32),
            ];
            let allowed: u8 = bits
                .iter()
                .filter(|(name, _)| cell.contains(name))
                .map(|(_, bit)| bit)
                .sum();
            for flags in 0..=255_u8 {
                // A body long enough for metadata, where a body is allowed at all.
                let body_len = if flags & 2 != 0 { 16 } else { plain(kind).body_len };
                let header = FrameHeader {
                    flags: Flags(flags),
                    body_len,
                    ..plain(kind)
                };
                let refused = DecodeError::FlagNotAllowed {
                    kind,
                    flags: Flags(flags & !allowed),
                };
                let expected = if flags & !allowed == 0 {
                    Ok(header)
                } else {
                    Err(refused)
                };
                assert_eq!(
                    FrameHeader::decode(&header.encode(), MAX),
                    expected,
                    "{kind} {flags:02x}"
                );
            }
        }
    }

    /// P-13: every bit of every field that a kind does not use.
    #[test]
    fn a_bit_in_an_unused_field_is_refused() {
        for kind in all() {
            let channel = matches!(kind, Kind::Item | Kind::End | Kind::Credit | Kind::Stop);
            let call = !matches!(kind, Kind::Ping | Kind::Pong | Kind::Goaway);
            let aux = matches!(
                kind,
                Kind::Failure | Kind::End | Kind::Credit | Kind::Ping | Kind::Pong | Kind::Goaway
            );
            for (range, used, field) in [
                (48..64, channel, "channel"),
                (64..96, call, "call id"),
                (96..128, aux, "aux"),
            ] {
                for bit in range {
                    let mut bytes = FrameHeader {
                        aux: if aux { u32::MAX } else { 0 },
                        ..plain(kind)
                    }
                    .encode();
                    bytes[bit / 8] ^= 0x80 >> (bit % 8);
                    let result = FrameHeader::decode(&bytes, MAX);
                    if used {
                        assert!(result.is_ok(), "{kind} {bit}");
                    } else {
                        let value = match field {
                            "channel" => 1 << (63 - bit),
                            "call id" => 1 << (95 - bit),
                            _ => 1 << (127 - bit),
                        };
                        assert_eq!(result, Err(DecodeError::FieldNotZero { kind, field, value }));
                    }
                }
            }
        }
    }

    /// P-13, P-53
    #[test]
    fn a_failure_or_credit_of_zero_is_refused() {
        for kind in [Kind::Failure, Kind::Credit] {
            let header = FrameHeader {
                aux: 0,
                ..plain(kind)
            };
            assert_eq!(
                FrameHeader::decode(&header.encode(), MAX),
                Err(DecodeError::AuxZero { kind })
            );
        }
    }

    /// P-14
    #[test]
    fn a_body_that_its_kind_does_not_allow_is_refused() {
        let with_len = |kind, body_len| {
            FrameHeader {
                body_len,
                ..plain(kind)
            }
            .encode()
        };
        for (kind, least) in [(Kind::Call, 16), (Kind::Goaway, 8), (Kind::Chunk, 1)] {
            assert!(FrameHeader::decode(&with_len(kind, least), MAX).is_ok());
            let len = least - 1;
            let error = DecodeError::BodyTooShort { kind, len, least };
            assert_eq!(FrameHeader::decode(&with_len(kind, len), MAX), Err(error));
        }
        for kind in [
            Kind::End,
            Kind::Credit,
            Kind::Cancel,
            Kind::Ping,
            Kind::Pong,
            Kind::Stop,
        ] {
            let error = DecodeError::BodyNotEmpty { kind, len: 1 };
            assert_eq!(FrameHeader::decode(&with_len(kind, 1), MAX), Err(error));
        }
        for kind in [Kind::Reply, Kind::Failure, Kind::End] {
            let header = FrameHeader {
                flags: Flags::METADATA,
                body_len: 15,
                ..plain(kind)
            };
            let error = DecodeError::BodyTooShort {
                kind,
                len: 15,
                least: 16,
            };
            assert_eq!(FrameHeader::decode(&header.encode(), MAX), Err(error));
        }
    }

    /// P-11: before anything else is looked at.
    #[test]
    fn a_length_above_the_limit_is_found_first() {
        for len in [MAX + 1, 1 << 31, u32::MAX] {
            let mut bytes = [0xff; HEADER_LEN];
            bytes[..4].copy_from_slice(&len.to_be_bytes());
            let error = DecodeError::FrameTooLarge { len, limit: MAX };
            assert_eq!(FrameHeader::decode(&bytes, MAX), Err(error));
        }
    }

    /// P-13, P-14: what is admitted at a glance is what the whole check finds nothing in, and without flags and codes it is all of that.
    #[test]
    fn a_glance_admits_nothing_that_the_check_refuses() {
        let mut admitted = 0;
        for (kind, rule) in
            (0..13).filter_map(|number| Some((Kind::from_number(number)?, RULES[usize::from(number)]?)))
        {
            for (flags, channel, call, aux) in (0..64)
                .flat_map(|flags| (0..8).map(move |bits| (flags, bits & 1, bits >> 1 & 1, bits >> 2 & 1)))
            {
                for body_len in [0, 1, 7, 8, 15, 16, 17, u32::MAX] {
                    let header = FrameHeader {
                        body_len,
                        kind,
                        flags: Flags(flags),
                        channel,
                        call: CallId(call.into()),
                        aux: aux.into(),
                    };
                    let is_valid = rule.check(&header).is_ok();
                    let is_admitted = rule.plain.admits(u128::from_be_bytes(header.encode()), body_len);
                    assert!(is_valid || !is_admitted, "{header:?}");
                    let is_plain = flags == 0 && !matches!(rule.aux, Aux::NotZero);
                    assert!(is_admitted || !(is_valid && is_plain), "{header:?}");
                    admitted += u32::from(is_admitted);
                }
            }
        }
        assert_ne!(admitted, 0);
    }
}
