//! Scalars: archived as they lie in memory, in the byte order of the archive format.

use std::num::{
    NonZeroI8, NonZeroI16, NonZeroI32, NonZeroI64, NonZeroI128, NonZeroU8, NonZeroU16, NonZeroU32,
    NonZeroU64, NonZeroU128,
};

use rkyv::vec::{ArchivedVec, VecResolver};
use rkyv::{Archive, Place};

use super::Wire;
use crate::archive::{ArchiveError, Decoder};
use crate::encode::{EncodeError, Encoder};
use crate::schema::Schema;

macro_rules! scalars {
    ($($type:ty, $name:literal, |$archived:ident| $native:expr;)*) => {$(
        impl Wire for $type {
            type Archived = <$type as Archive>::Archived;
            type Resolver = ();
            const DEPTH: u32 = 0;

            fn describe(_: &mut Schema) -> String {
                $name.to_owned()
            }

            #[inline]
            fn serialize(&self, _: &mut Encoder<'_>) -> Result<(), EncodeError> {
                Ok(())
            }

            #[inline]
            fn resolve(&self, (): (), out: Place<Self::Archived>) {
                Archive::resolve(self, (), out);
            }

            #[inline]
            fn deserialize($archived: &Self::Archived, _: &mut Decoder) -> Result<Self, ArchiveError> {
                Ok($native)
            }

            #[inline]
            fn serialize_slice(slice: &[Self], encoder: &mut Encoder<'_>) -> Result<VecResolver, EncodeError> {
                ArchivedVec::serialize_from_slice(slice, encoder)
            }

            #[inline]
            fn deserialize_slice(
                slice: &[Self::Archived],
                decoder: &mut Decoder,
            ) -> Result<Vec<Self>, ArchiveError> {
                decoder.charge::<Self>(slice.len())?;
                Ok(slice.iter().map(|$archived| $native).collect())
            }

            #[inline]
            fn serialize_array<const N: usize>(
                _: &[Self; N],
                _: &mut Encoder<'_>,
            ) -> Result<[(); N], EncodeError> {
                Ok([(); N])
            }

            #[inline]
            fn resolve_array<const N: usize>(array: &[Self; N], _: [(); N], out: Place<[Self::Archived; N]>) {
                out.write(array.map(Into::into));
            }

            #[inline]
            fn deserialize_array<const N: usize>(
                archived: &[Self::Archived; N],
                _: &mut Decoder,
            ) -> Result<[Self; N], ArchiveError> {
                Ok(archived.each_ref().map(|$archived| $native))
            }
        }
    )*};
}

scalars! {
    bool, "bool", |archived| *archived;
    u8, "u8", |archived| *archived;
    i8, "i8", |archived| *archived;
    u16, "u16", |archived| archived.to_native();
    u32, "u32", |archived| archived.to_native();
    u64, "u64", |archived| archived.to_native();
    u128, "u128", |archived| archived.to_native();
    i16, "i16", |archived| archived.to_native();
    i32, "i32", |archived| archived.to_native();
    i64, "i64", |archived| archived.to_native();
    i128, "i128", |archived| archived.to_native();
    f32, "f32", |archived| archived.to_native();
    f64, "f64", |archived| archived.to_native();
    char, "char", |archived| archived.to_native();
    NonZeroU8, "NonZero<u8>", |archived| *archived;
    NonZeroI8, "NonZero<i8>", |archived| *archived;
    NonZeroU16, "NonZero<u16>", |archived| archived.to_native();
    NonZeroU32, "NonZero<u32>", |archived| archived.to_native();
    NonZeroU64, "NonZero<u64>", |archived| archived.to_native();
    NonZeroU128, "NonZero<u128>", |archived| archived.to_native();
    NonZeroI16, "NonZero<i16>", |archived| archived.to_native();
    NonZeroI32, "NonZero<i32>", |archived| archived.to_native();
    NonZeroI64, "NonZero<i64>", |archived| archived.to_native();
    NonZeroI128, "NonZero<i128>", |archived| archived.to_native();
}

impl Wire for () {
    type Archived = ();
    type Resolver = ();
    const DEPTH: u32 = 0;

    fn describe(_: &mut Schema) -> String {
        "()".to_owned()
    }

    fn serialize(&self, _: &mut Encoder<'_>) -> Result<(), EncodeError> {
        Ok(())
    }

    fn resolve(&self, (): (), _: Place<()>) {}

    fn deserialize((): &(), _: &mut Decoder) -> Result<(), ArchiveError> {
        Ok(())
    }
}
