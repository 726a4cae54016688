//! Archives: every allowed type round-trips, and whatever is not its archive is refused.

#![allow(clippy::unwrap_used, reason = "what a helper cannot do fails its test")]

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt::Debug;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use rpc_core::archive::access;
use rpc_core::encode::encode;
use rpc_core::wire::ByRef;
use rpc_core::{Archive, ArchiveError, EncodeError, FrameBuf, Wire};

/// The archive of a value, 16-aligned.
fn archive<T: Wire>(value: &T) -> Bytes {
    let mut frame = FrameBuf::new();
    encode(&mut frame, &ByRef(value), 1 << 20).unwrap();
    aligned(frame.body())
}

/// Bytes in 16-aligned memory.
fn aligned(bytes: &[u8]) -> Bytes {
    at_offset(bytes, 0)
}

/// Bytes that begin `offset` bytes behind a multiple of 16.
fn at_offset(bytes: &[u8], offset: usize) -> Bytes {
    let room = Bytes::from(vec![0; bytes.len() + 32]);
    let start = room.as_ptr().align_offset(16) + offset;
    let mut memory: Vec<u8> = room.try_into_mut().unwrap().into();
    memory[start..start + bytes.len()].copy_from_slice(bytes);
    Bytes::from(memory).slice(start..start + bytes.len())
}

#[track_caller]
fn round_trip<T: Wire + PartialEq + Debug>(value: &T) {
    let bytes = archive(value);
    let read = Archive::<T>::validate(bytes.clone()).unwrap();
    assert_eq!(read.deserialize().as_ref(), Ok(value));
    // A18: no memory of this process leaks through padding.
    assert_eq!(archive(value), bytes, "two archives of one value differ");
}

#[test]
fn every_type_round_trips() {
    round_trip(&(
        true, 'ß', -1_i8, 2_u8, -3_i16, 4_u16, -5_i32, 6_u32, -7_i64, 8_u64,
    ));
    round_trip(&(u128::MAX, i128::MIN, 1.5_f32, -0.25_f64, NonZeroU32::MIN));
    round_trip(&());
    round_trip(&(
        "short".to_owned(),
        "a text that does not fit inline".to_owned(),
        String::new(),
    ));
    round_trip(&Box::<str>::from("boxed"));
    round_trip(&(vec![1_u8, 2, 3], Vec::<u64>::new(), vec![vec!["deep".to_owned()]]));
    round_trip(&Box::<[u16]>::from([1, 2, 3]));
    round_trip(&(Box::new(7_u64), Box::new("boxed".to_owned())));
    round_trip(&(Some(3_u16), None::<String>, Some(Some(vec![1_u32]))));
    round_trip(&vec![Ok::<u64, String>(1), Err("no".to_owned())]);
    round_trip(&(
        [1_u8; 32],
        ["a".to_owned(), "b".to_owned()],
        [[1_u16; 2]; 2],
        ("one".to_owned(),),
    ));
    round_trip(&Bytes::from_static(b"bytes"));
    round_trip(&(Duration::new(3, 999_999_999), Duration::MAX));
    round_trip(&IpAddr::from([127, 0, 0, 1]));
    round_trip(&IpAddr::V6(Ipv6Addr::LOCALHOST));
    round_trip(&vec![
        SocketAddr::from(([10, 0, 0, 1], 80)),
        SocketAddr::from((Ipv6Addr::LOCALHOST, 443)),
    ]);
}

#[test]
fn times_round_trip_on_both_sides_of_1970() {
    for time in [
        UNIX_EPOCH,
        UNIX_EPOCH + Duration::new(1_700_000_000, 123_456_789),
        UNIX_EPOCH - Duration::new(1, 1),
        UNIX_EPOCH - Duration::new(5, 0),
    ] {
        round_trip(&time);
    }
    let before =
        Archive::<SystemTime>::validate(archive(&(UNIX_EPOCH - Duration::from_millis(250)))).unwrap();
    assert_eq!((before.unix_seconds(), before.subsec_nanos()), (-1, 750_000_000));
}

#[test]
fn maps_and_sets_round_trip_and_are_looked_up_in_place() {
    let map: HashMap<String, Vec<u32>> = (0..100).map(|n| (format!("key {n}"), vec![n; 3])).collect();
    round_trip(&map);
    round_trip(&vec![map.clone(), HashMap::new()]);
    round_trip(&map.clone().into_iter().collect::<BTreeMap<_, _>>());
    round_trip(&(0..50_u64).collect::<HashSet<_>>());
    round_trip(&Some(
        [(1_u8, 'a'), (2, 'b')].into_iter().collect::<BTreeSet<_>>(),
    ));

    let read = Archive::<HashMap<String, Vec<u32>>>::validate(archive(&map)).unwrap();
    assert_eq!(read.len(), 100);
    for n in 0..100 {
        assert_eq!(read.get(format!("key {n}").as_str()).unwrap().as_slice(), [n; 3]);
    }
    assert!(read.get("key").is_none() && !read.contains_key("key 100"));
    let set = Archive::<HashSet<u64>>::validate(archive(&HashSet::from([3_u64, 1, 2]))).unwrap();
    assert!(set.contains(&2) && !set.contains(&4));
    assert_eq!(set.iter().map(|n| n.to_native()).collect::<Vec<_>>(), [1, 2, 3]);
}

/// P-73
#[test]
fn keys_out_of_order_are_refused_when_deserialised_and_harmless_in_place() {
    type Map = BTreeMap<u32, u32>;
    for entries in [vec![(2_u32, 20_u32), (1, 10)], vec![(1, 10), (1, 11)]] {
        let read = Archive::<Map>::validate(archive(&entries)).unwrap();
        assert_eq!(read.deserialize(), Err(ArchiveError::KeyOrder));
        assert_eq!(read.iter().count(), 2);
        let _ = read.get(&1);
    }
    let elements = Archive::<BTreeSet<u32>>::validate(archive(&vec![2_u32, 1])).unwrap();
    assert_eq!(elements.deserialize(), Err(ArchiveError::KeyOrder));
}

/// A1
#[test]
fn an_archive_is_read_at_any_address() {
    let value = vec![("name".to_owned(), 7_u128), ("a longer name".to_owned(), 8)];
    let bytes = archive(&value);
    for offset in 0..16 {
        let moved = at_offset(&bytes, offset);
        assert_eq!(moved.as_ptr().addr() % 16, offset);
        assert_eq!(access::<Vec<(String, u128)>>(&moved).is_ok(), offset == 0);
        assert_eq!(
            Archive::<Vec<(String, u128)>>::validate(moved)
                .unwrap()
                .deserialize()
                .unwrap(),
            value
        );
    }
}

/// P-72
#[test]
fn bytes_before_or_behind_an_archive_are_refused() {
    let text = archive(&vec!["a text that does not fit inline".to_owned()]);
    let mut longer = text.to_vec();
    longer.extend([0; 16]);
    assert_eq!(
        access::<Vec<String>>(&aligned(&longer)).err(),
        Some(ArchiveError::Invalid)
    );
    for (len, valid) in [(7, false), (8, true), (9, false), (16, false)] {
        assert_eq!(access::<u64>(&aligned(&vec![0; len])).is_ok(), valid, "{len}");
    }
    assert!(access::<()>(&aligned(&[])).is_ok());
    assert_eq!(access::<()>(&aligned(&[0])).err(), Some(ArchiveError::Invalid));
}

#[test]
fn every_truncation_is_refused_or_a_whole_archive() {
    let bytes = archive(&vec![
        ("name".to_owned(), vec![1_u64, 2]),
        ("another name".to_owned(), vec![]),
    ]);
    for len in 0..bytes.len() {
        // Cut at the front or at the back: never a panic, never a read beyond.
        for cut in [bytes.slice(..len), aligned(&bytes[len..])] {
            if let Ok(read) = Archive::<Vec<(String, Vec<u64>)>>::validate(cut) {
                let _ = read.deserialize();
            }
        }
    }
}

/// A6
#[test]
fn values_that_do_not_exist_are_refused() {
    for byte in 0..=255 {
        assert_eq!(access::<bool>(&aligned(&[byte])).is_ok(), byte < 2, "bool {byte}");
        assert_eq!(
            access::<Option<u8>>(&aligned(&[byte, 9])).is_ok(),
            byte < 2,
            "option {byte}"
        );
        assert_eq!(
            access::<Result<u8, u8>>(&aligned(&[byte, 9])).is_ok(),
            byte < 2,
            "result {byte}"
        );
    }
    for (number, valid) in [
        (0xD7FF, true),
        (0xD800, false),
        (0xDFFF, false),
        (0xE000, true),
        (0x0011_0000, false),
    ] {
        assert_eq!(
            access::<char>(&aligned(&u32::to_le_bytes(number))).is_ok(),
            valid,
            "char {number:x}"
        );
    }
    assert!(access::<NonZeroU32>(&aligned(&[0; 4])).is_err());
    let mut span = archive(&Duration::from_secs(1)).to_vec();
    span[8..12].copy_from_slice(&1_000_000_000_u32.to_le_bytes());
    let span = Archive::<Duration>::validate(aligned(&span)).and_then(|span| span.deserialize());
    assert!(span.is_err());
    let mut time = archive(&UNIX_EPOCH).to_vec();
    time[8..12].copy_from_slice(&1_000_000_000_u32.to_le_bytes());
    let time = Archive::<SystemTime>::validate(aligned(&time)).unwrap();
    assert_eq!(time.deserialize(), Err(ArchiveError::TimeRange));
}

/// A5
#[test]
fn text_that_is_not_utf_8_is_refused() {
    for broken in [
        &b"\xC0\x80"[..],
        b"\xED\xA0\x80",
        b"\xF5\x80\x80\x80",
        b"abc\xE2\x82",
    ] {
        for filler in [0, 40] {
            // Out of line with the filler, inline without.
            let valid = archive(&"x".repeat(broken.len() + filler));
            let mut bytes = valid.to_vec();
            let at = bytes
                .windows(broken.len())
                .position(|window| window.iter().all(|byte| *byte == b'x'))
                .unwrap();
            bytes[at..at + broken.len()].copy_from_slice(broken);
            assert_eq!(
                access::<String>(&aligned(&bytes)).err(),
                Some(ArchiveError::Invalid),
                "{broken:x?}"
            );
        }
    }
}

/// A2, A3, A4
#[test]
fn pointers_and_lengths_that_lead_elsewhere_are_refused() {
    let bytes = archive(&vec![1_u32, 2, 3]);
    let root = bytes.len() - 8;
    let with = |pointer: i32, len: u32| {
        let mut changed = bytes.to_vec();
        changed[root..root + 4].copy_from_slice(&pointer.to_le_bytes());
        changed[root + 4..].copy_from_slice(&len.to_le_bytes());
        access::<Vec<u32>>(&aligned(&changed)).map(|read| read.len())
    };
    let good = i32::from_le_bytes(bytes[root..root + 4].try_into().unwrap());
    assert_eq!(with(good, 3), Ok(3));
    for (pointer, len) in [
        (good - 4, 3), // before the start
        (good, 4),     // into the root
        (0, 1),        // to itself
        (8, 1),        // past the end
        (good + 1, 1), // misaligned
        (i32::MIN, 1),
        (i32::MAX, 1),
        (good, u32::MAX),
        (good, 1 << 30),
    ] {
        assert_eq!(with(pointer, len), Err(ArchiveError::Invalid), "{pointer} {len}");
    }
}

#[test]
fn values_that_share_memory_are_refused() {
    // Two elements that point to the same out-of-line text: each byte may belong to one value only.
    let bytes = archive(&vec![
        "the first text of two".to_owned(),
        "the second of them, ha".to_owned(),
    ]);
    let root = bytes.len() - 8;
    let first = root - 16;
    let mut shared = bytes.to_vec();
    // A string's pointer counts from its own start: moving the second one's back by the distance of the two makes them meet.
    let pointer = i32::from_le_bytes(shared[first + 4..first + 8].try_into().unwrap());
    shared[first + 12..first + 16].copy_from_slice(&(pointer - 8).to_le_bytes());
    assert_eq!(
        access::<Vec<String>>(&aligned(&shared)).err(),
        Some(ArchiveError::Invalid)
    );
}

#[test]
fn a_value_that_is_longer_than_the_limit_is_not_encoded() {
    let mut frame = FrameBuf::new();
    assert_eq!(encode(&mut frame, &ByRef(&vec![0_u8; 100]), 108), Ok(()));
    for limit in [0, 50, 107] {
        frame.clear();
        let refused = encode(&mut frame, &ByRef(&vec![0_u8; 100]), limit);
        assert_eq!(refused, Err(EncodeError::TooLarge { limit }));
    }
}

/// A13
#[test]
fn deserialising_asks_for_no_more_memory_than_the_archive_justifies() {
    // The most wasteful of the allowed types: empty texts become 24 bytes for 8.
    round_trip(&vec![String::new(); 10_000]);
    round_trip(&vec![Box::new(1_u8); 1_000]);
    // 1,024 values in one byte each that would take 4 KiB each: a sequence of arrays of options of boxes would do it, were it not counted.
    type Wide = Vec<[Option<Box<[u64; 64]>>; 8]>;
    round_trip(&vec![[const { None }; 8]; 100] as &Wide);
}

#[test]
fn errors_say_what_is_wrong() {
    let texts = [
        (
            ArchiveError::Budget,
            "value needs far more memory than its archive is long",
        ),
        (ArchiveError::Codec, "codec refuses the bytes of a serde value"),
        (ArchiveError::Invalid, "not a valid archive of the type"),
        (
            ArchiveError::KeyOrder,
            "keys of a map or set are not strictly ascending",
        ),
        (
            ArchiveError::Misaligned,
            "archive does not start at a multiple of 16",
        ),
        (
            ArchiveError::TimeRange,
            "time is outside of what this machine can represent",
        ),
    ];
    for (error, text) in texts {
        assert_eq!(error.to_string(), text);
    }
    let large = EncodeError::TooLarge { limit: 4_194_304 };
    assert_eq!(
        large.to_string(),
        "body exceeds the limit of 4194304 bytes (max_body)"
    );
    let deep = EncodeError::TooDeep { limit: 32 };
    assert_eq!(
        deep.to_string(),
        "value is nested deeper than its stated max_depth of 32"
    );
    assert_eq!(EncodeError::Unencodable.to_string(), "value has no archive");
}

type Record = (
    u64,
    String,
    Vec<String>,
    Option<(f32, char)>,
    BTreeMap<u16, Vec<u8>>,
);

fn records() -> impl Strategy<Value = Vec<Record>> {
    let record = (
        any::<u64>(),
        ".{0,20}",
        vec(".{0,12}", 0..4),
        proptest::option::of((-1e6_f32..1e6, any::<char>())),
        btree_map(any::<u16>(), vec(any::<u8>(), 0..9), 0..4),
    );
    vec(record, 0..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_value_round_trips(value in records()) {
        round_trip(&value);
    }

    /// F18, A10
    #[test]
    fn a_mutated_archive_is_refused_or_can_be_read_completely(
        value in records(), changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = archive(&value).to_vec();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(read) = Archive::<Vec<Record>>::validate(aligned(&bytes)) {
            let _ = format!("{:?}", &*read);
            for record in read.iter() {
                let _ = record.4.get(&7);
            }
            // What can be deserialised is a value like any other.
            if let Ok(value) = read.deserialize() {
                let has_nan = value.iter().any(|record| record.3.is_some_and(|(float, _)| float.is_nan()));
                if !has_nan {
                    round_trip(&value);
                }
            }
        }
    }
}

/// Nests as deep as it states.
#[rpc_core::message(max_depth = 32)]
#[derive(Debug, PartialEq)]
struct Tree {
    children: Vec<Self>,
}

/// The archive of a chain of `nodes` trees, written by hand: each is a pointer to the one before it.
fn chain(nodes: usize) -> Bytes {
    let mut bytes = vec![0; 8];
    for _ in 1..nodes {
        bytes.extend((-8_i32).to_le_bytes());
        bytes.extend(1_u32.to_le_bytes());
    }
    aligned(&bytes)
}

/// A7, P-71
#[test]
fn a_chain_of_any_depth_is_refused_beyond_the_stated_one_and_overflows_no_stack() {
    let read = || {
        for nodes in [1, 2, 10, 31, 32, 33, 64, 65, 1_000, 100_000, 1_000_000] {
            let tree = Archive::<Tree>::validate(chain(nodes));
            assert_eq!(tree.is_ok(), nodes <= 32, "{nodes} nodes");
            if let Ok(tree) = tree {
                round_trip(&tree.deserialize().unwrap());
            }
        }
    };
    std::thread::Builder::new()
        .stack_size(2 << 20)
        .spawn(read)
        .unwrap()
        .join()
        .unwrap();
}
