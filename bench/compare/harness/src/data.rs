//! What travels, and how an answer is checked: the same for every peer.

use std::sync::LazyLock;

use crate::{BLOCK, Failure, Result};

/// What is echoed.
pub type Block = [u8; BLOCK];

/// Bytes between two places that the reader of a large body looks at.
pub const PAGE: usize = 4_096;

/// How many records a list has.
pub const RECORDS: u64 = 1_000;

/// The block of a lane's call: different for every call of a run.
pub fn block(lane: u64, call: u64) -> Block {
    let mut block = [0; BLOCK];
    let seed = (lane << 40) ^ call;
    for (place, word) in (1_u64..).zip(block.chunks_exact_mut(8)) {
        word.copy_from_slice(
            &seed
                .wrapping_mul(0x9E37_79B9_7F4A_7C15)
                .wrapping_add(place)
                .to_le_bytes(),
        );
    }
    block
}

/// Says that an answer is not what it should be.
pub fn wrong(what: &str) -> Failure {
    format!("a wrong answer: {what}").into()
}

/// What the client makes of a list: that it was read at all, and read right.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ListSums {
    /// Sum of the scores.
    pub scores: f64,
    /// Sum of the lengths of the names.
    pub name_bytes: u64,
}

impl ListSums {
    /// Adds a record.
    pub fn add(&mut self, score: f64, name_len: usize) {
        self.scores += score;
        self.name_bytes += name_len as u64;
    }

    /// Compares with what [`records`] amount to. Scores are multiples of 1/8, so their sum is exact in any order.
    ///
    /// # Errors
    ///
    /// They differ.
    pub fn check(self) -> Result<()> {
        /// Worked out once: thousands of lanes would take longer over it than over their calls.
        static EXPECTED: LazyLock<ListSums> = LazyLock::new(|| {
            let mut sums = ListSums::default();
            for record in records() {
                sums.add(record.score, record.name.len());
            }
            sums
        });
        if self == *EXPECTED {
            return Ok(());
        }
        Err(wrong("the sums of the list"))
    }
}

/// A record, from which each peer makes its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Its number.
    pub id: u64,
    /// Sixteen bytes.
    pub name: String,
    /// Three of them.
    pub tags: Vec<String>,
    /// A multiple of 1/8.
    pub score: f64,
}

/// The list of W4.
pub fn records() -> impl Iterator<Item = Record> {
    (0..RECORDS).map(|id| Record {
        id,
        name: format!("record no. {id:05}"),
        tags: (0..3).map(|tag| format!("tag {}", (id + tag) % 17)).collect(),
        score: (id % 1_000) as f64 / 8.0,
    })
}

/// The byte at the beginning of a page of a large body.
fn page_byte(page: u64) -> u8 {
    (page.wrapping_mul(31).wrapping_add(7) % 251) as u8
}

/// The body of W5.
pub fn blob(len: u64) -> Vec<u8> {
    (0..len).map(|offset| page_byte(offset / PAGE as u64)).collect()
}

/// Looks at one byte of every page of a body that comes in pieces or as a whole.
#[derive(Clone, Copy, Debug, Default)]
pub struct PageWalk {
    len: u64,
    differing: u64,
}

impl PageWalk {
    /// Walks over the next piece.
    pub fn add(&mut self, piece: &[u8]) {
        let first = self.len.next_multiple_of(PAGE as u64);
        let skipped = usize::try_from(first - self.len).unwrap_or(usize::MAX);
        let pages = piece.get(skipped..).unwrap_or_default().iter().step_by(PAGE);
        for (page, byte) in (first / PAGE as u64..).zip(pages) {
            self.differing += u64::from(*byte != page_byte(page));
        }
        self.len += piece.len() as u64;
    }

    /// The length of the body, if every byte that was looked at is right.
    ///
    /// # Errors
    ///
    /// One is not.
    pub fn finish(self) -> Result<u64> {
        match self.differing {
            0 => Ok(self.len),
            pages => Err(wrong(&format!("{pages} pages of {} bytes", self.len))),
        }
    }
}

/// An item of W6: its number, and a pattern.
pub fn item(number: u64) -> Block {
    let mut item = [0x5A; BLOCK];
    item[..8].copy_from_slice(&number.to_le_bytes());
    item
}

/// Checks the items of a stream as they come.
#[derive(Clone, Copy, Debug, Default)]
pub struct ItemWalk {
    count: u64,
    differing: u64,
}

impl ItemWalk {
    /// Looks at the next item: its length, its number, its last byte.
    pub fn add(&mut self, item: &[u8]) {
        let number = item.first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
        let is_right = item.len() == BLOCK && number == Some(self.count) && item.last() == Some(&0x5A);
        self.differing += u64::from(!is_right);
        self.count += 1;
    }

    /// How many there were, if all were right and in order.
    ///
    /// # Errors
    ///
    /// One was not.
    pub fn finish(self) -> Result<u64> {
        match self.differing {
            0 => Ok(self.count),
            items => Err(wrong(&format!("{items} of {} items", self.count))),
        }
    }
}
