//! Rarity: whether short frames are rare among the long ones of one direction.

/// From which length of its body on a frame counts as long, as chunks do.
pub(crate) const LONG_LEN: usize = 16 << 10;
/// After how many bytes of long frames without a short one between them short ones are taken to be rare: what the kernel holds may then be more.
pub(crate) const BULK_LEN: u64 = 16 << 20;
/// After so many they are rare whatever was before.
const RARE: u64 = 1 << 30;

/// What has passed in one direction since the last short frame, and how much makes short frames rare.
///
/// A short frame that comes while a body is under way has to wait behind all that the kernel holds. One that was taken to be rare and does so makes the next time four times as
/// long in coming: calls that are made every 20 ms beside a body of a GiB wait so once or twice, and not each time.
#[derive(Debug)]
pub(crate) struct Rarity {
    long: u64,
    enough: u64,
}

impl Default for Rarity {
    fn default() -> Self {
        Self {
            long: 0,
            enough: BULK_LEN,
        }
    }
}

impl Rarity {
    /// Bytes of a chunk, or of another long frame.
    #[inline]
    pub(crate) fn long(&mut self, len: u64) {
        self.long += len;
    }

    /// A frame with a body of that length that is no chunk. Whether a body in chunks is under way.
    #[inline]
    pub(crate) fn frame(&mut self, len: usize, is_beside_body: bool) {
        if len >= LONG_LEN {
            self.long(len as u64);
        } else {
            self.short(is_beside_body);
        }
    }

    /// A short frame. Whether a body in chunks is under way.
    #[inline]
    pub(crate) fn short(&mut self, is_beside_body: bool) {
        if self.is_rare() && is_beside_body {
            self.enough = if self.long < RARE {
                self.enough * 4
            } else {
                BULK_LEN
            };
        }
        self.long = 0;
    }

    /// Whether nothing but long frames has passed for so long that short ones are rare.
    #[inline]
    pub(crate) fn is_rare(&self) -> bool {
        self.long >= self.enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether short frames are rare after so many bytes of long ones.
    fn after(rarity: &mut Rarity, len: u64) -> bool {
        rarity.long(len);
        rarity.is_rare()
    }

    #[test]
    fn short_frames_that_come_again_and_again_beside_a_body_are_not_rare() {
        let mut rarity = Rarity::default();
        assert!(!after(&mut rarity, BULK_LEN - 1));
        assert!(after(&mut rarity, 1));
        for enough in [4, 16, 64] {
            rarity.short(true);
            assert!(!after(&mut rarity, enough * BULK_LEN - 1), "{enough}");
            assert!(after(&mut rarity, 1), "{enough}");
        }
    }

    #[test]
    fn after_a_gibibyte_without_any_it_is_as_in_the_beginning() {
        let mut rarity = Rarity::default();
        assert!(after(&mut rarity, BULK_LEN));
        rarity.short(true);
        assert!(!after(&mut rarity, BULK_LEN));
        assert!(after(&mut rarity, RARE));
        rarity.short(true);
        assert!(after(&mut rarity, BULK_LEN));
    }

    #[test]
    fn short_frames_between_bodies_wait_for_nothing_and_change_nothing() {
        let mut rarity = Rarity::default();
        for _ in 0..5 {
            assert!(after(&mut rarity, BULK_LEN));
            rarity.frame(LONG_LEN, false);
            assert!(rarity.is_rare());
            rarity.frame(LONG_LEN - 1, false);
            assert!(!rarity.is_rare());
        }
    }
}
