//! Byte strings and identifiers: `Bytes`, and behind its feature `Uuid`.

use bytes::Bytes;
use rkyv::Place;
use rkyv::vec::{ArchivedVec, VecResolver};

use super::{Wire, out_of_line};
use crate::archive::{ArchiveError, Decoder};
use crate::encode::{EncodeError, Encoder};
use crate::schema::Schema;

impl Wire for Bytes {
    type Archived = ArchivedVec<u8>;
    type Resolver = VecResolver;
    const DEPTH: u32 = 1;

    fn describe(_: &mut Schema) -> String {
        "Vec<u8>".to_owned()
    }

    fn serialize(&self, encoder: &mut Encoder<'_>) -> Result<VecResolver, EncodeError> {
        out_of_line(encoder, |encoder| {
            ArchivedVec::serialize_from_slice(self, encoder)
        })
    }

    fn resolve(&self, resolver: VecResolver, out: Place<ArchivedVec<u8>>) {
        ArchivedVec::resolve_from_len(self.len(), resolver, out);
    }

    fn deserialize(archived: &ArchivedVec<u8>, decoder: &mut Decoder) -> Result<Self, ArchiveError> {
        decoder.charge::<u8>(archived.len())?;
        Ok(Self::copy_from_slice(archived.as_slice()))
    }
}

#[cfg(feature = "uuid")]
impl Wire for uuid::Uuid {
    type Archived = [u8; 16];
    type Resolver = [(); 16];
    const DEPTH: u32 = 0;

    fn describe(_: &mut Schema) -> String {
        "Uuid".to_owned()
    }

    fn serialize(&self, _: &mut Encoder<'_>) -> Result<[(); 16], EncodeError> {
        Ok([(); 16])
    }

    fn resolve(&self, resolver: [(); 16], out: Place<[u8; 16]>) {
        rkyv::Archive::resolve(self.as_bytes(), resolver, out);
    }

    fn deserialize(archived: &[u8; 16], _: &mut Decoder) -> Result<Self, ArchiveError> {
        Ok(Self::from_bytes(*archived))
    }
}
