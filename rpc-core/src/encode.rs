//! Encoder: writes a value as an archive into a frame, within a length and a depth.

use std::fmt;

use bytes::Bytes;
use rkyv::rancor::{Source, Strategy, Trace};
use rkyv::ser::allocator::ArenaHandle;
use rkyv::ser::{Positional, Serializer, Writer, WriterExt as _};
use rkyv::util::with_arena;

use crate::archive::ARCHIVE_ALIGN;
use crate::frame_buf::FrameBuf;
use crate::header::HEADER_LEN;
use crate::wire::MAX_DEPTH;

// What a frame is padded to is enough for every archive.
const _: () = assert!(ARCHIVE_ALIGN == HEADER_LEN);

/// The serialiser through which every [`Wire`](crate::Wire) value passes. It knows no shared pointers, so none can be sent.
pub type Encoder<'a> = Strategy<Serializer<FrameWriter<'a>, ArenaHandle<'a>, ()>, EncodeError>;

/// The end of a frame under construction, with the bounds it must keep.
#[derive(Debug)]
pub struct FrameWriter<'a> {
    frame: &'a mut FrameBuf,
    /// The frame may not grow beyond this.
    limit: usize,
    /// The longest body, for the error.
    max_body: usize,
    /// How many out-of-line values enclose the one that is being written.
    depth: u32,
    /// How deep it may get within the recursive values that enclose it.
    nesting: Nesting,
}

/// A bound of [`FrameWriter::depth`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Nesting {
    deepest: u32,
    /// The stated `max_depth` that it comes from, for the error.
    stated: u32,
}

impl Nesting {
    /// Outside of recursive values the types themselves are the bound.
    const UNBOUNDED: Self = Self {
        deepest: u32::MAX,
        stated: u32::MAX,
    };
}

impl FrameWriter<'_> {
    /// Notes that a recursive value begins, and returns the bound to go back to when it ends.
    pub(crate) fn enter_recursive(&mut self, max_depth: u32) -> Nesting {
        let stated = max_depth.min(MAX_DEPTH);
        let deepest = self.depth.saturating_add(stated);
        let outer = self.nesting;
        if deepest < outer.deepest {
            self.nesting = Nesting { deepest, stated };
        }
        outer
    }

    /// Notes that a recursive value ends.
    pub(crate) fn leave_recursive(&mut self, outer: Nesting) {
        self.nesting = outer;
    }

    /// Notes that an out-of-line value begins.
    ///
    /// # Errors
    ///
    /// [`EncodeError::TooDeep`] beyond the depth that an enclosing recursive value states: the receiver would refuse it (P-71).
    #[inline]
    pub(crate) fn descend(&mut self) -> Result<(), EncodeError> {
        if self.depth >= self.nesting.deepest {
            let limit = self.nesting.stated;
            return Err(EncodeError::TooDeep { limit });
        }
        self.depth += 1;
        Ok(())
    }

    /// Notes that an out-of-line value ends.
    #[inline]
    pub(crate) fn ascend(&mut self) {
        self.depth -= 1;
    }

    /// Writes bytes without copying them. They must not need an alignment: those in the receiver's memory have none of their own.
    ///
    /// # Errors
    ///
    /// [`EncodeError::TooLarge`] as for bytes that are copied.
    pub(crate) fn attach(&mut self, bytes: Bytes) -> Result<(), EncodeError> {
        self.check(bytes.len())?;
        self.frame.attach(bytes);
        Ok(())
    }

    #[inline]
    fn check(&self, len: usize) -> Result<(), EncodeError> {
        // The same memory can be attached any number of times, so the sum may be of more than exists.
        if self.frame.end().saturating_add(len) > self.limit {
            return Err(EncodeError::TooLarge { limit: self.max_body });
        }
        Ok(())
    }
}

impl Positional for FrameWriter<'_> {
    /// Counts what is attached, so offsets are those that the receiver sees.
    #[inline]
    fn pos(&self) -> usize {
        self.frame.end()
    }
}

impl Writer<EncodeError> for FrameWriter<'_> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        self.check(bytes.len())?;
        // As a rule the padding between two values.
        if !bytes.is_empty() {
            self.frame.extend(bytes);
        }
        Ok(())
    }
}

/// Appends the archive of `value` to the body of `frame`, at the next multiple of 16.
///
/// # Errors
///
/// [`EncodeError`]; the frame then holds a part of the archive and must be cleared.
pub fn encode<V>(frame: &mut FrameBuf, value: &V, max_body: usize) -> Result<(), EncodeError>
where
    V: for<'a> rkyv::Serialize<Encoder<'a>>,
{
    frame.pad();
    let limit = max_body.saturating_add(HEADER_LEN);
    with_arena(|arena| {
        let writer = FrameWriter {
            frame,
            limit,
            max_body,
            depth: 0,
            nesting: Nesting::UNBOUNDED,
        };
        let mut serializer = Serializer::new(writer, arena.acquire(), ());
        let encoder: &mut Encoder<'_> = Strategy::wrap(&mut serializer);
        let resolver = value.serialize(encoder)?;
        encoder.align_for::<V::Archived>()?;
        resolve_root(encoder, value, resolver)
    })
}

/// Writes the root: the last thing in every archive.
#[expect(
    unsafe_code,
    reason = "rkyv offers the step from resolver to bytes only as an unsafe function"
)]
fn resolve_root<V: rkyv::Archive>(
    encoder: &mut Encoder<'_>,
    value: &V,
    resolver: V::Resolver,
) -> Result<(), EncodeError> {
    // SAFETY: `resolve_aligned` asks for a resolver that `value` itself made with this serializer, and for a position that is
    // aligned for the archived type. The caller, `encode`, has done both in the two lines before.
    unsafe { encoder.resolve_aligned(value, resolver)? };
    Ok(())
}

/// Why a value could not be archived. The caller's mistake: nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EncodeError {
    /// The body would be longer than `limit` bytes.
    TooLarge {
        /// The longest body that the peer, or this side, accepts.
        limit: usize,
    },
    /// A recursive value is nested deeper than its type states.
    TooDeep {
        /// The stated depth.
        limit: u32,
    },
    /// The value has no archive, such as a string of more than 1 GiB or one that its codec refuses.
    Unencodable,
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { limit } => write!(f, "body exceeds the limit of {limit} bytes (max_body)"),
            Self::TooDeep { limit } => {
                write!(f, "value is nested deeper than its stated max_depth of {limit}")
            }
            Self::Unencodable => f.write_str("value has no archive"),
        }
    }
}

impl std::error::Error for EncodeError {}

impl Trace for EncodeError {
    fn trace<R>(self, _: R) -> Self
    where
        R: fmt::Debug + fmt::Display + Send + Sync + 'static,
    {
        self
    }
}

impl Source for EncodeError {
    fn new<T: std::error::Error + Send + Sync + 'static>(_: T) -> Self {
        Self::Unencodable
    }
}
