//! Panics of a peer's making: a type whose deserialiser panics on some bytes costs its call, and leaves nothing behind.

#![cfg(feature = "postcard")]
#![allow(clippy::unwrap_used, reason = "what a helper cannot do fails its test")]

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use rpc_core::encode::encode;
use rpc_core::wire::ByRef;
use rpc_core::{Archive, FrameBuf, Serde};
use serde::{Deserialize, Deserializer, Serialize};

/// Panics when it is deserialised from an odd number.
#[derive(Serialize)]
struct Even(u32);

impl<'de> Deserialize<'de> for Even {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u32::deserialize(deserializer)?;
        assert!(number.is_multiple_of(2), "{number} is odd");
        Ok(Self(number))
    }
}

/// A17
#[test]
fn a_deserialiser_that_panics_leaks_nothing() {
    type Entries = Vec<(String, Vec<u64>, Serde<Even>)>;
    let entry = |number| {
        (
            "a text that lies out of line".to_owned(),
            vec![7; 10],
            Serde::new(Even(number)),
        )
    };
    let entries: Entries = (0..3).map(|number| entry(number * 2)).chain([entry(7)]).collect();
    let mut frame = FrameBuf::new();
    encode(&mut frame, &ByRef(&entries), 1 << 20).unwrap();
    let archive = Archive::<Entries>::validate(Bytes::copy_from_slice(frame.body())).unwrap();

    std::panic::set_hook(Box::new(|_| {}));
    let read = || assert!(catch_unwind(AssertUnwindSafe(|| archive.deserialize().map(|_| ()))).is_err());
    read();
    let counted = allocation_counter::measure(|| (0..10_000).for_each(|_| read()));
    let _ = std::panic::take_hook();
    assert!(counted.count_total > 10_000, "nothing was allocated: {counted:?}");
    assert_eq!(
        (counted.count_current, counted.bytes_current),
        (0, 0),
        "{counted:?}"
    );
}
