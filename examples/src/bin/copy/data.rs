//! The file: made up as it is needed, so that it may be longer than memory, and its checksum.

use bytes::{Bytes, BytesMut};

/// FNV-1a over words of 64 bits.
#[derive(Clone, Copy)]
pub struct Checksum(u64);

impl Default for Checksum {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Checksum {
    /// Goes on with bytes whose length is a multiple of 8, unless they are the last.
    pub fn add(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        let rest = rest.iter().map(|byte| u64::from(*byte));
        for word in words.iter().map(|word| u64::from_le_bytes(*word)).chain(rest) {
            self.0 = (self.0 ^ word).wrapping_mul(0x0100_0000_01b3);
        }
    }

    pub fn value(self) -> u64 {
        self.0
    }
}

/// Bytes that nothing but their place decides.
pub struct Contents {
    state: u64,
    left: usize,
}

impl Contents {
    pub fn new(len: usize) -> Self {
        let state = 0x9e37_79b9_7f4a_7c15;
        Self { state, left: len }
    }

    fn block(&mut self, len: usize) -> Bytes {
        let mut block = BytesMut::with_capacity(len.next_multiple_of(8));
        while block.len() < len {
            // xorshift
            self.state ^= self.state << 13;
            self.state ^= self.state >> 7;
            self.state ^= self.state << 17;
            block.extend_from_slice(&self.state.to_le_bytes());
        }
        block.truncate(len);
        self.left -= len;
        block.freeze()
    }

    /// All of them.
    pub fn whole(mut self) -> Bytes {
        self.block(self.left)
    }

    /// One piece after the other.
    pub fn blocks(mut self, len: usize) -> impl Iterator<Item = Bytes> {
        std::iter::from_fn(move || (self.left > 0).then(|| self.block(len.min(self.left))))
    }
}

/// The most memory that this process has had, in KiB.
pub fn peak_memory() -> Result<u64, crate::Failure> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number.ok_or("no VmHWM")?.parse()?)
}
