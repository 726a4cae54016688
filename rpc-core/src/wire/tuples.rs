//! Tuples of up to twelve values: also what the arguments of a call are on the wire.

use rkyv::tuple::{
    ArchivedTuple1, ArchivedTuple2, ArchivedTuple3, ArchivedTuple4, ArchivedTuple5, ArchivedTuple6,
    ArchivedTuple7, ArchivedTuple8, ArchivedTuple9, ArchivedTuple10, ArchivedTuple11, ArchivedTuple12,
};
use rkyv::{Archive, Place};

use super::{ByRef, Wire};
use crate::archive::{ArchiveError, Decoder};
use crate::encode::{EncodeError, Encoder};
use crate::schema::Schema;

macro_rules! tuples {
    ($($archived:ident: $($type:ident $index:tt),*;)*) => {$(
        impl<$($type: Wire),*> Wire for ($($type,)*) {
            type Archived = $archived<$($type::Archived),*>;
            type Resolver = ($($type::Resolver,)*);
            const DEPTH: u32 = {
                let mut deepest = 0;
                $(if $type::DEPTH > deepest { deepest = $type::DEPTH; })*
                deepest
            };

            fn describe(schema: &mut Schema) -> String {
                let types = [$($type::describe(schema)),*];
                let comma = if types.len() == 1 { "," } else { "" };
                format!("({}{comma})", types.join(", "))
            }

            #[inline]
            fn serialize(&self, encoder: &mut Encoder<'_>) -> Result<Self::Resolver, EncodeError> {
                Ok(($(self.$index.serialize(encoder)?,)*))
            }

            #[inline]
            fn resolve(&self, resolver: Self::Resolver, out: Place<Self::Archived>) {
                Archive::resolve(&($(ByRef(&self.$index),)*), resolver, out);
            }

            #[inline]
            fn deserialize(archived: &Self::Archived, decoder: &mut Decoder) -> Result<Self, ArchiveError> {
                Ok(($($type::deserialize(&archived.$index, decoder)?,)*))
            }
        }
    )*};
}

tuples! {
    ArchivedTuple1: A 0;
    ArchivedTuple2: A 0, B 1;
    ArchivedTuple3: A 0, B 1, C 2;
    ArchivedTuple4: A 0, B 1, C 2, D 3;
    ArchivedTuple5: A 0, B 1, C 2, D 3, E 4;
    ArchivedTuple6: A 0, B 1, C 2, D 3, E 4, F 5;
    ArchivedTuple7: A 0, B 1, C 2, D 3, E 4, F 5, G 6;
    ArchivedTuple8: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7;
    ArchivedTuple9: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8;
    ArchivedTuple10: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9;
    ArchivedTuple11: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10;
    ArchivedTuple12: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11;
}
