//! Frame pool: memory for outgoing frames that is used again, per thread.
//!
//! A call is made and its frame given back on the thread that polls it, as a rule the same one, so a list per thread needs no lock.

use std::cell::RefCell;

use rpc_core::FrameBuf;

/// An empty frame, with memory if there is some to be used again.
pub(crate) fn take() -> FrameBuf {
    // During the end of a thread there is no pool.
    POOL.try_with(|pool| pool.borrow_mut().take()).unwrap_or_default()
}

/// Gives a frame back whose body was `used` bytes long.
pub(crate) fn give(frame: FrameBuf, used: usize) {
    // Without a pool the frame is dropped with the closure.
    let _ = POOL.try_with(|pool| pool.borrow_mut().give(frame, used));
}

thread_local! {
    static POOL: RefCell<Pool> = const { RefCell::new(Pool::new()) };
}

/// Frames that are kept per thread, whatever their length.
const KEEP: usize = 4;
/// Memory up to which more are kept, in bytes: small calls keep their frames until they are answered, and many may be in flight.
const KEEP_LEN: usize = 1 << 20;
/// Memory up to which a frame is kept without asking what for.
const LARGE: usize = 64 << 10;
/// Small bodies in a row after which a large frame is dropped: a thread that has sent one large call does not hold its memory forever.
const WASTES: u32 = 64;

struct Pool {
    frames: Vec<FrameBuf>,
    /// Their memory together.
    kept: usize,
    /// How often in a row a large frame has come back from a small body.
    wasted: u32,
}

impl Pool {
    const fn new() -> Self {
        Self {
            frames: Vec::new(),
            kept: 0,
            wasted: 0,
        }
    }

    fn take(&mut self) -> FrameBuf {
        let frame = self.frames.pop().unwrap_or_default();
        // A new one is not counted.
        self.kept = self.kept.saturating_sub(frame.capacity());
        frame
    }

    fn give(&mut self, mut frame: FrameBuf, used: usize) {
        if used >= LARGE {
            self.wasted = 0;
        } else if frame.capacity() > LARGE {
            self.wasted += 1;
            if self.wasted >= WASTES {
                self.wasted = 0;
                return;
            }
        }
        if self.frames.len() < KEEP || self.kept + frame.capacity() <= KEEP_LEN {
            frame.clear();
            self.kept += frame.capacity();
            self.frames.push(frame);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(len: usize) -> FrameBuf {
        let mut frame = FrameBuf::new();
        frame.extend(&vec![1; len]);
        frame
    }

    #[test]
    fn memory_comes_back_empty() {
        let mut pool = Pool::new();
        pool.give(frame(1000), 1000);
        let again = pool.take();
        assert_eq!(again.body_len(), 0);
        assert!(again.capacity() >= 1000);
        assert!(pool.take().capacity() < 1000);
    }

    #[test]
    fn keeps_a_few_large_ones_and_many_small_ones() {
        let mut pool = Pool::new();
        for _ in 0..2 * KEEP {
            pool.give(frame(KEEP_LEN), KEEP_LEN);
        }
        assert_eq!(pool.frames.len(), KEEP);
        let mut pool = Pool::new();
        for _ in 0..1_000 {
            pool.give(frame(64), 64);
        }
        assert_eq!(pool.frames.len(), 1_000);
        for _ in 0..100_000 {
            pool.give(frame(64), 64);
        }
        assert!(pool.kept <= KEEP_LEN && pool.frames.len() < 20_000);
        while !pool.frames.is_empty() {
            pool.take();
        }
        assert_eq!(pool.kept, 0);
    }

    #[test]
    fn a_large_frame_goes_when_only_small_calls_use_it() {
        let mut pool = Pool::new();
        pool.give(frame(2 * LARGE), 2 * LARGE);
        for _ in 0..WASTES {
            let frame = pool.take();
            assert!(frame.capacity() > LARGE);
            pool.give(frame, 10);
        }
        assert!(pool.take().capacity() < LARGE);
    }

    #[test]
    fn a_large_frame_stays_while_large_calls_use_it() {
        let mut pool = Pool::new();
        pool.give(frame(2 * LARGE), 2 * LARGE);
        for round in 0..10 * WASTES {
            let frame = pool.take();
            assert!(frame.capacity() > LARGE, "{round}");
            pool.give(frame, if round % 8 == 0 { LARGE } else { 10 });
        }
    }
}
