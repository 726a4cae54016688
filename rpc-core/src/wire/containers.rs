//! Containers of one or two types: sequences, boxes, options, results, arrays.

use rkyv::boxed::{ArchivedBox, BoxResolver};
use rkyv::option::ArchivedOption;
use rkyv::result::ArchivedResult;
use rkyv::vec::{ArchivedVec, VecResolver};
use rkyv::with::With;
use rkyv::{Archive, Place, Serialize};

use super::{AsWire, ByRef, Wire, assert_sized, out_of_line};
use crate::archive::{ArchiveError, Decoder};
use crate::encode::{EncodeError, Encoder};
use crate::schema::Schema;

macro_rules! sequences {
    ($($type:ident),*) => {$(
        impl<T: Wire> Wire for sequences!(@type $type T) {
            type Archived = ArchivedVec<T::Archived>;
            type Resolver = VecResolver;
            const DEPTH: u32 = {
                assert_sized::<T::Archived>();
                T::DEPTH + 1
            };

            fn describe(schema: &mut Schema) -> String {
                format!("Vec<{}>", T::describe(schema))
            }

            #[inline]
            fn serialize(&self, encoder: &mut Encoder<'_>) -> Result<VecResolver, EncodeError> {
                const { assert_sized::<T::Archived>() };
                out_of_line(encoder, |encoder| T::serialize_slice(self, encoder))
            }

            #[inline]
            fn resolve(&self, resolver: VecResolver, out: Place<Self::Archived>) {
                ArchivedVec::resolve_from_len(self.len(), resolver, out);
            }

            #[inline]
            fn deserialize(archived: &Self::Archived, decoder: &mut Decoder) -> Result<Self, ArchiveError> {
                Ok(T::deserialize_slice(archived.as_slice(), decoder)?.into())
            }
        }
    )*};
    (@type Vec $t:ident) => { Vec<$t> };
    (@type Box $t:ident) => { Box<[$t]> };
}

sequences!(Vec, Box);

impl<T: Wire> Wire for Box<T> {
    type Archived = ArchivedBox<T::Archived>;
    type Resolver = BoxResolver;
    const DEPTH: u32 = T::DEPTH + 1;

    fn describe(schema: &mut Schema) -> String {
        format!("Box<{}>", T::describe(schema))
    }

    fn serialize(&self, encoder: &mut Encoder<'_>) -> Result<BoxResolver, EncodeError> {
        let value = With::<T, AsWire>::cast(self);
        out_of_line(encoder, |encoder| ArchivedBox::serialize_from_ref(value, encoder))
    }

    fn resolve(&self, resolver: BoxResolver, out: Place<Self::Archived>) {
        ArchivedBox::resolve_from_ref(With::<T, AsWire>::cast(self), resolver, out);
    }

    fn deserialize(archived: &Self::Archived, decoder: &mut Decoder) -> Result<Self, ArchiveError> {
        decoder.charge::<T>(1)?;
        Ok(Self::new(T::deserialize(archived.get(), decoder)?))
    }
}

impl<T: Wire> Wire for Option<T> {
    type Archived = ArchivedOption<T::Archived>;
    type Resolver = Option<T::Resolver>;
    const DEPTH: u32 = T::DEPTH;

    fn describe(schema: &mut Schema) -> String {
        format!("Option<{}>", T::describe(schema))
    }

    #[inline]
    fn serialize(&self, encoder: &mut Encoder<'_>) -> Result<Self::Resolver, EncodeError> {
        self.as_ref().map(|value| value.serialize(encoder)).transpose()
    }

    #[inline]
    fn resolve(&self, resolver: Self::Resolver, out: Place<Self::Archived>) {
        Archive::resolve(&self.as_ref().map(ByRef), resolver, out);
    }

    #[inline]
    fn deserialize(archived: &Self::Archived, decoder: &mut Decoder) -> Result<Self, ArchiveError> {
        archived
            .as_ref()
            .map(|value| T::deserialize(value, decoder))
            .transpose()
    }
}

impl<T: Wire, E: Wire> Wire for Result<T, E> {
    type Archived = ArchivedResult<T::Archived, E::Archived>;
    type Resolver = Result<T::Resolver, E::Resolver>;
    const DEPTH: u32 = if T::DEPTH > E::DEPTH { T::DEPTH } else { E::DEPTH };

    fn describe(schema: &mut Schema) -> String {
        let value = T::describe(schema);
        format!("Result<{value}, {}>", E::describe(schema))
    }

    fn serialize(&self, encoder: &mut Encoder<'_>) -> Result<Self::Resolver, EncodeError> {
        Serialize::serialize(&self.as_ref().map(ByRef).map_err(ByRef), encoder)
    }

    fn resolve(&self, resolver: Self::Resolver, out: Place<Self::Archived>) {
        Archive::resolve(&self.as_ref().map(ByRef).map_err(ByRef), resolver, out);
    }

    fn deserialize(archived: &Self::Archived, decoder: &mut Decoder) -> Result<Self, ArchiveError> {
        Ok(match archived {
            ArchivedResult::Ok(value) => Ok(T::deserialize(value, decoder)?),
            ArchivedResult::Err(error) => Err(E::deserialize(error, decoder)?),
        })
    }
}

impl<T: Wire, const N: usize> Wire for [T; N] {
    type Archived = [T::Archived; N];
    type Resolver = [T::Resolver; N];
    const DEPTH: u32 = {
        assert_sized::<T::Archived>();
        T::DEPTH
    };

    fn describe(schema: &mut Schema) -> String {
        format!("[{}; {N}]", T::describe(schema))
    }

    #[inline]
    fn serialize(&self, encoder: &mut Encoder<'_>) -> Result<Self::Resolver, EncodeError> {
        T::serialize_array(self, encoder)
    }

    #[inline]
    fn resolve(&self, resolver: Self::Resolver, out: Place<Self::Archived>) {
        T::resolve_array(self, resolver, out);
    }

    #[inline]
    fn deserialize(archived: &Self::Archived, decoder: &mut Decoder) -> Result<Self, ArchiveError> {
        T::deserialize_array(archived, decoder)
    }
}
