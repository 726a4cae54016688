//! `Serde<T>`: carries a type that only has serde derives, as the bytes of an optional codec.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use rkyv::bytecheck::CheckBytes;
use rkyv::munge::munge;
use rkyv::vec::{ArchivedVec, VecResolver};
use rkyv::{Place, Portable};

#[cfg(any(feature = "postcard", feature = "bincode"))]
use super::guard::{Budget, Guarded};
use super::{Named, Wire, out_of_line};
use crate::archive::{ArchiveError, Decoder};
use crate::encode::{EncodeError, Encoder};
use crate::schema::Schema;

/// The codec `postcard`, behind the feature of that name.
#[derive(Clone, Copy, Debug)]
pub struct Postcard;

/// The codec `bincode` 2.0.1 in its standard configuration, behind the feature of that name. The crate is unmaintained; prefer [`Postcard`].
#[derive(Clone, Copy, Debug)]
pub struct Bincode;

/// How a serde type becomes bytes and back.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot encode `{T}`",
    note = "switch on the feature `postcard` or `bincode` of rpc-core, and derive serde's `Serialize` and `Deserialize` for the type"
)]
pub trait SerdeCodec<T>: Send + Sync + 'static {
    /// The name in signatures.
    const NAME: &'static str;

    /// Encodes a value.
    ///
    /// # Errors
    ///
    /// [`EncodeError::Unencodable`] if serde or the codec refuses it.
    fn to_bytes(value: &T) -> Result<Vec<u8>, EncodeError>;

    /// Decodes a value; all bytes have to be used. No length in the bytes makes it reserve more memory than they justify.
    ///
    /// # Errors
    ///
    /// [`ArchiveError::Codec`] if the bytes are not a `T`.
    fn from_bytes(bytes: &[u8]) -> Result<T, ArchiveError>;
}

/// A value that travels as the bytes of a serde codec instead of an archive.
///
/// It costs what serde frameworks cost: encoding, copying, decoding. The signature of a method sees only the codec, not into `T`, so a change of
/// `T` is found by the codec or not at all. Use it for a first port, or for types of other crates.
///
/// ```ignore
/// async fn plot(&self, figure: Serde<geometry::Figure>) -> u32;
/// ```
#[derive(Clone, Copy)]
pub struct Serde<T, C = Postcard> {
    /// The value.
    pub value: T,
    codec: Named<C>,
}

impl<T, C> Serde<T, C> {
    /// Wraps a value.
    pub const fn new(value: T) -> Self {
        Self {
            value,
            codec: PhantomData,
        }
    }

    /// Takes the value out.
    pub fn into_inner(self) -> T {
        self.value
    }
}

impl<T, C> From<T> for Serde<T, C> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

impl<T, C> Deref for Serde<T, C> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: fmt::Debug, C> fmt::Debug for Serde<T, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}

impl<T: PartialEq, C> PartialEq for Serde<T, C> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

/// The archived form of a [`Serde`] value: the codec's bytes.
#[derive(Debug, PartialEq, Eq, Portable, CheckBytes)]
#[rkyv(crate = rkyv)]
#[bytecheck(crate = rkyv::bytecheck)]
#[repr(C)]
pub struct ArchivedSerde {
    bytes: ArchivedVec<u8>,
}

impl ArchivedSerde {
    /// The bytes of the codec.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.as_slice()
    }
}

impl<T: 'static, C: SerdeCodec<T>> Wire for Serde<T, C> {
    type Archived = ArchivedSerde;
    type Resolver = (VecResolver, usize);
    const DEPTH: u32 = 1;

    fn describe(_: &mut Schema) -> String {
        format!("Serde<{}>", C::NAME)
    }

    fn serialize(&self, encoder: &mut Encoder<'_>) -> Result<Self::Resolver, EncodeError> {
        let bytes = C::to_bytes(&self.value)?;
        let resolver = out_of_line(encoder, |encoder| {
            ArchivedVec::serialize_from_slice(&bytes, encoder)
        })?;
        Ok((resolver, bytes.len()))
    }

    fn resolve(&self, (resolver, len): Self::Resolver, out: Place<ArchivedSerde>) {
        munge!(let ArchivedSerde { bytes } = out);
        ArchivedVec::resolve_from_len(len, resolver, bytes);
    }

    fn deserialize(archived: &ArchivedSerde, _: &mut Decoder) -> Result<Self, ArchiveError> {
        C::from_bytes(archived.as_bytes()).map(Self::new)
    }
}

#[cfg(feature = "postcard")]
impl<T: serde::Serialize + serde::de::DeserializeOwned> SerdeCodec<T> for Postcard {
    const NAME: &'static str = "postcard";

    fn to_bytes(value: &T) -> Result<Vec<u8>, EncodeError> {
        postcard::to_stdvec(value).map_err(|_| EncodeError::Unencodable)
    }

    fn from_bytes(bytes: &[u8]) -> Result<T, ArchiveError> {
        let budget = Budget::for_bytes(bytes.len());
        let mut codec = postcard::Deserializer::from_bytes(bytes);
        let value = T::deserialize(Guarded::new(&mut codec, &budget)).map_err(|_| ArchiveError::Codec)?;
        match codec.finalize() {
            Ok([]) => Ok(value),
            Ok(_) | Err(_) => Err(ArchiveError::Codec),
        }
    }
}

#[cfg(feature = "bincode")]
mod bincode_codec {
    use std::marker::PhantomData;

    use super::{ArchiveError, Bincode, Budget, EncodeError, Guarded, SerdeCodec};

    /// The most that bincode may allocate for one value, whatever lengths its bytes claim; also the longest value that is sent.
    const LIMIT: usize = 64 << 20;

    fn config() -> impl bincode::config::Config {
        bincode::config::standard().with_limit::<LIMIT>()
    }

    impl<T: serde::Serialize + serde::de::DeserializeOwned> SerdeCodec<T> for Bincode {
        const NAME: &'static str = "bincode";

        fn to_bytes(value: &T) -> Result<Vec<u8>, EncodeError> {
            bincode::serde::encode_to_vec(value, config()).map_err(|_| EncodeError::Unencodable)
        }

        fn from_bytes(bytes: &[u8]) -> Result<T, ArchiveError> {
            let budget = Budget::for_bytes(bytes.len());
            let value = Guarded::new(PhantomData::<T>, &budget);
            match bincode::serde::seed_decode_from_slice(value, bytes, config()) {
                Ok((value, used)) if used == bytes.len() => Ok(value),
                Ok(_) | Err(_) => Err(ArchiveError::Codec),
            }
        }
    }
}
