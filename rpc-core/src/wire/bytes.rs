//! Byte strings and identifiers: `Bytes`, and behind its feature `Uuid`.

use bytes::Bytes;
use rkyv::Place;
use rkyv::ser::Positional as _;
use rkyv::vec::{ArchivedVec, VecResolver};

use super::{Wire, out_of_line};
use crate::archive::{ArchiveError, Decoder};
use crate::encode::{EncodeError, Encoder};
use crate::schema::Schema;

/// Length from which a `Bytes` is sent from where it is. A shorter one is copied into the frame, which costs less than a slice of its own in a write.
pub const ATTACH_LEN: usize = 16 << 10;

/// Long ones are not copied: neither by the sender ([`ATTACH_LEN`]) nor by a receiver that takes the value as its own ([`SHARE_LEN`]). What the receiver gets
/// then keeps the memory of the whole frame, and of others that arrived with it, for as long as it is kept; to keep a small part for long, copy it.
///
/// [`SHARE_LEN`]: crate::archive::SHARE_LEN
impl Wire for Bytes {
    type Archived = ArchivedVec<u8>;
    type Resolver = VecResolver;
    const DEPTH: u32 = 1;

    fn describe(_: &mut Schema) -> String {
        "Vec<u8>".to_owned()
    }

    fn serialize(&self, encoder: &mut Encoder<'_>) -> Result<VecResolver, EncodeError> {
        out_of_line(encoder, |encoder| {
            if self.len() < ATTACH_LEN {
                return ArchivedVec::serialize_from_slice(self, encoder);
            }
            let pos = encoder.pos();
            encoder.writer.attach(self.clone())?;
            Ok(VecResolver::from_pos(pos))
        })
    }

    fn resolve(&self, resolver: VecResolver, out: Place<ArchivedVec<u8>>) {
        ArchivedVec::resolve_from_len(self.len(), resolver, out);
    }

    fn deserialize(archived: &ArchivedVec<u8>, decoder: &mut Decoder) -> Result<Self, ArchiveError> {
        decoder.charge::<u8>(archived.len())?;
        Ok(decoder.bytes(archived.as_slice()))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::SHARE_LEN;
    use crate::encode::encode;
    use crate::frame_buf::FrameBuf;
    use crate::wire::ByRef;

    #[test]
    fn attached_bytes_are_sent_from_where_they_are() {
        let bytes = Bytes::from(vec![5; ATTACH_LEN]);
        let mut frame = FrameBuf::new();
        frame.extend(&[0; 16]);
        encode(&mut frame, &ByRef(&(1_u32, bytes.clone())), 1 << 20).unwrap();
        let lengths: Vec<_> = frame.segments().map(<[u8]>::len).collect();
        assert_eq!(lengths, [16, ATTACH_LEN, 12]);
        assert_eq!(frame.segments().nth(1).map(<[u8]>::as_ptr), Some(bytes.as_ptr()));
    }

    #[test]
    fn attached_bytes_count_towards_the_limit() {
        let bytes = Bytes::from(vec![5; ATTACH_LEN]);
        let needs = ATTACH_LEN + size_of::<ArchivedVec<u8>>();
        let value = ByRef(&bytes);
        assert_eq!(encode(&mut FrameBuf::new(), &value, needs), Ok(()));
        for limit in [needs - 1, ATTACH_LEN, ATTACH_LEN - 1, 0] {
            let error = Err(EncodeError::TooLarge { limit });
            assert_eq!(encode(&mut FrameBuf::new(), &value, limit), error);
        }
        let many = ByRef(&vec![bytes; 1 << 10]);
        let error = Err(EncodeError::TooLarge { limit: 1 << 20 });
        assert_eq!(encode(&mut FrameBuf::new(), &many, 1 << 20), error);
    }

    #[test]
    fn bytes_from_elsewhere_are_copied() {
        let source = Bytes::from(vec![1; 2 * SHARE_LEN]);
        let decoder = Decoder::for_bytes(&source);
        let whole = decoder.bytes(&source);
        assert_eq!(whole.as_ptr(), source.as_ptr());
        let elsewhere = vec![2; SHARE_LEN];
        assert_eq!(decoder.bytes(&elsewhere), elsewhere);
        // The end of the source, and what follows in the same memory.
        let front = source.slice(..SHARE_LEN);
        let beyond = source.slice(1..=SHARE_LEN);
        let copy = Decoder::for_bytes(&front).bytes(&beyond);
        assert_eq!(copy, beyond);
        assert_ne!(copy.as_ptr(), beyond.as_ptr());
        let before = Decoder::for_bytes(&source.slice(SHARE_LEN..)).bytes(&front);
        assert_ne!(before.as_ptr(), front.as_ptr());
    }
}
