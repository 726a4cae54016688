//! Archives: validated once, then read in place. The one file that reads archived memory without checking again.

use std::fmt;
use std::marker::PhantomData;
use std::num::NonZeroUsize;
use std::ops::{Deref, Range};

use bytes::Bytes;
use rkyv::rancor::{Failure, Fallible, Source, Strategy, Trace};
use rkyv::util::AlignedVec;
use rkyv::validation::ArchiveContext;
use rkyv::validation::archive::ArchiveValidator;

use crate::wire::{Archived, Wire};

/// The alignment of every body in memory: that of the most demanding archived type, a 128-bit integer.
pub const ARCHIVE_ALIGN: usize = 16;

/// The context in which archives are validated. It has no place for shared pointers, so no type that holds one can be read.
pub type Checker<'a> = Strategy<Bounds<'a>, Failure>;

/// The bounds within which an archive is validated: rkyv's, and where the lowest value was found.
///
/// The encoder writes the first value at the first byte. An archive of which no value begins there is one with bytes in front, or one whose root was
/// shifted by bytes behind it: either way not what the sender encoded (P-72).
#[derive(Debug)]
pub struct Bounds<'a> {
    validator: ArchiveValidator<'a>,
    /// Address of the lowest value so far.
    lowest: usize,
}

#[expect(
    unsafe_code,
    reason = "rkyv's trait is unsafe to implement; this forwards to rkyv's own implementation and only looks on"
)]
// SAFETY: every check is made by `ArchiveValidator`, whose implementation is rkyv's; nothing it refuses is accepted here.
unsafe impl<E: Source> ArchiveContext<E> for Bounds<'_> {
    #[inline]
    fn check_subtree_ptr(&mut self, ptr: *const u8, layout: &std::alloc::Layout) -> Result<(), E> {
        self.validator.check_subtree_ptr(ptr, layout)
    }

    #[inline]
    unsafe fn push_subtree_range(&mut self, root: *const u8, end: *const u8) -> Result<Range<usize>, E> {
        self.lowest = self.lowest.min(root.addr());
        // SAFETY: the caller promises this function what the forwarded one asks for.
        unsafe { self.validator.push_subtree_range(root, end) }
    }

    #[inline]
    unsafe fn pop_subtree_range(&mut self, range: Range<usize>) -> Result<(), E> {
        // SAFETY: as above.
        unsafe { self.validator.pop_subtree_range(range) }
    }
}

/// Validates `bytes` as the archive of a `T` and returns the archived value in place (P-71, P-72).
///
/// Costs one pass over the archive and no allocation.
///
/// # Errors
///
/// [`ArchiveError::Invalid`] whatever the reason: the sender chose the bytes, and a reason would have to be paid for each time.
/// [`ArchiveError::Misaligned`] if `bytes` does not start at a multiple of 16; bodies of received frames always do.
pub fn access<T: Wire>(bytes: &[u8]) -> Result<&Archived<T>, ArchiveError> {
    let bytes = placed(bytes);
    if !bytes.as_ptr().addr().is_multiple_of(ARCHIVE_ALIGN) {
        return Err(ArchiveError::Misaligned);
    }
    let root = size_of::<Archived<T>>();
    if bytes.len() < root || (T::DEPTH == 0 && bytes.len() != root) {
        return Err(ArchiveError::Invalid);
    }
    // rkyv counts the root as a level and errs when its counter would reach zero: depth + 2 allows exactly `DEPTH` levels below the root.
    let depth = NonZeroUsize::MIN.saturating_add(T::DEPTH as usize + 1);
    let mut bounds = Bounds {
        validator: ArchiveValidator::with_max_depth(bytes, Some(depth)),
        lowest: usize::MAX,
    };
    let value = rkyv::api::access_with_context::<Archived<T>, _, Failure>(bytes, &mut bounds)
        .map_err(|_| ArchiveError::Invalid)?;
    if bounds.lowest != bytes.as_ptr().addr() {
        return Err(ArchiveError::Invalid);
    }
    Ok(value)
}

/// An owned, valid archive of a `T`: its bytes, and read access to the archived value by dereferencing.
///
/// It can only exist if the bytes are valid. What it lends is bound to the borrow of the archive, never `'static`, so nothing can
/// outlive the bytes:
///
/// ```compile_fail
/// fn leak(archive: rpc_core::Archive<String>) -> &'static str {
///     archive.as_str()
/// }
/// ```
pub struct Archive<T: Wire> {
    /// Invariant: 16-aligned, and `access::<T>` has accepted exactly these bytes.
    bytes: Bytes,
    _value: PhantomData<fn() -> T>,
}

impl<T: Wire> Archive<T> {
    /// Validates the bytes of a body. Bytes that are not 16-aligned are first copied to memory that is.
    ///
    /// # Errors
    ///
    /// [`ArchiveError::Invalid`] if they are not an archive of a `T`.
    pub fn validate(bytes: Bytes) -> Result<Self, ArchiveError> {
        let bytes = if bytes.as_ptr().addr().is_multiple_of(ARCHIVE_ALIGN) {
            bytes
        } else {
            aligned_copy(&bytes)
        };
        access::<T>(&bytes)?;
        Ok(Self {
            bytes,
            _value: PhantomData,
        })
    }

    /// The archive's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Gives the bytes back.
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// Deserialises the value: copies it into an owned `T`.
    ///
    /// # Errors
    ///
    /// [`ArchiveError`] for what validation in place does not look at: map keys out of order (P-73), times that this machine cannot
    /// represent, bytes of a [`Serde`](crate::Serde) value that its codec refuses.
    pub fn deserialize(&self) -> Result<T, ArchiveError> {
        Decoder::of::<T>(&self.bytes).read::<T>(self)
    }
}

impl<T: Wire> Deref for Archive<T> {
    type Target = Archived<T>;

    #[inline]
    #[expect(
        unsafe_code,
        reason = "reads what the constructor has validated, without validating again"
    )]
    #[expect(clippy::disallowed_methods, reason = "this is the place that the fence names")]
    fn deref(&self) -> &Archived<T> {
        // SAFETY: `access::<T>` accepted these very bytes in `validate`, the only constructor. Since then neither address nor content can
        // have changed: `Bytes` is immutable shared memory that stays where it is when the handle moves, and the part of a receive buffer
        // that is still written to is disjoint from the parts that were handed out.
        unsafe { rkyv::access_unchecked::<Archived<T>>(placed(&self.bytes)) }
    }
}

impl<T: Wire> Clone for Archive<T> {
    /// Shares the bytes; nothing is copied.
    fn clone(&self) -> Self {
        Self {
            bytes: self.bytes.clone(),
            _value: PhantomData,
        }
    }
}

impl<T: Wire<Archived: fmt::Debug>> fmt::Debug for Archive<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// The archive of a type that takes no room is empty, and an empty slice may point anywhere: here it points to an aligned place.
fn placed(bytes: &[u8]) -> &[u8] {
    #[repr(align(16))]
    struct Nowhere([u8; 0]);
    const _: () = assert!(align_of::<Nowhere>() == ARCHIVE_ALIGN);
    static NOWHERE: Nowhere = Nowhere([]);
    if bytes.is_empty() { &NOWHERE.0 } else { bytes }
}

/// Copies bytes into 16-aligned memory.
pub(crate) fn aligned_copy(bytes: &[u8]) -> Bytes {
    let mut copy = AlignedVec::<ARCHIVE_ALIGN>::with_capacity(bytes.len());
    copy.extend_from_slice(bytes);
    Bytes::from_owner(copy)
}

/// Length from which a `Bytes` in an owned value shares the memory of its archive. A shorter one is copied: that costs little, and it does not keep a whole
/// segment of receive memory (64 KiB or more) from being used again.
pub const SHARE_LEN: usize = 1 << 10;

/// Deserialises archived values, and bounds the memory they may ask for.
pub struct Decoder {
    budget: usize,
    /// The archive, if its memory may be shared.
    source: Option<Bytes>,
}

impl Decoder {
    /// How many bytes of native values one byte of an archive may become.
    const EXPANSION: usize = 16;

    /// A decoder for an archive of `len` bytes: native values may take 16 times as much (a `Vec<String>` of empty strings takes three).
    pub fn for_archive(len: usize) -> Self {
        Self {
            budget: len.saturating_mul(Self::EXPANSION).saturating_add(1024),
            source: None,
        }
    }

    /// A decoder for the archive in `source`: a `Bytes` of [`SHARE_LEN`] or more in it becomes a counted slice of `source`.
    pub fn for_bytes(source: &Bytes) -> Self {
        Self {
            // Nothing in a short archive is long enough, and counting costs.
            source: (source.len() >= SHARE_LEN).then(|| source.clone()),
            ..Self::for_archive(source.len())
        }
    }

    /// The cheapest decoder for a `T` in `source`: what lies all in one place has no `Bytes` in it.
    #[inline]
    pub(crate) fn of<T: Wire>(source: &Bytes) -> Self {
        if T::DEPTH == 0 {
            Self::for_archive(source.len())
        } else {
            Self::for_bytes(source)
        }
    }

    /// Deserialises one value.
    ///
    /// # Errors
    ///
    /// See [`Archive::deserialize`].
    #[inline]
    pub fn read<T: Wire>(&mut self, archived: &Archived<T>) -> Result<T, ArchiveError> {
        T::deserialize(archived, self)
    }

    /// Reserves memory for `count` values of type `T`, before it is allocated.
    ///
    /// # Errors
    ///
    /// [`ArchiveError::Budget`] once a value asks for more than its archive justifies.
    pub(crate) fn charge<T>(&mut self, count: usize) -> Result<(), ArchiveError> {
        let bytes = count.checked_mul(size_of::<T>()).ok_or(ArchiveError::Budget)?;
        self.budget = self.budget.checked_sub(bytes).ok_or(ArchiveError::Budget)?;
        Ok(())
    }

    /// Part of an archive as owned bytes: a slice of the source where that pays and `part` lies within it, else a copy.
    pub(crate) fn bytes(&self, part: &[u8]) -> Bytes {
        match &self.source {
            Some(source) if part.len() >= SHARE_LEN => {
                let offset = part.as_ptr().addr().checked_sub(source.as_ptr().addr());
                let range = offset.and_then(|start| Some(start..start.checked_add(part.len())?));
                match range {
                    Some(range) if range.end <= source.len() => source.slice(range),
                    Some(_) | None => Bytes::copy_from_slice(part),
                }
            }
            Some(_) | None => Bytes::copy_from_slice(part),
        }
    }
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoder")
            .field("budget", &self.budget)
            .finish_non_exhaustive()
    }
}

impl Fallible for Decoder {
    type Error = ArchiveError;
}

/// Why bytes are not the archive they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ArchiveError {
    /// The value asks for far more memory than its archive is long.
    Budget,
    /// A codec refused the bytes of a serde value.
    Codec,
    /// The bytes are not an archive of the type: pointers, text, tags, ranges, depth or length are wrong.
    Invalid,
    /// The bytes are not where an archive can be read.
    Misaligned,
    /// The keys of a map or set are not strictly ascending.
    KeyOrder,
    /// A time that this machine cannot represent.
    TimeRange,
}

impl fmt::Display for ArchiveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Budget => "value needs far more memory than its archive is long",
            Self::Codec => "codec refuses the bytes of a serde value",
            Self::Invalid => "not a valid archive of the type",
            Self::Misaligned => "archive does not start at a multiple of 16",
            Self::KeyOrder => "keys of a map or set are not strictly ascending",
            Self::TimeRange => "time is outside of what this machine can represent",
        })
    }
}

impl std::error::Error for ArchiveError {}

impl Trace for ArchiveError {
    fn trace<R>(self, _: R) -> Self
    where
        R: fmt::Debug + fmt::Display + Send + Sync + 'static,
    {
        self
    }
}

impl Source for ArchiveError {
    fn new<T: std::error::Error + Send + Sync + 'static>(_: T) -> Self {
        Self::Invalid
    }
}
