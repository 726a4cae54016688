//! Company: whether a thread that moves long bodies also has connections of which somebody waits for small calls.

use std::cell::Cell;

/// Bytes of a read or a write of a long body in company, if its first piece is not longer: at 4 GiB/s 30 µs, for which the small calls of others wait.
pub(crate) const SHARE: usize = 128 << 10;

/// Turns of a thread after which nobody is taken to wait any more. They are those of long bodies mostly, which read one share or write two: at 4 GiB/s
/// some ten milliseconds in all.
const REMEMBERED: u64 = 256;

thread_local! {
    /// Turns of all connections of this thread.
    static TURNS: Cell<u64> = const { Cell::new(REMEMBERED) };
    /// The last of them of a connection that has other things than long bodies under way.
    static SMALL: Cell<u64> = const { Cell::new(0) };
}

/// Takes note of a turn of a connection. Whether it is one of long bodies in company.
#[inline]
pub(crate) fn turn(is_bulk: bool) -> bool {
    let turn = TURNS.get() + 1;
    TURNS.set(turn);
    if !is_bulk {
        SMALL.set(turn);
        return false;
    }
    turn - SMALL.get() <= REMEMBERED
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_bodies_are_in_company_for_a_while_after_a_small_call() {
        assert!(!turn(true), "nobody was there yet");
        assert!(!turn(false));
        for _ in 0..REMEMBERED {
            assert!(turn(true));
        }
        assert!(!turn(true));
        std::thread::spawn(|| assert!(!turn(false))).join().unwrap();
        assert!(!turn(true), "that was another thread's");
    }
}
