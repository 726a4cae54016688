//! Mutate: damages an archive where it hurts: pointers, lengths, tags, ends.

use super::input::Input;

/// Changes `bytes` as many times as the first byte says, up to 15; returns whether there was a change to make.
pub(super) fn mutate(bytes: &mut Vec<u8>, input: &mut Input<'_>) -> bool {
    let count = input.byte() % 16;
    for _ in 0..count {
        let (operation, at, number) = (
            input.byte(),
            u16::from(input.byte()) | u16::from(input.byte()) << 8,
            input.byte(),
        );
        // Positions count from the end, where the root is.
        let at = bytes
            .len()
            .saturating_sub(1 + usize::from(at).checked_rem(bytes.len()).unwrap_or_default());
        one(bytes, operation % 8, at, number, input);
    }
    count > 0
}

fn one(bytes: &mut Vec<u8>, operation: u8, at: usize, number: u8, input: &mut Input<'_>) {
    let word = at & !3;
    let old = bytes.get(at).copied().unwrap_or_default();
    match operation {
        0 => overwrite(bytes, at, &[old ^ (1 << (number % 8))]),
        1 => overwrite(bytes, at, &[number]),
        // A word of little value: lengths, and pointers to what is near.
        2 => overwrite(bytes, word, &i32::from(number.cast_signed()).to_le_bytes()),
        3 => overwrite(bytes, word, &input.u32().to_le_bytes()),
        // A pointer or length of elsewhere.
        4 => {
            let from = word.saturating_sub(usize::from(number) * 4);
            let other = bytes
                .get(from..)
                .and_then(|bytes| bytes.first_chunk::<4>())
                .copied()
                .unwrap_or_default();
            overwrite(bytes, word, &other);
        }
        5 => bytes.truncate(bytes.len().saturating_sub(usize::from(number))),
        6 => bytes.extend(std::iter::repeat_n(number, usize::from(number % 32))),
        _ => {
            let len = usize::from(number).min(bytes.len());
            bytes.rotate_left(len);
        }
    }
}

fn overwrite(bytes: &mut [u8], at: usize, new: &[u8]) {
    for (byte, new) in bytes.iter_mut().skip(at).zip(new) {
        *byte = *new;
    }
}
