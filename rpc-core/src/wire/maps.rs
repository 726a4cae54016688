//! Maps and sets: archived as lists sorted by key, never as hash tables.
//!
//! rkyv 0.8.18 does not verify the whole of an archived hash table: a forged one passes validation and then reads outside of the archive in
//! safe code. A sorted list has nothing to forge: the worst that wrong order does is a look-up that misses.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::hash::{BuildHasher, Hash};

use rkyv::bytecheck::CheckBytes;
use rkyv::munge::munge;
use rkyv::tuple::ArchivedTuple2;
use rkyv::vec::{ArchivedVec, VecResolver};
use rkyv::with::With;
use rkyv::{Place, Portable};

use super::{AsWire, ByRef, Wire, assert_sized, out_of_line};
use crate::archive::{ArchiveError, Decoder};
use crate::encode::{EncodeError, Encoder};
use crate::schema::Schema;

/// A type that may be a key of a map or an element of a set: its archived form is ordered like itself.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a key of a map or an element of a set on the wire",
    note = "keys are integers, `bool`, `char`, `String`, and pairs of these; send a `Vec` of other things"
)]
pub trait MapKey: Wire<Archived: Ord> + Ord {}

macro_rules! keys {
    ($($type:ty),*) => { $(impl MapKey for $type {})* };
}

keys!(
    bool,
    char,
    u8,
    u16,
    u32,
    u64,
    u128,
    i8,
    i16,
    i32,
    i64,
    i128,
    String,
    Box<str>
);
impl<A: MapKey, B: MapKey> MapKey for (A, B) where ArchivedTuple2<A::Archived, B::Archived>: Ord {}

/// A map in archived form: its entries, sorted by key.
#[derive(Portable, CheckBytes)]
#[rkyv(crate = rkyv)]
#[bytecheck(crate = rkyv::bytecheck)]
#[repr(C)]
pub struct ArchivedMap<K, V> {
    entries: ArchivedVec<ArchivedTuple2<K, V>>,
}

impl<K, V> ArchivedMap<K, V> {
    /// The number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The value of a key, found by binary search. The key may be given in its own type or as what it compares with: `map.get("name")`.
    ///
    /// In a map whose sender broke the order of keys (P-73) an existing key may be missed.
    pub fn get<Q: ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: PartialOrd<Q>,
    {
        search(self.entries.as_slice(), key, |entry| &entry.0).map(|entry| &entry.1)
    }

    /// Whether the key is there; see [`ArchivedMap::get`].
    pub fn contains_key<Q: ?Sized>(&self, key: &Q) -> bool
    where
        K: PartialOrd<Q>,
    {
        self.get(key).is_some()
    }

    /// The entries in the order of their keys.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&K, &V)> {
        self.entries.iter().map(|entry| (&entry.0, &entry.1))
    }
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for ArchivedMap<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<K: PartialEq, V: PartialEq> PartialEq for ArchivedMap<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl<K: Eq, V: Eq> Eq for ArchivedMap<K, V> {}

/// A set in archived form: its elements, sorted.
#[derive(Portable, CheckBytes)]
#[rkyv(crate = rkyv)]
#[bytecheck(crate = rkyv::bytecheck)]
#[repr(C)]
pub struct ArchivedSet<T> {
    elements: ArchivedVec<T>,
}

impl<T> ArchivedSet<T> {
    /// The number of elements.
    pub fn len(&self) -> usize {
        self.elements.len()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.elements.is_empty()
    }

    /// Whether the element is there; see [`ArchivedMap::get`].
    pub fn contains<Q: ?Sized>(&self, element: &Q) -> bool
    where
        T: PartialOrd<Q>,
    {
        search(self.elements.as_slice(), element, |element| element).is_some()
    }

    /// The elements in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &T> {
        self.elements.iter()
    }
}

impl<T: fmt::Debug> fmt::Debug for ArchivedSet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl<T: PartialEq> PartialEq for ArchivedSet<T> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl<T: Eq> Eq for ArchivedSet<T> {}

fn search<'a, T, K, Q: ?Sized>(sorted: &'a [T], key: &Q, key_of: impl Fn(&T) -> &K) -> Option<&'a T>
where
    K: PartialOrd<Q>,
{
    let index = sorted.partition_point(|item| key_of(item).partial_cmp(key) == Some(Ordering::Less));
    sorted
        .get(index)
        .filter(|item| key_of(item).partial_cmp(key) == Some(Ordering::Equal))
}

/// An entry of a native map, archived like a pair.
struct Entry<'a, K, V>(&'a K, &'a V);

impl<K, V> Clone for Entry<'_, K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V> Copy for Entry<'_, K, V> {}

impl<K: Wire, V: Wire> rkyv::Archive for Entry<'_, K, V> {
    type Archived = ArchivedTuple2<K::Archived, V::Archived>;
    type Resolver = (K::Resolver, V::Resolver);

    fn resolve(&self, resolver: Self::Resolver, out: Place<Self::Archived>) {
        rkyv::Archive::resolve(&(ByRef(self.0), ByRef(self.1)), resolver, out);
    }
}

impl<K: Wire, V: Wire> rkyv::Serialize<Encoder<'_>> for Entry<'_, K, V> {
    fn serialize(&self, encoder: &mut Encoder<'_>) -> Result<Self::Resolver, EncodeError> {
        Ok((self.0.serialize(encoder)?, self.1.serialize(encoder)?))
    }
}

fn serialize_entries<'a, K: MapKey, V: Wire>(
    entries: impl Iterator<Item = (&'a K, &'a V)>,
    encoder: &mut Encoder<'_>,
) -> Result<VecResolver, EncodeError> {
    let mut entries: Vec<_> = entries.map(|(key, value)| Entry(key, value)).collect();
    entries.sort_unstable_by(|a, b| a.0.cmp(b.0));
    ArchivedVec::serialize_from_slice(&entries, encoder)
}

fn serialize_elements<'a, T: MapKey>(
    elements: impl Iterator<Item = &'a T>,
    encoder: &mut Encoder<'_>,
) -> Result<VecResolver, EncodeError> {
    let mut elements: Vec<_> = elements.collect();
    elements.sort_unstable();
    ArchivedVec::serialize_from_iter::<With<T, AsWire>, _, _>(
        elements.iter().map(|element| With::cast(*element)),
        encoder,
    )
}

/// Reads entries or elements one by one, refusing keys that do not ascend (P-73).
fn deserialize_sorted<A, K: Ord, T>(
    archived: &[A],
    decoder: &mut Decoder,
    key_of: impl Fn(&A) -> &K,
    read: impl Fn(&A, &mut Decoder) -> Result<T, ArchiveError>,
) -> Result<Vec<T>, ArchiveError> {
    if !archived.is_sorted_by(|a, b| key_of(a) < key_of(b)) {
        return Err(ArchiveError::KeyOrder);
    }
    decoder.charge::<(T, usize)>(archived.len())?;
    archived.iter().map(|item| read(item, decoder)).collect()
}

macro_rules! map {
    ($map:ident<K, V $(, $hasher:ident)?> where K: $($bound:path),+ ) => {
        impl<K: MapKey $(+ $bound)+, V: Wire $(, $hasher: BuildHasher + Default + 'static)?> Wire for $map<K, V $(, $hasher)?> {
            type Archived = ArchivedMap<K::Archived, V::Archived>;
            type Resolver = VecResolver;
            const DEPTH: u32 = <Vec<(K, V)> as Wire>::DEPTH;

            fn describe(schema: &mut Schema) -> String {
                let key = K::describe(schema);
                format!("Map<{key}, {}>", V::describe(schema))
            }

            fn serialize(&self, encoder: &mut Encoder<'_>) -> Result<VecResolver, EncodeError> {
                out_of_line(encoder, |encoder| serialize_entries(self.iter(), encoder))
            }

            fn resolve(&self, resolver: VecResolver, out: Place<Self::Archived>) {
                munge!(let ArchivedMap { entries } = out);
                ArchivedVec::resolve_from_len(self.len(), resolver, entries);
            }

            fn deserialize(archived: &Self::Archived, decoder: &mut Decoder) -> Result<Self, ArchiveError> {
                let entries = deserialize_sorted(
                    archived.entries.as_slice(),
                    decoder,
                    |entry| &entry.0,
                    |entry, decoder| Ok((K::deserialize(&entry.0, decoder)?, V::deserialize(&entry.1, decoder)?)),
                )?;
                Ok(entries.into_iter().collect())
            }
        }
    };
}

map!(BTreeMap<K, V> where K: Ord);
map!(HashMap<K, V, S> where K: Eq, Hash);

macro_rules! set {
    ($set:ident<T $(, $hasher:ident)?> where T: $($bound:path),+ ) => {
        impl<T: MapKey $(+ $bound)+ $(, $hasher: BuildHasher + Default + 'static)?> Wire for $set<T $(, $hasher)?> {
            type Archived = ArchivedSet<T::Archived>;
            type Resolver = VecResolver;
            const DEPTH: u32 = {
                assert_sized::<T::Archived>();
                T::DEPTH + 1
            };

            fn describe(schema: &mut Schema) -> String {
                format!("Set<{}>", T::describe(schema))
            }

            fn serialize(&self, encoder: &mut Encoder<'_>) -> Result<VecResolver, EncodeError> {
                out_of_line(encoder, |encoder| serialize_elements(self.iter(), encoder))
            }

            fn resolve(&self, resolver: VecResolver, out: Place<Self::Archived>) {
                munge!(let ArchivedSet { elements } = out);
                ArchivedVec::resolve_from_len(self.len(), resolver, elements);
            }

            fn deserialize(archived: &Self::Archived, decoder: &mut Decoder) -> Result<Self, ArchiveError> {
                let elements = deserialize_sorted(archived.elements.as_slice(), decoder, |element| element, T::deserialize)?;
                Ok(elements.into_iter().collect())
            }
        }
    };
}

set!(BTreeSet<T> where T: Ord);
set!(HashSet<T, S> where T: Eq, Hash);
