//! Runs: several items in one frame, and how they are told apart (P-55).
//!
//! ```text
//!  archive, zero-padded to 16 │ archive, padded │ … │ length u32 of each, in order │ number u32
//! ```
//!
//! The table is at the end, as the root of an archive is, so that items can be appended before their number is known.

use bytes::{Buf as _, Bytes};

use crate::archive::ArchiveError;
use crate::encode::{EncodeError, encode};
use crate::frame_buf::FrameBuf;
use crate::header::HEADER_LEN;
use crate::wire::{ByRef, Wire};

/// Bytes of a length, and of the number of items.
const WORD: usize = 4;

/// Items on their way into one frame.
#[derive(Debug, Default)]
pub(crate) struct RunBuf {
    pub(crate) frame: FrameBuf,
    lengths: Vec<u32>,
}

impl RunBuf {
    /// Appends an item, if the whole body then is not longer than `max_body`; else the run is as it was.
    pub(crate) fn append<T: Wire>(&mut self, item: &T, max_body: usize) -> Result<(), EncodeError> {
        let before = self.frame.body_len();
        self.frame.pad();
        let start = self.frame.body_len();
        // The table comes behind it, except behind a single item.
        let table = if self.is_empty() {
            0
        } else {
            WORD * (self.lengths.len() + 2) + HEADER_LEN
        };
        // Without room for the table there is none for an item without bytes either.
        let encoded = match max_body.checked_sub(table) {
            Some(room) => encode(&mut self.frame, &ByRef(item), room),
            None => Err(EncodeError::TooLarge { limit: max_body }),
        };
        match encoded {
            Ok(()) => self.added(start),
            Err(_) => self.frame.truncate(before),
        }
        encoded
    }

    fn added(&mut self, start: usize) {
        let len = self.frame.body_len() - start;
        self.lengths.push(u32::try_from(len).unwrap_or(u32::MAX));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lengths.is_empty()
    }

    /// Length of the body that would be sent now.
    pub(crate) fn len(&self) -> usize {
        match self.lengths.len() {
            0 => 0,
            1 => self.frame.body_len(),
            items => self.frame.body_len().next_multiple_of(HEADER_LEN) + WORD * (items + 1),
        }
    }

    /// Completes the body: one item as it is, several with their table. Whether they are several.
    pub(crate) fn finish(&mut self) -> bool {
        if self.lengths.len() < 2 {
            self.lengths.clear();
            return false;
        }
        self.frame.pad();
        let number = u32::try_from(self.lengths.len()).unwrap_or(u32::MAX);
        for word in self.lengths.iter().chain([&number]) {
            self.frame.extend(&word.to_be_bytes());
        }
        self.lengths.clear();
        true
    }

    pub(crate) fn clear(&mut self) {
        self.frame.clear();
        self.lengths.clear();
    }
}

/// The items of one frame that were not read yet.
#[derive(Debug, Default)]
pub(crate) enum Run {
    #[default]
    Empty,
    Single(Bytes),
    Packed {
        body: Bytes,
        /// The lengths of the items that are left; the first of them begins at `start`.
        table: Bytes,
        start: usize,
    },
}

impl Run {
    /// Reads the table of a frame with several items, and checks it once.
    ///
    /// # Errors
    ///
    /// [`ArchiveError::Invalid`] if the table does not describe exactly the bytes before it.
    pub(crate) fn packed(body: Bytes) -> Result<Self, ArchiveError> {
        let invalid = ArchiveError::Invalid;
        let (rest, number) = body.split_last_chunk::<WORD>().ok_or(invalid)?;
        let number = usize::try_from(u32::from_be_bytes(*number)).map_err(|_| invalid)?;
        let table_len = number.checked_mul(WORD).filter(|len| *len > 0).ok_or(invalid)?;
        let items_len = rest.len().checked_sub(table_len).ok_or(invalid)?;
        let table = body.slice(items_len..items_len + table_len);
        let mut end = 0_usize;
        for word in table.chunks_exact(WORD) {
            let len = read_word(word).ok_or(invalid)?;
            let padded = len.checked_next_multiple_of(HEADER_LEN).ok_or(invalid)?;
            let next = end
                .checked_add(padded)
                .filter(|next| *next <= items_len)
                .ok_or(invalid)?;
            let padding = body.get(end + len..next).ok_or(invalid)?;
            if padding.iter().any(|byte| *byte != 0) {
                return Err(invalid);
            }
            end = next;
        }
        if end != items_len {
            return Err(invalid);
        }
        Ok(Self::Packed {
            body,
            table,
            start: 0,
        })
    }

    /// The next item's archive, 16-aligned if the frame's body was. The frame's memory is let go of with the last one.
    pub(crate) fn next(&mut self) -> Option<Bytes> {
        match self {
            Self::Empty => None,
            Self::Single(_) => match std::mem::take(self) {
                Self::Single(item) => Some(item),
                Self::Empty | Self::Packed { .. } => None,
            },
            Self::Packed { body, table, start } => {
                let end = *start + read_word(table)?;
                let item = body.get(*start..end).map(|_| body.slice(*start..end));
                table.advance(WORD);
                *start = end.next_multiple_of(HEADER_LEN);
                if table.is_empty() {
                    *self = Self::Empty;
                }
                item
            }
        }
    }
}

fn read_word(bytes: &[u8]) -> Option<usize> {
    let word = bytes.first_chunk::<WORD>()?;
    usize::try_from(u32::from_be_bytes(*word)).ok()
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn pack(items: &[Vec<u8>]) -> (Vec<u8>, bool) {
        let mut run = RunBuf::default();
        for item in items {
            run.frame.pad();
            let start = run.frame.body_len();
            run.frame.extend(item);
            run.added(start);
        }
        let len = run.len();
        let packed = run.finish();
        assert_eq!(run.frame.body_len(), len);
        (run.frame.body().to_vec(), packed)
    }

    fn unpack(mut run: Run) -> Vec<Vec<u8>> {
        let mut items = Vec::new();
        while let Some(item) = run.next() {
            items.push(item.to_vec());
        }
        items
    }

    proptest! {
        /// P-55
        #[test]
        fn what_is_packed_comes_out_in_order(items in vec(vec(1..=255_u8, 0..70), 2..40)) {
            let (body, packed) = pack(&items);
            prop_assert!(packed);
            prop_assert_eq!(unpack(Run::packed(Bytes::from(body)).unwrap()), items);
        }

        #[test]
        fn any_bytes_are_a_run_or_refused(body in vec(prop_oneof![4 => Just(0_u8), 1 => any::<u8>()], 0..60)) {
            if let Ok(run) = Run::packed(Bytes::from(body.clone())) {
                let items = unpack(run);
                let padded: usize = items.iter().map(|item| item.len().next_multiple_of(16)).sum();
                prop_assert_eq!(padded + 4 * items.len() + 4, body.len());
            }
        }
    }

    fn appended<T: Wire>(item: &T, number: usize, max_body: usize) {
        let mut run = RunBuf::default();
        for _ in 0..number {
            let before = run.len();
            match run.append(item, max_body) {
                Ok(()) => assert!(run.len() <= max_body),
                Err(_) => assert_eq!(run.len(), before),
            }
        }
    }

    proptest! {
        #[test]
        fn no_run_is_longer_than_the_peer_accepts(len in 0..40_usize, number in 1..30_usize, max_body in 0..400_usize) {
            appended(&vec![7_u8; len], number, max_body);
            appended(&(), number, max_body);
        }
    }

    /// P-55
    #[test]
    fn a_table_that_does_not_fit_is_refused() {
        let (good, _) = pack(&[vec![1; 20], vec![2; 3]]);
        assert!(Run::packed(Bytes::from(good.clone())).is_ok());
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x40;
            let items = at < 20 || (32..35).contains(&at);
            assert_eq!(Run::packed(Bytes::from(bad)).is_ok(), items, "byte {at}");
        }
        for len in 0..good.len() {
            assert!(
                Run::packed(Bytes::from(good[..len].to_vec())).is_err(),
                "{len} bytes"
            );
        }
        assert!(Run::packed(Bytes::from_static(&[0; 4])).is_err());
        assert!(Run::packed(Bytes::from_static(&[0xff; 4])).is_err());
    }

    #[test]
    fn one_item_is_sent_as_it_is_even_if_it_is_empty() {
        for item in [vec![], vec![7; 5]] {
            let (body, packed) = pack(std::slice::from_ref(&item));
            assert!(!packed);
            assert_eq!(unpack(Run::Single(Bytes::from(body))), [item]);
        }
    }
}
