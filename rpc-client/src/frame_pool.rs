//! Frame pool: memory for outgoing frames that is used again, per thread.
//!
//! A call is made, started and its frame given back on the thread that polls it, so a list per thread needs no lock.

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
    static POOL: RefCell<Pool> = const { RefCell::new(Pool { frames: Vec::new(), wasted: 0 }) };
}

/// Frames that are kept per thread.
const KEEP: usize = 4;
/// Memory up to which a frame is kept without asking what for.
const LARGE: usize = 64 << 10;
/// Small bodies in a row after which a large frame is dropped: a thread that has sent one large call does not hold its memory forever.
const WASTES: u32 = 64;

struct Pool {
    frames: Vec<FrameBuf>,
    /// How often in a row a large frame has come back from a small body.
    wasted: u32,
}

impl Pool {
    fn take(&mut self) -> FrameBuf {
        self.frames.pop().unwrap_or_default()
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
        if self.frames.len() < KEEP {
            frame.clear();
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
        let mut pool = Pool {
            frames: Vec::new(),
            wasted: 0,
        };
        pool.give(frame(1000), 1000);
        let again = pool.take();
        assert_eq!(again.body_len(), 0);
        assert!(again.capacity() >= 1000);
        assert!(pool.take().capacity() < 1000);
    }

    #[test]
    fn keeps_a_few() {
        let mut pool = Pool {
            frames: Vec::new(),
            wasted: 0,
        };
        for _ in 0..2 * KEEP {
            pool.give(frame(10), 10);
        }
        assert_eq!(pool.frames.len(), KEEP);
    }

    #[test]
    fn a_large_frame_goes_when_only_small_calls_use_it() {
        let mut pool = Pool {
            frames: Vec::new(),
            wasted: 0,
        };
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
        let mut pool = Pool {
            frames: Vec::new(),
            wasted: 0,
        };
        pool.give(frame(2 * LARGE), 2 * LARGE);
        for round in 0..10 * WASTES {
            let frame = pool.take();
            assert!(frame.capacity() > LARGE, "{round}");
            pool.give(frame, if round % 8 == 0 { LARGE } else { 10 });
        }
    }
}
