//! `Serde<T>`: types with serde derives alone travel through either codec, and hostile bytes cost no more than their length.

#![allow(clippy::unwrap_used, reason = "what a helper cannot do fails its test")]
#![cfg(all(feature = "postcard", feature = "bincode"))]

use std::collections::BTreeMap;

use bytes::Bytes;
use rpc_core::encode::encode;
use rpc_core::wire::ByRef;
use rpc_core::{Archive, ArchiveError, Bincode, EncodeError, FrameBuf, Postcard, Serde, SerdeCodec, Wire};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Figure {
    title: String,
    points: Vec<(f64, f64)>,
    tags: BTreeMap<String, Option<u32>>,
    shape: Shape,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Shape {
    Point,
    Circle(f64),
    Box { width: f64, height: f64 },
    Group(Vec<Self>),
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum List {
    End,
    Then(Box<Self>),
}

/// Refuses to be serialised.
#[derive(Debug, PartialEq, Deserialize)]
struct Stubborn;

impl Serialize for Stubborn {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("no"))
    }
}

fn figure() -> Figure {
    Figure {
        title: "slope".to_owned(),
        points: vec![(1.0, 2.0), (3.0, -4.5)],
        tags: BTreeMap::from([("a".to_owned(), Some(7)), ("b".to_owned(), None)]),
        shape: Shape::Group(vec![
            Shape::Point,
            Shape::Circle(1.5),
            Shape::Box {
                width: 1.0,
                height: 2.0,
            },
        ]),
    }
}

fn archive<T: Wire>(value: &T) -> Result<Archive<T>, EncodeError> {
    let mut frame = FrameBuf::new();
    encode(&mut frame, &ByRef(value), 1 << 20)?;
    Ok(Archive::validate(Bytes::copy_from_slice(frame.body())).unwrap())
}

#[test]
fn a_type_with_serde_derives_alone_round_trips_through_either_codec() {
    let postcard: Serde<Figure> = figure().into();
    assert_eq!(archive(&postcard).unwrap().deserialize(), Ok(postcard));
    let bincode: Serde<Figure, Bincode> = figure().into();
    assert_eq!(
        archive(&vec![bincode]).unwrap().deserialize().unwrap()[0].value,
        figure()
    );
}

#[test]
fn a_signature_names_the_codec() {
    let describe = rpc_core::wire::describe::<Vec<Serde<Figure>>>;
    assert_eq!(
        describe(&mut rpc_core::schema::Schema::default()),
        "Vec<Serde<postcard>>"
    );
    let describe = rpc_core::wire::describe::<Serde<Figure, Bincode>>;
    assert_eq!(
        describe(&mut rpc_core::schema::Schema::default()),
        "Serde<bincode>"
    );
}

fn cuts_and_flips_are_refused_or_values<C: SerdeCodec<Figure>>() {
    let bytes = C::to_bytes(&figure()).unwrap();
    assert_eq!(C::from_bytes(&bytes), Ok(figure()));
    for len in 0..bytes.len() {
        assert_eq!(
            C::from_bytes(&bytes[..len]),
            Err(ArchiveError::Codec),
            "cut at {len}"
        );
    }
    let mut longer = bytes.clone();
    longer.push(0);
    assert_eq!(C::from_bytes(&longer), Err(ArchiveError::Codec));
    for at in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[at / 8] ^= 1 << (at % 8);
        let _ = C::from_bytes(&flipped);
    }
}

#[test]
fn broken_bytes_are_refused() {
    cuts_and_flips_are_refused_or_values::<Postcard>();
    cuts_and_flips_are_refused_or_values::<Bincode>();
}

/// A21
#[test]
fn a_length_that_the_bytes_do_not_justify_is_refused() {
    // 2^64 - 1 in the variable-length form of each codec.
    let postcard = [&[0xFF; 9][..], &[0x01]].concat();
    let bincode = [&[0xFD][..], &[0xFF; 8]].concat();
    assert_eq!(
        <Postcard as SerdeCodec<Vec<u8>>>::from_bytes(&postcard),
        Err(ArchiveError::Codec)
    );
    assert_eq!(
        <Bincode as SerdeCodec<Vec<u8>>>::from_bytes(&bincode),
        Err(ArchiveError::Codec)
    );
    assert_eq!(
        <Postcard as SerdeCodec<Vec<u64>>>::from_bytes(&postcard),
        Err(ArchiveError::Codec)
    );
    assert_eq!(
        <Bincode as SerdeCodec<Vec<u64>>>::from_bytes(&bincode),
        Err(ArchiveError::Codec)
    );
    // Elements that take no bytes: nothing but the guard would ever end them.
    assert_eq!(
        <Postcard as SerdeCodec<Vec<()>>>::from_bytes(&postcard),
        Err(ArchiveError::Codec)
    );
    assert_eq!(
        <Bincode as SerdeCodec<Vec<()>>>::from_bytes(&bincode),
        Err(ArchiveError::Codec)
    );
}

/// A7, A21
#[test]
fn nesting_that_would_overflow_a_stack_is_refused() {
    let deep = [vec![1; 1_000_000], vec![0]].concat();
    let read = move || {
        assert_eq!(
            <Postcard as SerdeCodec<List>>::from_bytes(&deep),
            Err(ArchiveError::Codec)
        );
        assert_eq!(
            <Bincode as SerdeCodec<List>>::from_bytes(&deep),
            Err(ArchiveError::Codec)
        );
        let shallow = [vec![1; 50], vec![0]].concat();
        assert!(<Postcard as SerdeCodec<List>>::from_bytes(&shallow).is_ok());
        assert!(<Bincode as SerdeCodec<List>>::from_bytes(&shallow).is_ok());
    };
    std::thread::Builder::new()
        .stack_size(2 << 20)
        .spawn(read)
        .unwrap()
        .join()
        .unwrap();
}

#[test]
fn a_value_that_serde_refuses_is_not_sent() {
    let postcard: Serde<Stubborn> = Serde::new(Stubborn);
    assert_eq!(archive(&postcard).err(), Some(EncodeError::Unencodable));
    let bincode: Serde<Stubborn, Bincode> = Serde::new(Stubborn);
    assert_eq!(archive(&bincode).err(), Some(EncodeError::Unencodable));
}
