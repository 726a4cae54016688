//! Attachments: a message with long `Bytes` is the archive it would be with copies, and is read without copies.

#![allow(clippy::unwrap_used, reason = "what a helper cannot do fails its test")]

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use rpc_core::archive::{SHARE_LEN, access};
use rpc_core::encode::encode;
use rpc_core::wire::{ATTACH_LEN, ByRef};
use rpc_core::{Archive, FrameBuf, Wire, message};

/// The same message twice: with what is attached and shared, and with what never is.
macro_rules! blob {
    ($name:ident, $bytes:ty) => {
        #[message]
        #[derive(Clone, Debug, PartialEq)]
        struct $name {
            number: u64,
            first: $bytes,
            maybe: Option<$bytes>,
            many: Vec<(u8, $bytes)>,
            result: Result<$bytes, String>,
            last: u128,
        }

        impl $name {
            fn new(parts: &[Vec<u8>]) -> Self {
                let part = |index: usize| parts.get(index).map(|part| <$bytes>::from(part.clone()));
                Self {
                    number: 7,
                    first: part(0).unwrap_or_default(),
                    maybe: part(1),
                    many: (3..).map_while(|index| Some((9, part(index)?))).collect(),
                    result: part(2).ok_or_else(|| "a text that is not inline".to_owned()),
                    last: u128::MAX,
                }
            }
        }
    };
}

blob!(Attached, Bytes);
blob!(Copied, Vec<u8>);

impl Attached {
    fn into_parts(self) -> impl Iterator<Item = Bytes> {
        let few = std::iter::once(self.first).chain(self.maybe).chain(self.result);
        few.chain(self.many.into_iter().map(|(_, part)| part))
    }
}

/// The body of a frame as memory that is shared.
struct Body(FrameBuf);

impl AsRef<[u8]> for Body {
    fn as_ref(&self) -> &[u8] {
        self.0.body()
    }
}

fn frame<T: Wire>(prelude: usize, value: &T) -> FrameBuf {
    let mut frame = FrameBuf::new();
    frame.extend(&vec![0xaa; prelude]);
    encode(&mut frame, &ByRef(value), 1 << 24).unwrap();
    frame
}

fn any_part() -> impl Strategy<Value = Vec<u8>> {
    let len = prop_oneof![
        0..40_usize,
        SHARE_LEN - 2..SHARE_LEN + 2,
        ATTACH_LEN - 2..ATTACH_LEN + 20,
        Just(3 * ATTACH_LEN + 1),
    ];
    (len, any::<u8>()).prop_map(|(len, byte)| vec![byte; len])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn attached_bytes_make_the_archive_that_copied_ones_make(
        parts in vec(any_part(), 1..7),
        prelude in prop_oneof![Just(0_usize), Just(16), 0..40_usize],
    ) {
        let value = Attached::new(&parts);
        let copied = frame(prelude, &Copied::new(&parts));
        let mut attached = frame(prelude, &value);
        let long = parts.iter().filter(|part| part.len() >= ATTACH_LEN).count();
        prop_assert_eq!(attached.segments().count() > 1, long > 0);
        prop_assert!(long == 0 || attached.capacity() < 2 * (copied.body_len() - long * ATTACH_LEN) + 320);
        prop_assert_eq!(attached.body_len(), copied.body_len());
        prop_assert!(attached.segments().flatten().eq(copied.body()));
        attached.flatten();
        prop_assert!(attached.body() == copied.body());

        // As it arrives: in memory that holds other frames too.
        let start = prelude.next_multiple_of(16);
        let body = Bytes::from_owner(Body(attached)).slice(start..);
        prop_assert!(access::<Attached>(&body).is_ok());
        let archive = Archive::<Attached>::validate(body.clone()).unwrap();
        let read = archive.deserialize().unwrap();
        prop_assert!(read == value);
        let range = body.as_ptr_range();
        for part in read.into_parts() {
            let shared = range.contains(&part.as_ptr()) && !part.is_empty();
            prop_assert_eq!(shared, part.len() >= SHARE_LEN, "{} bytes", part.len());
        }
    }
}
