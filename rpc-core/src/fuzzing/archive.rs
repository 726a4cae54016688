//! Target `archive`: what is accepted can be read completely, and what was archived is read back as it was.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt::{self, Debug, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use super::input::Input;
use super::messages::{Chain, Figure, Plot, Point, TallTree, Tree};
use super::mutate::mutate;
use crate::archive::Archive;
use crate::encode::{EncodeError, encode};
use crate::frame_buf::FrameBuf;
use crate::wire::{Archived, Bincode, ByRef, Postcard, Serde, Wire};

/// A byte for the type, one for where the bytes come from; then the bytes, or mutations and the value that is archived and mutated.
pub(super) fn run(input: &mut Input<'_>) {
    let index = usize::from(input.byte()) % FAMILY.len();
    (FAMILY[index].run)(input);
}

pub(super) fn sample(index: u8, input: &mut Input<'_>) -> Option<Vec<u8>> {
    (FAMILY[usize::from(index) % FAMILY.len()].sample)(input)
}

/// The types under test.
const FAMILY: &[Member] = &[
    Member::of::<Scalars>(),
    Member::of::<String>(),
    Member::of::<Vec<String>>(),
    Member::of::<Vec<(u64, String)>>(),
    Member::of::<Option<Box<(u8, Box<str>)>>>(),
    Member::of::<BTreeMap<String, Vec<u8>>>(),
    Member::of::<HashSet<u32>>(),
    Member::of::<[Vec<u16>; 3]>(),
    Member::of::<Times>(),
    Member::of::<(IpAddr, Option<SocketAddr>)>(),
    Member::of::<Result<Figure, String>>(),
    Member::of::<Vec<Figure>>(),
    Member::of::<Tree>(),
    Member::of::<Chain>(),
    Member::of::<Serde<Plot, Postcard>>(),
    Member::of::<Serde<Plot, Bincode>>(),
    Member::of::<Identified>(),
    Member::of::<HashMap<(u16, String), BTreeSet<char>>>(),
    Member::of::<Vec<Vec<Option<Box<u8>>>>>(),
    Member::of::<()>(),
    Member::of::<(Box<[Point]>, Vec<bool>)>(),
    Member::of::<TallTree>(),
];

type Scalars = (bool, char, i8, u16, i32, u64, i128, f32, f64, NonZeroU32);
type Times = (Duration, SystemTime, Vec<SystemTime>);
type Identified = (Bytes, uuid::Uuid);

struct Member {
    run: fn(&mut Input<'_>),
    sample: fn(&mut Input<'_>) -> Option<Vec<u8>>,
}

impl Member {
    const fn of<T: Subject>() -> Self {
        Self {
            run: run_type::<T>,
            sample: |input| archived(&T::sample(input)?).ok(),
        }
    }
}

/// A type under test.
trait Subject: Wire<Archived: Debug> + PartialEq + Debug {
    /// A value made of the bytes that follow.
    fn sample(input: &mut Input<'_>) -> Option<Self>;

    /// Whether the value is to be read back: a serde value may be archived and still cost more than its reader allows.
    fn is_modest(&self) -> bool {
        true
    }

    /// Uses what its archived form can do besides being read in order. `value` is there if the archive could be deserialised.
    fn look(_archived: &Archived<Self>, _value: Option<&Self>) {}
}

fn run_type<T: Subject>(input: &mut Input<'_>) {
    if input.byte() & 1 == 0 {
        read::<T>(input.rest());
        return;
    }
    let mut mutations = Input::new(input.bytes(MUTATIONS_LEN));
    let Some(value) = T::sample(input) else { return };
    let mut bytes = match archived(&value) {
        Ok(bytes) => bytes,
        Err(EncodeError::TooDeep { .. } | EncodeError::Unencodable) => return,
        Err(error @ EncodeError::TooLarge { .. }) => panic!("{error}: {value:?}"),
    };
    let copy = read::<T>(&bytes);
    if value.is_modest() {
        assert_same(&copy, &value);
    }
    if mutate(&mut bytes, &mut mutations) {
        read::<T>(&bytes);
    }
}

/// If the bytes are accepted: reads all of it in place, then deserialises it, and archives that again.
fn read<T: Subject>(bytes: &[u8]) -> Option<T> {
    let archive = Archive::<T>::validate(Bytes::copy_from_slice(bytes)).ok()?;
    // P-72
    assert!(T::DEPTH > 0 || bytes.len() == size_of::<Archived<T>>());
    let mut text = Length(0);
    write!(text, "{:?}", &*archive).expect("nothing limits the text");
    assert!(
        text.0 <= (bytes.len() + 64) * TEXT_EXPANSION,
        "{} bytes of text of {} of archive",
        text.0,
        bytes.len()
    );
    let value = archive.deserialize().ok();
    T::look(&archive, value.as_ref());
    let value = value?;
    let again = archived(&value).unwrap_or_else(|error| panic!("{error}: {value:?}"));
    let copy = Archive::<T>::validate(again.clone().into()).expect("what was archived is accepted");
    if value.is_modest() {
        assert_same(&copy.deserialize().ok(), &value);
    }
    assert_eq!(
        archived(&value).as_ref(),
        Ok(&again),
        "two archives of one value differ"
    );
    Some(value)
}

/// A value that is not even equal to itself, which holds a NaN, is compared as text.
fn assert_same<T: Subject>(read: &Option<T>, value: &T) {
    let read = read.as_ref().expect("what was archived is accepted");
    #[expect(clippy::eq_op, reason = "false for a NaN")]
    if value == value {
        assert_eq!(read, value);
    } else {
        assert_eq!(format!("{read:?}"), format!("{value:?}"));
    }
}

fn archived<T: Wire>(value: &T) -> Result<Vec<u8>, EncodeError> {
    let mut frame = FrameBuf::new();
    encode(&mut frame, &ByRef(value), MAX_ARCHIVE)?;
    Ok(frame.body().to_vec())
}

/// Counts what is written.
struct Length(usize);

impl fmt::Write for Length {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 += text.len();
        Ok(())
    }
}

/// Bytes that are for mutations; what follows makes the value.
const MUTATIONS_LEN: usize = 24;
/// Longer than any value that an input can make.
const MAX_ARCHIVE: usize = 16 << 20;
/// Bytes of text that one byte of an archive may become when it is printed: `Nothing` in a list of enumerations, escapes.
const TEXT_EXPANSION: usize = 32;

macro_rules! arbitrary_subjects {
    ($($type:ty),* $(,)?) => {$(
        impl Subject for $type {
            fn sample(input: &mut Input<'_>) -> Option<Self> {
                input.value()
            }
        }
    )*};
}

arbitrary_subjects!(
    Scalars,
    String,
    Vec<String>,
    Vec<(u64, String)>,
    Option<Box<(u8, Box<str>)>>,
    [Vec<u16>; 3],
    (IpAddr, Option<SocketAddr>),
    Result<Figure, String>,
    Vec<Figure>,
    Tree,
    Chain,
    Vec<Vec<Option<Box<u8>>>>,
    (),
    (Box<[Point]>, Vec<bool>),
    TallTree,
);

impl Subject for BTreeMap<String, Vec<u8>> {
    fn sample(input: &mut Input<'_>) -> Option<Self> {
        input.value()
    }

    fn look(archived: &Archived<Self>, value: Option<&Self>) {
        let mut longer = String::from("x");
        for (key, entry) in archived.iter() {
            let found = archived.get(key.as_str());
            // Only in a map whose keys are out of order may a key be missed; it is then not deserialised either.
            assert!(value.is_none() || found == Some(entry));
            longer.push_str(key);
        }
        assert!(value.is_none_or(|value| value.len() == archived.len()));
        assert_eq!(archived.get(longer.as_str()), None);
    }
}

impl Subject for HashSet<u32> {
    fn sample(input: &mut Input<'_>) -> Option<Self> {
        input.value()
    }

    fn look(archived: &Archived<Self>, value: Option<&Self>) {
        let found = archived
            .iter()
            .filter(|element| archived.contains(*element))
            .count();
        assert!(value.is_none_or(|value| value.len() == found));
    }
}

impl Subject for HashMap<(u16, String), BTreeSet<char>> {
    fn sample(input: &mut Input<'_>) -> Option<Self> {
        input.value()
    }

    fn look(archived: &Archived<Self>, value: Option<&Self>) {
        for (key, entry) in archived.iter() {
            assert!(value.is_none() || archived.get(key) == Some(entry));
        }
    }
}

impl Subject for Times {
    fn sample(input: &mut Input<'_>) -> Option<Self> {
        let times: Vec<(bool, Duration)> = input.value()?;
        let time = |(before, span): &(bool, Duration)| {
            if *before {
                UNIX_EPOCH.checked_sub(*span)
            } else {
                UNIX_EPOCH.checked_add(*span)
            }
        };
        let times: Vec<SystemTime> = times.iter().filter_map(time).collect();
        Some((
            input.value()?,
            times.first().copied().unwrap_or(UNIX_EPOCH),
            times,
        ))
    }
}

impl Subject for Serde<Plot, Postcard> {
    fn sample(input: &mut Input<'_>) -> Option<Self> {
        input.value().map(Self::new)
    }

    fn is_modest(&self) -> bool {
        self.value.is_modest()
    }
}

impl Subject for Serde<Plot, Bincode> {
    fn sample(input: &mut Input<'_>) -> Option<Self> {
        input.value().map(Self::new)
    }

    fn is_modest(&self) -> bool {
        self.value.is_modest()
    }
}

impl Subject for Identified {
    fn sample(input: &mut Input<'_>) -> Option<Self> {
        let (bytes, number): (Vec<u8>, u128) = input.value()?;
        Some((bytes.into(), uuid::Uuid::from_u128(number)))
    }
}
