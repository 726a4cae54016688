//! Metadata: what travels besides arguments and values, string keys with binary values, readable without allocation (P-36).

use std::fmt;

use bytes::{BufMut as _, Bytes, BytesMut};

/// Entries of a key and a value that are sent with a call, its answer, or the end of a stream.
///
/// Keys are any text of up to 255 bytes and case-sensitive; the same key may occur more than once. Values are bytes. Keys that begin with `rpc-` belong to the
/// framework; `traceparent` and `tracestate` carry W3C trace context.
///
/// Received metadata refers to the memory it was received in, and is read without copying.
///
/// ```
/// use rpc_core::Metadata;
///
/// let mut metadata = Metadata::new();
/// metadata.insert("tenant", "blue")?;
/// metadata.insert("flag", [1, 2, 3])?;
/// assert_eq!(metadata.get_str("tenant"), Some("blue"));
/// assert_eq!(metadata.iter().count(), 2);
/// # Ok::<(), rpc_core::MetadataError>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Metadata {
    /// Whole, valid entries, if there are any. Few calls have some, and the others need not drop them.
    bytes: Option<Bytes>,
}

/// Length of what precedes a key.
const KEY_LEN: usize = 1;
/// Length of what precedes a value.
const VALUE_LEN: usize = 2;

impl Metadata {
    /// The longest metadata, entries with their lengths, in bytes: what every peer's frames have room for. A peer may accept less.
    pub const MAX_LEN: usize = 16_320;

    /// No entries, and no memory.
    pub const fn new() -> Self {
        Self { bytes: None }
    }

    fn of(bytes: Bytes) -> Self {
        Self {
            bytes: (!bytes.is_empty()).then_some(bytes),
        }
    }

    /// Reads received metadata; each entry is looked at once.
    ///
    /// # Errors
    ///
    /// [`MetadataError::Malformed`] with the offset of the entry that is cut, or whose key is empty or no text.
    pub fn read(bytes: Bytes) -> Result<Self, MetadataError> {
        let mut rest = bytes.as_ref();
        while !rest.is_empty() {
            let offset = bytes.len() - rest.len();
            (_, rest) = split(rest).ok_or(MetadataError::Malformed { offset })?;
        }
        Ok(Self::of(bytes))
    }

    /// Appends an entry.
    ///
    /// # Errors
    ///
    /// [`MetadataError`]: the entry, or all together, would be too long. Nothing is changed then.
    pub fn insert(&mut self, key: &str, value: impl AsRef<[u8]>) -> Result<(), MetadataError> {
        let value = value.as_ref();
        let key_len = match u8::try_from(key.len()) {
            Ok(0) => return Err(MetadataError::KeyEmpty),
            Ok(len) => len,
            Err(_) => return Err(MetadataError::KeyTooLong { len: key.len() }),
        };
        let too_long = MetadataError::ValueTooLong { len: value.len() };
        let value_len = u16::try_from(value.len()).map_err(|_| too_long)?;
        let len = self.encoded_len() + KEY_LEN + VALUE_LEN + key.len() + value.len();
        if len > Self::MAX_LEN {
            return Err(MetadataError::TooLong { len });
        }
        // In place while nobody else refers to the entries; received ones are copied once.
        let before = self.bytes.take().unwrap_or_default();
        let mut bytes = before
            .try_into_mut()
            .unwrap_or_else(|shared| BytesMut::from(&shared[..]));
        bytes.put_u8(key_len);
        bytes.put_u16(value_len);
        bytes.put_slice(key.as_bytes());
        bytes.put_slice(value);
        *self = Self::of(bytes.freeze());
        Ok(())
    }

    /// Replaces all entries of a key by one.
    ///
    /// # Errors
    ///
    /// As [`insert`](Self::insert).
    pub fn set(&mut self, key: &str, value: impl AsRef<[u8]>) -> Result<(), MetadataError> {
        let before = self.clone();
        self.remove(key);
        self.insert(key, value).inspect_err(|_| *self = before)
    }

    /// Takes all entries of a key out. Whether there were any.
    pub fn remove(&mut self, key: &str) -> bool {
        if self.get(key).is_none() {
            return false;
        }
        let mut bytes = BytesMut::with_capacity(self.encoded_len());
        let mut rest = self.as_bytes();
        while let Some(((entry, _), next)) = split(rest) {
            if entry != key {
                bytes.put_slice(rest.get(..rest.len() - next.len()).unwrap_or_default());
            }
            rest = next;
        }
        *self = Self::of(bytes.freeze());
        true
    }

    /// Appends all entries of `other`.
    ///
    /// # Errors
    ///
    /// [`MetadataError::TooLong`]: all together would be too long. Nothing is changed then.
    pub fn extend(&mut self, other: &Self) -> Result<(), MetadataError> {
        let len = self.encoded_len() + other.encoded_len();
        if len > Self::MAX_LEN {
            return Err(MetadataError::TooLong { len });
        }
        if self.is_empty() {
            *self = other.clone();
        } else if !other.is_empty() {
            let mut bytes = BytesMut::with_capacity(len);
            bytes.put_slice(self.as_bytes());
            bytes.put_slice(other.as_bytes());
            *self = Self::of(bytes.freeze());
        }
        Ok(())
    }

    /// The value of the first entry with that key.
    pub fn get(&self, key: &str) -> Option<&[u8]> {
        self.iter()
            .find_map(|(entry, value)| (entry == key).then_some(value))
    }

    /// The same as text, if it is text.
    pub fn get_str(&self, key: &str) -> Option<&str> {
        std::str::from_utf8(self.get(key)?).ok()
    }

    /// The values of all entries with that key, in order.
    pub fn get_all(&self, key: &str) -> impl Iterator<Item = &[u8]> {
        self.iter()
            .filter_map(move |(entry, value)| (entry == key).then_some(value))
    }

    /// All entries in order.
    pub fn iter(&self) -> Iter<'_> {
        Iter {
            rest: self.as_bytes(),
        }
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_none()
    }

    /// Length on the wire, in bytes.
    #[inline]
    pub fn encoded_len(&self) -> usize {
        self.as_bytes().len()
    }

    /// The entries as they go on the wire.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.as_deref().unwrap_or_default()
    }
}

/// A key and its value.
type Entry<'a> = (&'a str, &'a [u8]);

/// The first entry, and what follows it. None if it is cut, or its key is empty or no text.
fn split(bytes: &[u8]) -> Option<(Entry<'_>, &[u8])> {
    let (lengths, rest) = bytes.split_first_chunk::<{ KEY_LEN + VALUE_LEN }>()?;
    let [key_len, v0, v1] = *lengths;
    let (key, rest) = rest.split_at_checked(usize::from(key_len))?;
    let (value, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes([v0, v1])))?;
    let key = std::str::from_utf8(key).ok().filter(|key| !key.is_empty())?;
    Some(((key, value), rest))
}

/// The entries of [`Metadata`] in order.
#[derive(Clone)]
pub struct Iter<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Iter<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let (entry, rest) = split(self.rest)?;
        self.rest = rest;
        Some(entry)
    }
}

impl<'a> IntoIterator for &'a Metadata {
    type Item = Entry<'a>;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

impl fmt::Debug for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.iter().fmt(f)
    }
}

impl fmt::Debug for Iter<'_> {
    /// Shows texts; of other values, and of those whose key speaks of a secret, the length.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SECRETS: [&str; 5] = ["authorization", "cookie", "password", "secret", "token"];
        let mut map = f.debug_map();
        for (key, value) in self.clone() {
            let lower = key.to_ascii_lowercase();
            let is_secret = SECRETS.iter().any(|secret| lower.contains(secret));
            match std::str::from_utf8(value) {
                Ok(text) if !is_secret => map.entry(&key, &text),
                Ok(_) | Err(_) => map.entry(&key, &format_args!("{} bytes", value.len())),
            };
        }
        map.finish()
    }
}

/// Why entries are no metadata, or cannot be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MetadataError {
    /// A key has at least one byte.
    KeyEmpty,
    /// A key has at most 255 bytes.
    KeyTooLong {
        /// Its length.
        len: usize,
    },
    /// Received bytes are no metadata.
    Malformed {
        /// Offset of the entry that is wrong.
        offset: usize,
    },
    /// All entries together are longer than [`Metadata::MAX_LEN`].
    TooLong {
        /// Their length.
        len: usize,
    },
    /// A value has at most 65,535 bytes.
    ValueTooLong {
        /// Its length.
        len: usize,
    },
}

impl fmt::Display for MetadataError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeyEmpty => f.write_str("metadata key is empty"),
            Self::KeyTooLong { len } => write!(f, "metadata key of {len} bytes exceeds 255"),
            Self::Malformed { offset } => write!(f, "metadata is malformed at byte {offset}"),
            Self::TooLong { len } => {
                write!(f, "metadata of {len} bytes exceeds {}", Metadata::MAX_LEN)
            }
            Self::ValueTooLong { len } => write!(f, "metadata value of {len} bytes exceeds 65535"),
        }
    }
}

impl std::error::Error for MetadataError {}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    type Entries = Vec<(String, Vec<u8>)>;

    fn entries(metadata: &Metadata) -> Entries {
        metadata
            .iter()
            .map(|(key, value)| (key.to_owned(), value.to_vec()))
            .collect()
    }

    /// P-36
    #[test]
    fn entries_are_laid_out_as_the_specification_says() {
        let mut metadata = Metadata::new();
        metadata.insert("ab", [7, 8, 9]).unwrap();
        metadata.insert("c", "").unwrap();
        assert_eq!(metadata.as_bytes(), b"\x02\x00\x03ab\x07\x08\x09\x01\x00\x00c");
        assert_eq!((metadata.len(), metadata.encoded_len()), (2, 12));
    }

    #[test]
    fn without_entries_it_is_the_same_however_it_came_about() {
        let mut emptied = Metadata::new();
        emptied.insert("k", "v").unwrap();
        assert!(emptied.remove("k"));
        let mut extended = Metadata::new();
        extended.extend(&emptied).unwrap();
        let received = Metadata::read(Bytes::copy_from_slice(b"")).unwrap();
        for none in [emptied, extended, received] {
            assert_eq!(none, Metadata::default());
            assert!(none.is_empty() && none.as_bytes().is_empty());
        }
    }

    /// P-36: whatever is cut off, but at the end of an entry.
    #[test]
    fn malformed_entries_are_refused() {
        let good = b"\x02\x00\x03ab\x07\x08\x09\x01\x00\x00c";
        for len in 0..=good.len() {
            let result = Metadata::read(Bytes::copy_from_slice(&good[..len]));
            match len {
                0 | 8 | 12 => assert!(result.is_ok()),
                _ => {
                    let offset = if len < 8 { 0 } else { 8 };
                    assert_eq!(result, Err(MetadataError::Malformed { offset }));
                }
            }
        }
        for bad in [&b"\x00\x00\x01v"[..], b"\x01\x00\x00\xff"] {
            let error = MetadataError::Malformed { offset: 0 };
            assert_eq!(Metadata::read(Bytes::from_static(bad)), Err(error));
        }
    }

    #[test]
    fn what_is_too_long_is_refused_and_changes_nothing() {
        let mut metadata = Metadata::new();
        metadata.insert("a", "b").unwrap();
        let before = metadata.clone();
        let long = "k".repeat(256);
        assert_eq!(metadata.insert("", ""), Err(MetadataError::KeyEmpty));
        assert_eq!(
            metadata.insert(&long, ""),
            Err(MetadataError::KeyTooLong { len: 256 })
        );
        let value = vec![0; 65_536];
        assert_eq!(
            metadata.insert("a", &value),
            Err(MetadataError::ValueTooLong { len: 65_536 })
        );
        let error = Err(MetadataError::TooLong {
            len: 5 + 4 + Metadata::MAX_LEN,
        });
        assert_eq!(metadata.insert("k", &value[..Metadata::MAX_LEN]), error);
        assert!(metadata.set("a", &value).is_err());
        assert_eq!(metadata, before);
        let texts = [
            MetadataError::KeyEmpty.to_string(),
            MetadataError::KeyTooLong { len: 256 }.to_string(),
            MetadataError::ValueTooLong { len: 70_000 }.to_string(),
            MetadataError::TooLong { len: 20_000 }.to_string(),
        ];
        assert_eq!(
            texts,
            [
                "metadata key is empty",
                "metadata key of 256 bytes exceeds 255",
                "metadata value of 70000 bytes exceeds 65535",
                "metadata of 20000 bytes exceeds 16320",
            ]
        );
    }

    #[test]
    fn received_entries_are_read_without_allocating_and_copied_when_changed() {
        let mut built = Metadata::new();
        built.insert("key", "value").unwrap();
        let bytes = Bytes::copy_from_slice(built.as_bytes());
        let received = Metadata::read(bytes.clone()).unwrap();
        let counted = allocation_counter::measure(|| {
            assert_eq!(received.get_str("key"), Some("value"));
            assert_eq!(received.get("other"), None);
        });
        assert_eq!(counted.count_total, 0);
        let mut changed = received.clone();
        changed.insert("more", "").unwrap();
        assert_eq!((received.len(), changed.len()), (1, 2));
        assert_eq!(received.as_bytes().as_ptr(), bytes.as_ptr());
    }

    #[test]
    fn secrets_are_not_shown() {
        let mut metadata = Metadata::new();
        metadata.insert("Authorization", "Bearer abc").unwrap();
        metadata.insert("tenant", "blue").unwrap();
        metadata.insert("raw", [0xff, 0xfe]).unwrap();
        let shown = format!("{metadata:?}");
        assert_eq!(
            shown,
            r#"{"Authorization": 10 bytes, "tenant": "blue", "raw": 2 bytes}"#
        );
    }

    proptest! {
        #[test]
        fn operations_agree_with_a_list(steps in vec((0..5_u8, "[abc]{1,2}", vec(any::<u8>(), 0..9)), 0..40)) {
            let mut metadata = Metadata::new();
            let mut list: Entries = Vec::new();
            for (operation, key, value) in steps {
                match operation {
                    0 | 1 => {
                        metadata.insert(&key, &value).unwrap();
                        list.push((key.clone(), value));
                    }
                    2 => {
                        metadata.set(&key, &value).unwrap();
                        list.retain(|(known, _)| *known != key);
                        list.push((key.clone(), value));
                    }
                    3 => {
                        let before = list.len();
                        list.retain(|(known, _)| *known != key);
                        prop_assert_eq!(metadata.remove(&key), list.len() < before);
                    }
                    _ => {
                        metadata.extend(&metadata.clone()).unwrap();
                        list.extend(list.clone());
                        list.truncate(64);
                        metadata = list.iter().fold(Metadata::new(), |mut all, (key, value)| {
                            all.insert(key, value).unwrap();
                            all
                        });
                    }
                }
                let read = Metadata::read(Bytes::copy_from_slice(metadata.as_bytes())).unwrap();
                prop_assert_eq!(&read, &metadata);
                prop_assert_eq!(entries(&read), list.clone());
                let first = list.iter().find(|(known, _)| *known == key).map(|(_, value)| value.as_slice());
                prop_assert_eq!(metadata.get(&key), first);
            }
        }

        #[test]
        fn any_bytes_are_metadata_or_refused(bytes in vec(any::<u8>(), 0..60)) {
            if let Ok(metadata) = Metadata::read(Bytes::from(bytes.clone())) {
                let len: usize = metadata.iter().map(|(key, value)| 3 + key.len() + value.len()).sum();
                prop_assert_eq!(len, bytes.len());
            }
        }
    }
}
