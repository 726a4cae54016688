//! Preface: the 32 bytes with which each side opens its direction of a connection.

use crate::error::{Guess, HandshakeError};
use crate::format::ArchiveFormat;
use crate::limits::Limits;

/// Length of a preface in bytes.
pub const PREFACE_LEN: usize = 32;

/// The first four bytes. The first is no text, no TLS record and no UTF-8, so other protocols are told apart by one byte.
pub const MAGIC: [u8; 4] = [0xf5, b'R', b'P', b'C'];

/// The only version there is.
pub const VERSION: u8 = 1;

// Frames behind the preface keep their alignment.
const _: () = assert!(PREFACE_LEN.is_multiple_of(crate::header::HEADER_LEN));

/// The two ends of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The side that opened the socket and starts calls.
    Client,
    /// The side that answers calls.
    Server,
}

impl Side {
    /// The other end.
    pub const fn peer(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

/// What a side tells about itself (PROTOCOL.md section 1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preface {
    /// The highest version that the side speaks.
    pub version: u8,
    /// The lowest version that the side speaks.
    pub oldest_version: u8,
    /// The layout of its archives.
    pub format: ArchiveFormat,
    /// Bits 0 to 15: offers. Bits 16 to 31: requirements.
    pub features: u32,
    /// The longest body that the side accepts, in bytes.
    pub max_body: u32,
    /// The longest body of one frame that the side accepts, in bytes.
    pub max_frame: u32,
    /// Calls in flight that the side accepts; 0 from a client.
    pub max_calls: u32,
    /// Bytes that may be sent on a new channel before any credit.
    pub stream_credit: u32,
}

impl Preface {
    /// The preface of this implementation with these limits.
    pub const fn new(side: Side, limits: &Limits) -> Self {
        Self {
            version: VERSION,
            oldest_version: VERSION,
            format: ArchiveFormat::CURRENT,
            features: 0,
            max_body: limits.max_body,
            max_frame: limits.frame_limit(),
            max_calls: match side {
                Side::Client => 0,
                Side::Server => limits.max_calls,
            },
            stream_credit: limits.stream_credit,
        }
    }

    /// The preface as it goes on the wire.
    pub fn encode(&self) -> [u8; PREFACE_LEN] {
        let mut bytes = [0; PREFACE_LEN];
        let words = [
            MAGIC,
            {
                let [f0, f1] = self.format.0.to_be_bytes();
                [self.version, self.oldest_version, f0, f1]
            },
            self.features.to_be_bytes(),
            self.max_body.to_be_bytes(),
            self.max_frame.to_be_bytes(),
            self.max_calls.to_be_bytes(),
            self.stream_credit.to_be_bytes(),
        ];
        for (space, word) in bytes.chunks_exact_mut(4).zip(words) {
            space.copy_from_slice(&word);
        }
        bytes
    }

    /// Whether the magic is complete, as far as bytes have arrived. The first wrong byte is an error at once (P-02).
    ///
    /// # Errors
    ///
    /// [`HandshakeError::NotRpc`] names the byte.
    pub fn starts(bytes: &[u8]) -> Result<bool, HandshakeError> {
        match MAGIC.iter().zip(bytes).position(|(magic, byte)| magic != byte) {
            Some(offset) => {
                let byte = bytes.get(offset).copied().unwrap_or_default();
                Err(HandshakeError::NotRpc {
                    offset,
                    byte,
                    guess: Guess::from_byte(offset, byte),
                })
            }
            None => Ok(bytes.len() >= MAGIC.len()),
        }
    }

    /// Reads the preface of a `sender` and checks that the two sides can talk (P-03, P-04, P-05).
    ///
    /// # Errors
    ///
    /// [`HandshakeError`]; what makes the two incompatible comes before what is merely wrong, since a later version may use its bytes
    /// differently.
    pub fn decode(bytes: &[u8; PREFACE_LEN], sender: Side) -> Result<Self, HandshakeError> {
        Self::starts(bytes)?;
        let word = |index: usize| -> [u8; 4] {
            bytes
                .chunks_exact(4)
                .nth(index)
                .and_then(|word| word.try_into().ok())
                .unwrap_or_default()
        };
        let [version, oldest_version, f0, f1] = word(1);
        let preface = Self {
            version,
            oldest_version,
            format: ArchiveFormat(u16::from_be_bytes([f0, f1])),
            features: u32::from_be_bytes(word(2)),
            max_body: u32::from_be_bytes(word(3)),
            max_frame: u32::from_be_bytes(word(4)),
            max_calls: u32::from_be_bytes(word(5)),
            stream_credit: u32::from_be_bytes(word(6)),
        };
        preface.check_compatible()?;
        if word(7) != [0; 4] {
            return Err(HandshakeError::ReservedNotZero {
                value: u32::from_be_bytes(word(7)),
            });
        }
        preface.check_limits(sender)?;
        Ok(preface)
    }

    /// The longest body that may be sent to the side.
    pub fn body_limit(&self) -> u32 {
        self.max_body.min(Limits::LARGEST_BODY)
    }

    /// P-03, P-04
    fn check_compatible(&self) -> Result<(), HandshakeError> {
        if self.version.min(VERSION) < self.oldest_version.max(VERSION) {
            let theirs = self.oldest_version..=self.version;
            return Err(HandshakeError::Version {
                ours: (VERSION, VERSION),
                theirs: (*theirs.start(), *theirs.end()),
            });
        }
        if self.format != ArchiveFormat::CURRENT {
            return Err(HandshakeError::Format {
                ours: ArchiveFormat::CURRENT,
                theirs: self.format,
            });
        }
        let required = self.features >> 16 << 16;
        if required != 0 {
            return Err(HandshakeError::Feature { required });
        }
        Ok(())
    }

    /// P-05
    fn check_limits(&self, sender: Side) -> Result<(), HandshakeError> {
        let (least_calls, most_calls) = match sender {
            Side::Client => (0, 0),
            Side::Server => (Limits::GUARANTEED_CALLS, u32::MAX),
        };
        let ranges = [
            ("max body", self.max_body, Limits::GUARANTEED_BODY, u32::MAX),
            (
                "max frame",
                self.max_frame,
                Limits::GUARANTEED_BODY,
                self.max_body,
            ),
            ("max calls", self.max_calls, least_calls, most_calls),
            (
                "stream credit",
                self.stream_credit,
                Limits::GUARANTEED_BODY,
                u32::MAX,
            ),
        ];
        for (field, value, least, most) in ranges {
            if !(least..=most).contains(&value) {
                return Err(HandshakeError::Limit {
                    field,
                    value,
                    least,
                    most,
                });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours(side: Side) -> Preface {
        Preface::new(side, &Limits::default())
    }

    #[test]
    fn a_decoded_preface_is_the_one_that_was_encoded() {
        for side in [Side::Client, Side::Server] {
            assert_eq!(Preface::decode(&ours(side).encode(), side), Ok(ours(side)));
        }
    }

    /// P-02
    #[test]
    fn a_wrong_byte_of_the_magic_is_noticed_at_once() {
        assert_eq!(Preface::starts(&[]), Ok(false));
        assert_eq!(Preface::starts(&MAGIC[..3]), Ok(false));
        assert_eq!(Preface::starts(&MAGIC), Ok(true));
        for offset in 0..4 {
            for byte in (0..=255).filter(|byte| *byte != MAGIC[offset]) {
                let mut bytes = MAGIC;
                bytes[offset] = byte;
                let error = Preface::starts(&bytes[..=offset]).unwrap_err();
                assert!(
                    matches!(error, HandshakeError::NotRpc { offset: o, byte: b, .. } if o == offset && b == byte)
                );
            }
        }
    }

    /// P-03
    #[test]
    fn versions_must_have_one_in_common() {
        let check = |version, oldest_version| {
            Preface {
                version,
                oldest_version,
                ..ours(Side::Client)
            }
            .check_compatible()
        };
        assert_eq!(check(1, 1), Ok(()));
        assert_eq!(
            check(9, 1),
            Ok(()),
            "the lower of the highest versions is in force"
        );
        assert_eq!(
            check(9, 2),
            Err(HandshakeError::Version {
                ours: (1, 1),
                theirs: (2, 9)
            })
        );
        assert_eq!(
            check(0, 0),
            Err(HandshakeError::Version {
                ours: (1, 1),
                theirs: (0, 0)
            })
        );
    }

    /// P-04: every bit of the format, and every feature bit.
    #[test]
    fn another_format_and_an_unknown_requirement_are_refused() {
        for bit in 0..16 {
            let theirs = ArchiveFormat(ArchiveFormat::CURRENT.0 ^ (1 << bit));
            let bytes = Preface {
                format: theirs,
                ..ours(Side::Client)
            }
            .encode();
            let error = HandshakeError::Format {
                ours: ArchiveFormat::CURRENT,
                theirs,
            };
            assert_eq!(Preface::decode(&bytes, Side::Client), Err(error));
        }
        for bit in 0..32 {
            let features = 1 << bit;
            let result = Preface::decode(
                &Preface {
                    features,
                    ..ours(Side::Client)
                }
                .encode(),
                Side::Client,
            );
            if bit < 16 {
                assert!(result.is_ok(), "offers are ignored");
            } else {
                assert_eq!(result, Err(HandshakeError::Feature { required: features }));
            }
        }
    }

    /// P-05
    #[test]
    fn reserved_bits_and_limits_out_of_range_are_refused() {
        for bit in 0..32 {
            let mut bytes = ours(Side::Server).encode();
            bytes[28 + bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(
                Preface::decode(&bytes, Side::Server),
                Err(HandshakeError::ReservedNotZero { .. })
            ));
        }
        let server = ours(Side::Server);
        let client = ours(Side::Client);
        let cases = [
            (
                Preface {
                    max_body: 16_383,
                    max_frame: 16_383,
                    ..server
                },
                Side::Server,
                "max body",
            ),
            (
                Preface {
                    max_frame: 16_383,
                    ..server
                },
                Side::Server,
                "max frame",
            ),
            (
                Preface {
                    max_frame: server.max_body + 1,
                    ..server
                },
                Side::Server,
                "max frame",
            ),
            (
                Preface {
                    max_calls: 15,
                    ..server
                },
                Side::Server,
                "max calls",
            ),
            (
                Preface {
                    max_calls: 1,
                    ..client
                },
                Side::Client,
                "max calls",
            ),
            (
                Preface {
                    stream_credit: 16_383,
                    ..client
                },
                Side::Client,
                "stream credit",
            ),
        ];
        for (preface, sender, name) in cases {
            let result = Preface::decode(&preface.encode(), sender);
            assert!(
                matches!(result, Err(HandshakeError::Limit { field, .. }) if field == name),
                "{result:?}"
            );
        }
    }
}
