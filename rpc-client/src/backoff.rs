//! Backoff: how long a channel does not dial after attempts that failed.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

/// Pauses between failed attempts: up to 50 ms, doubled with each failure in a row up to 2 s, each shortened by chance by up to a half, so that
/// clients which lost the same server do not come back at the same moment.
#[derive(Debug)]
pub(crate) struct Backoff {
    step: Duration,
    random: XorShift,
}

impl Backoff {
    /// The longest first pause.
    pub(crate) const FIRST: Duration = Duration::from_millis(50);
    /// The longest pause.
    pub(crate) const LONGEST: Duration = Duration::from_secs(2);

    #[cfg(test)]
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            step: Self::FIRST,
            random: XorShift::new(seed),
        }
    }

    /// A back-off whose chances differ from those of every other one.
    pub(crate) fn seeded_by_chance() -> Self {
        Self {
            step: Self::FIRST,
            random: XorShift::seeded_by_chance(),
        }
    }

    /// How long to pause after a failure. The next pause is longer.
    pub(crate) fn pause(&mut self) -> Duration {
        let step = self.step;
        self.step = (step * 2).min(Self::LONGEST);
        step - (step / 2).mul_f64(self.random.fraction())
    }

    /// Begins anew, after a success.
    pub(crate) fn reset(&mut self) {
        self.step = Self::FIRST;
    }
}

/// Marsaglia's 64-bit xorshift: enough to spread clients, no more.
#[derive(Debug)]
pub(crate) struct XorShift(u64);

impl XorShift {
    /// Zero is the one state that it never leaves.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.max(1))
    }

    /// One whose numbers differ from those of every other one.
    pub(crate) fn seeded_by_chance() -> Self {
        // The standard library seeds its hash tables from the operating system.
        Self::new(RandomState::new().build_hasher().finish())
    }

    /// At least 0, below 1.
    pub(crate) fn fraction(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let [.., a, b, c, d] = self.0.to_be_bytes();
        f64::from(u32::from_be_bytes([a, b, c, d])) / (f64::from(u32::MAX) + 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_two_seconds_and_lose_at_most_a_half() {
        for seed in [0, 1, 7, u64::MAX] {
            let mut backoff = Backoff::new(seed);
            for millis in [50, 100, 200, 400, 800, 1600, 2000, 2000, 2000] {
                let (pause, step) = (backoff.pause(), Duration::from_millis(millis));
                assert!(
                    step / 2 < pause && pause <= step,
                    "{pause:?} of {step:?}, seed {seed}"
                );
            }
        }
    }

    #[test]
    fn begins_anew_after_a_success() {
        let mut backoff = Backoff::new(3);
        for _ in 0..5 {
            backoff.pause();
        }
        backoff.reset();
        assert!(backoff.pause() <= Backoff::FIRST);
    }

    #[test]
    fn two_clients_come_back_at_different_times() {
        let mut pauses = [1, 2].map(Backoff::new).map(|mut backoff| {
            // The first numbers of a small seed are small.
            (0..20).map(|_| backoff.pause()).last()
        });
        pauses.sort();
        assert_ne!(pauses[0], pauses[1]);
    }
}
