//! Wire: the types that may cross the wire, how each is archived, described and read back.
//!
//! The trait is the allow-list. What is not listed here or made with `#[message]` does not compile as an argument or a reply: no shared
//! pointers, no hash tables in archived form, no zero-sized elements, no types whose size depends on the machine.

mod bytes;
mod containers;
#[cfg(any(feature = "postcard", feature = "bincode"))]
mod guard;
mod maps;
mod net;
mod scalars;
mod serde;
mod text;
mod time;
mod tuples;

use std::marker::PhantomData;

use rkyv::bytecheck::CheckBytes;
use rkyv::vec::{ArchivedVec, VecResolver};
use rkyv::with::{ArchiveWith, SerializeWith, With};
use rkyv::{Place, Portable};

pub use self::bytes::ATTACH_LEN;
pub use self::maps::{ArchivedMap, ArchivedSet, MapKey};
pub use self::serde::{ArchivedSerde, Bincode, Postcard, Serde, SerdeCodec};
pub use self::time::ArchivedSystemTime;
use crate::archive::{ArchiveError, Checker, Decoder};
use crate::encode::{EncodeError, Encoder};
use crate::schema::Schema;

/// The archived form of a `T`: what a handler or a caller reads in place.
pub type Archived<T> = <T as Wire>::Archived;

/// The largest depth that a recursive message may state (P-71).
pub const MAX_DEPTH: u32 = 64;

/// A type that may be an argument, a reply, an error, or a field of a message.
///
/// Implemented for the scalars, `String`, `Vec`, `Box`, `Option`, `Result`, tuples, arrays, maps and sets, times, IP addresses, `Bytes`, and
/// behind features `Uuid` and [`Serde`]; and by `#[message]` for structures and enumerations of these. Not meant to be implemented by hand.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot cross the wire",
    label = "not a message type",
    note = "put `#[rpc_core::message]` on your own structs and enums",
    note = "share with `T` instead of `Rc<T>` or `Arc<T>`, count with `u64` or `u32` instead of `usize`",
    note = "for a type that only has serde derives, use `rpc_core::Serde<T>`"
)]
pub trait Wire: Sized + 'static {
    /// The archived form, readable in place.
    type Archived: Portable + for<'a> CheckBytes<Checker<'a>> + Send + Sync + 'static;
    /// What has to be remembered between writing the parts and writing the value.
    type Resolver;
    /// How deep out-of-line values can nest inside: 0 for a type that is all in one place.
    const DEPTH: u32;

    /// Names the type in a signature.
    fn describe(schema: &mut Schema) -> String;

    /// Writes the parts that lie out of line.
    ///
    /// # Errors
    ///
    /// [`EncodeError`] if the value does not fit.
    fn serialize(&self, encoder: &mut Encoder<'_>) -> Result<Self::Resolver, EncodeError>;

    /// Writes the value itself.
    fn resolve(&self, resolver: Self::Resolver, out: Place<Self::Archived>);

    /// Copies an archived value into an owned one.
    ///
    /// # Errors
    ///
    /// See [`Archive::deserialize`](crate::Archive::deserialize).
    fn deserialize(archived: &Self::Archived, decoder: &mut Decoder) -> Result<Self, ArchiveError>;

    /// Writes a sequence of values; types that are archived as they lie in memory do it in one copy.
    #[doc(hidden)]
    fn serialize_slice(slice: &[Self], encoder: &mut Encoder<'_>) -> Result<VecResolver, EncodeError> {
        ArchivedVec::serialize_from_iter::<With<Self, AsWire>, _, _>(slice.iter().map(With::cast), encoder)
    }

    /// Writes what lies out of line of each element of an array.
    #[doc(hidden)]
    fn serialize_array<const N: usize>(
        array: &[Self; N],
        encoder: &mut Encoder<'_>,
    ) -> Result<[Self::Resolver; N], EncodeError> {
        rkyv::Serialize::serialize(&array.each_ref().map(ByRef), encoder)
    }

    /// Writes the elements of an array; types that are archived as they lie in memory do it in one copy.
    #[doc(hidden)]
    fn resolve_array<const N: usize>(
        array: &[Self; N],
        resolver: [Self::Resolver; N],
        out: Place<[Self::Archived; N]>,
    ) {
        rkyv::Archive::resolve(&array.each_ref().map(ByRef), resolver, out);
    }

    /// Reads the elements of an array.
    #[doc(hidden)]
    fn deserialize_array<const N: usize>(
        archived: &[Self::Archived; N],
        decoder: &mut Decoder,
    ) -> Result<[Self; N], ArchiveError> {
        let values = Self::deserialize_slice(archived, decoder)?;
        <[Self; N]>::try_from(values).map_err(|_| ArchiveError::Invalid)
    }

    /// Reads a sequence of values; memory is reserved once, within the decoder's budget.
    #[doc(hidden)]
    fn deserialize_slice(slice: &[Self::Archived], decoder: &mut Decoder) -> Result<Vec<Self>, ArchiveError> {
        decoder.charge::<Self>(slice.len())?;
        let mut values = Vec::with_capacity(slice.len());
        for archived in slice {
            values.push(Self::deserialize(archived, decoder)?);
        }
        Ok(values)
    }
}

/// Fails to compile for element types that take no room on the wire: their count alone could ask for any amount of memory.
pub(crate) const fn assert_sized<T>() {
    assert!(
        size_of::<T>() > 0,
        "a sequence of values that take no room on the wire: send their count as a u32"
    );
}

/// Makes rkyv's derives archive a field by its [`Wire`] implementation. `#[message]` puts it on every field.
#[derive(Debug)]
pub struct AsWire;

impl<T: Wire> ArchiveWith<T> for AsWire {
    type Archived = T::Archived;
    type Resolver = T::Resolver;

    #[inline]
    fn resolve_with(field: &T, resolver: T::Resolver, out: Place<T::Archived>) {
        field.resolve(resolver, out);
    }
}

impl<T: Wire> SerializeWith<T, Encoder<'_>> for AsWire {
    #[inline]
    fn serialize_with(field: &T, encoder: &mut Encoder<'_>) -> Result<T::Resolver, EncodeError> {
        field.serialize(encoder)
    }
}

/// A borrowed value, archived like the `T` it stands for.
#[derive(Debug)]
pub struct ByRef<'a, T>(pub &'a T);

impl<T: Wire> rkyv::Archive for ByRef<'_, T> {
    type Archived = T::Archived;
    type Resolver = T::Resolver;

    #[inline]
    fn resolve(&self, resolver: T::Resolver, out: Place<T::Archived>) {
        self.0.resolve(resolver, out);
    }
}

impl<T: Wire> rkyv::Serialize<Encoder<'_>> for ByRef<'_, T> {
    #[inline]
    fn serialize(&self, encoder: &mut Encoder<'_>) -> Result<T::Resolver, EncodeError> {
        self.0.serialize(encoder)
    }
}

/// A borrowed text, archived like a `String`.
#[derive(Debug)]
pub struct ByStr<'a>(pub &'a str);

impl rkyv::Archive for ByStr<'_> {
    type Archived = Archived<String>;
    type Resolver = rkyv::string::StringResolver;

    #[inline]
    fn resolve(&self, resolver: Self::Resolver, out: Place<Self::Archived>) {
        rkyv::string::ArchivedString::resolve_from_str(self.0, resolver, out);
    }
}

impl rkyv::Serialize<Encoder<'_>> for ByStr<'_> {
    #[inline]
    fn serialize(&self, encoder: &mut Encoder<'_>) -> Result<Self::Resolver, EncodeError> {
        rkyv::string::ArchivedString::serialize_from_str(self.0, encoder)
    }
}

/// A borrowed slice, archived like a `Vec<T>`.
#[derive(Debug)]
pub struct BySlice<'a, T>(pub &'a [T]);

impl<T: Wire> rkyv::Archive for BySlice<'_, T> {
    type Archived = ArchivedVec<T::Archived>;
    type Resolver = VecResolver;

    #[inline]
    fn resolve(&self, resolver: VecResolver, out: Place<Self::Archived>) {
        ArchivedVec::resolve_from_len(self.0.len(), resolver, out);
    }
}

impl<T: Wire> rkyv::Serialize<Encoder<'_>> for BySlice<'_, T> {
    #[inline]
    fn serialize(&self, encoder: &mut Encoder<'_>) -> Result<VecResolver, EncodeError> {
        T::serialize_slice(self.0, encoder)
    }
}

/// Names a type in a signature: [`Wire::describe`] as a function to point to.
pub fn describe<T: Wire>(schema: &mut Schema) -> String {
    T::describe(schema)
}

/// Names a channel on which the handler sends.
pub fn describe_sender<T: Wire>(schema: &mut Schema) -> String {
    format!("Sender<{}>", T::describe(schema))
}

/// Names a channel on which the handler receives.
pub fn describe_receiver<T: Wire>(schema: &mut Schema) -> String {
    format!("Receiver<{}>", T::describe(schema))
}

/// The greatest of the depths of the fields of a message.
pub const fn deepest(depths: &[u32]) -> u32 {
    match depths {
        [] => 0,
        [first, others @ ..] => {
            let deepest = deepest(others);
            if *first > deepest { *first } else { deepest }
        }
    }
}

/// The depth of a `T`, or 0 if it cannot cross the wire: that is reported elsewhere, and once is enough.
///
/// For a type that is `Wire` the constant is the inherent one; for others only that of [`NoDepth`] is there.
#[derive(Debug)]
pub struct DepthOf<T>(Named<T>);

impl<T: Wire> DepthOf<T> {
    /// The depth.
    pub const DEPTH: u32 = T::DEPTH;
}

/// See [`DepthOf`].
pub trait NoDepth {
    /// Nothing nests in a type that cannot cross the wire.
    const DEPTH: u32 = 0;
}

impl<T> NoDepth for DepthOf<T> {}

/// Writes the parts of a recursive value, within its stated depth. `#[message(max_depth = N)]` calls it.
///
/// # Errors
///
/// [`EncodeError::TooDeep`] beyond the stated depth.
pub fn serialize_nested<R>(
    encoder: &mut Encoder<'_>,
    max_depth: u32,
    serialize: impl FnOnce(&mut Encoder<'_>) -> Result<R, EncodeError>,
) -> Result<R, EncodeError> {
    let outer = encoder.writer.enter_recursive(max_depth);
    let resolver = serialize(encoder);
    encoder.writer.leave_recursive(outer);
    resolver
}

/// Writes what lies out of line, counting its depth as validation does.
#[inline]
pub(crate) fn out_of_line<R>(
    encoder: &mut Encoder<'_>,
    serialize: impl FnOnce(&mut Encoder<'_>) -> Result<R, EncodeError>,
) -> Result<R, EncodeError> {
    encoder.writer.descend()?;
    let resolver = serialize(encoder);
    encoder.writer.ascend();
    resolver
}

/// Marks a type parameter that is only named.
pub(crate) type Named<T> = PhantomData<fn() -> T>;
