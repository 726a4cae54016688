//! Text: archived as UTF-8, short texts in place.

use rkyv::Place;
use rkyv::string::repr::INLINE_CAPACITY;
use rkyv::string::{ArchivedString, StringResolver};

use super::{Wire, out_of_line};
use crate::archive::{ArchiveError, Decoder};
use crate::encode::{EncodeError, Encoder};
use crate::schema::Schema;

macro_rules! text {
    ($($type:ty),*) => {$(
        impl Wire for $type {
            type Archived = ArchivedString;
            type Resolver = StringResolver;
            const DEPTH: u32 = 1;

            fn describe(_: &mut Schema) -> String {
                "String".to_owned()
            }

            #[inline]
            fn serialize(&self, encoder: &mut Encoder<'_>) -> Result<StringResolver, EncodeError> {
                // Short texts lie within their value.
                if self.len() <= INLINE_CAPACITY {
                    return ArchivedString::serialize_from_str(self, encoder);
                }
                out_of_line(encoder, |encoder| ArchivedString::serialize_from_str(self, encoder))
            }

            #[inline]
            fn resolve(&self, resolver: StringResolver, out: Place<ArchivedString>) {
                ArchivedString::resolve_from_str(self, resolver, out);
            }

            #[inline]
            fn deserialize(archived: &ArchivedString, decoder: &mut Decoder) -> Result<Self, ArchiveError> {
                decoder.charge::<u8>(archived.len())?;
                Ok(archived.as_str().into())
            }
        }
    )*};
}

text!(String, Box<str>);
