//! ArchiveFormat: which of its memory layouts the archive library was built with, as the preface carries it.

use std::fmt;

use rkyv::primitive::{ArchivedU32, ArchivedU64, ArchivedUsize};
use rkyv::rend;

/// The layout of archives: endianness, alignment and pointer width (PROTOCOL.md section 1.2).
///
/// Cargo features of any crate in a program choose the layout for the whole program. Two programs that chose differently read garbage
/// from each other, so both sides compare the value before they exchange a call (P-04).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ArchiveFormat(pub u16);

impl ArchiveFormat {
    /// The layout that this program archives with.
    pub const CURRENT: Self = Self(
        GENERATION << 8
            | match size_of::<ArchivedUsize>() {
                2 => 0,
                4 => 1 << POINTER_SHIFT,
                _ => 2 << POINTER_SHIFT,
            }
            | if align_of::<ArchivedU64>() == 1 {
                UNALIGNED
            } else {
                0
            }
            | if <ArchivedU32 as ByteOrder>::BIG_ENDIAN {
                BIG_ENDIAN
            } else {
                0
            },
    );
}

impl fmt::Display for ArchiveFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(bits) = *self;
        let width = match (bits >> POINTER_SHIFT) & 3 {
            0 => "16",
            1 => "32",
            2 => "64",
            _ => return write!(f, "unknown archive format {bits:04x}"),
        };
        if bits & ZERO_BITS != 0 {
            return write!(f, "unknown archive format {bits:04x}");
        }
        let alignment = if bits & UNALIGNED == 0 {
            "aligned"
        } else {
            "unaligned"
        };
        let order = if bits & BIG_ENDIAN == 0 { "little" } else { "big" };
        write!(
            f,
            "rkyv 0.{}, {width}-bit pointers, {alignment}, {order}-endian",
            bits >> 8
        )
    }
}

impl fmt::Debug for ArchiveFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ArchiveFormat({:04x}: {self})", self.0)
    }
}

/// The byte order of an archived integer. The type tells, so the probe needs neither memory nor a feature of this crate.
trait ByteOrder {
    const BIG_ENDIAN: bool;
}

impl ByteOrder for rend::u32_le {
    const BIG_ENDIAN: bool = false;
}

impl ByteOrder for rend::u32_be {
    const BIG_ENDIAN: bool = true;
}

impl ByteOrder for rend::unaligned::u32_ule {
    const BIG_ENDIAN: bool = false;
}

impl ByteOrder for rend::unaligned::u32_ube {
    const BIG_ENDIAN: bool = true;
}

/// rkyv 0.8.
const GENERATION: u16 = 8;
const POINTER_SHIFT: u16 = 2;
const UNALIGNED: u16 = 2;
const BIG_ENDIAN: u16 = 1;
const ZERO_BITS: u16 = 0x00f0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_probe_agrees_with_bytes_that_the_library_writes() {
        let archive = rkyv::to_bytes::<rkyv::rancor::Error>(&0x0102_0304_u32).unwrap();
        let big = ArchiveFormat::CURRENT.0 & BIG_ENDIAN != 0;
        assert_eq!(archive.as_slice(), if big { [1, 2, 3, 4] } else { [4, 3, 2, 1] });
        assert_eq!(ArchiveFormat::CURRENT.0 >> 8, 8);
    }

    #[test]
    fn formats_are_shown_in_words() {
        assert_eq!(
            ArchiveFormat(0x0804).to_string(),
            "rkyv 0.8, 32-bit pointers, aligned, little-endian"
        );
        assert_eq!(
            ArchiveFormat(0x080b).to_string(),
            "rkyv 0.8, 64-bit pointers, unaligned, big-endian"
        );
        assert_eq!(
            ArchiveFormat(0x0800).to_string(),
            "rkyv 0.8, 16-bit pointers, aligned, little-endian"
        );
        assert_eq!(ArchiveFormat(0x080c).to_string(), "unknown archive format 080c");
        assert_eq!(ArchiveFormat(0x0814).to_string(), "unknown archive format 0814");
    }
}
