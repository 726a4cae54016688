//! Spent: bodies that were handed out, whose memory is used again when nobody else refers to it.
//!
//! The first touch of new memory costs more than reading a body into it, and allocators give memory of more than some 32 MiB back to the kernel at once.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use crate::buffer::ALIGNMENT;

/// Whose memory is used again.
#[derive(Debug, Default)]
pub(crate) enum Spent {
    /// Nobody's.
    #[default]
    Nothing,
    /// That of this inbox: of the last body, and of others as long as it is so many bytes together.
    Own(Bodies, usize),
    /// That of all inboxes of this thread that share theirs.
    Shared,
}

/// Bodies, the oldest in front.
#[derive(Debug, Default)]
pub(crate) struct Bodies(VecDeque<Kept>);

#[derive(Debug)]
struct Kept {
    body: Bytes,
    /// Length of its memory, which may have been that of a longer body.
    memory: usize,
}

impl Kept {
    /// What it counts: its memory, without what a body has around it.
    fn counted(&self) -> usize {
        const AROUND: usize = 64 << 10;
        self.body.len().max(self.memory - self.memory % AROUND)
    }
}

/// Bodies whose memory is shared. Allocators keep shorter ones by themselves, and longer ones would be too much to keep.
const SHARED_LEN: RangeInclusive<usize> = 16 << 20..=64 << 20;
/// How much of it a thread keeps.
const SHARED_MOST: usize = *SHARED_LEN.end();
/// How long they are kept if they are of no use.
const SHARED_FOR: Duration = Duration::from_secs(10);

thread_local! {
    static SHARED: RefCell<Shared> = const { RefCell::new(Shared::new()) };
}

/// What the inboxes of a thread share.
struct Shared {
    bodies: Bodies,
    /// When it was last of use, as far as is known, and whether it was since then.
    used: Option<Instant>,
    is_used: bool,
}

impl Spent {
    /// Takes note of a body that is about to be handed out, in `memory` bytes.
    pub(crate) fn keep(&mut self, body: &Bytes, memory: usize) {
        match self {
            Self::Nothing => {}
            Self::Own(bodies, most) => bodies.keep(body, memory, *most),
            Self::Shared if !SHARED_LEN.contains(&body.len()) => {}
            Self::Shared => with_shared(|shared| {
                shared.is_used = true;
                shared.bodies.keep(body, memory, SHARED_MOST);
            }),
        }
    }

    /// Empty memory of at least `capacity` bytes, if there is some that is not much longer.
    pub(crate) fn take(&mut self, capacity: usize) -> Option<BytesMut> {
        match self {
            Self::Nothing => None,
            Self::Own(bodies, _) => bodies.take(capacity),
            Self::Shared => {
                let mut memory = None;
                with_shared(|shared| {
                    memory = shared.bodies.take(capacity);
                    shared.is_used |= memory.is_some();
                });
                memory
            }
        }
    }

    /// Lets go of what has been of no use for some time. For shared memory; it is `now`.
    #[inline]
    pub(crate) fn rest(&mut self, now: Instant) {
        if let Self::Shared = self {
            with_shared(|shared| shared.rest(now));
        }
    }

    /// Lets go of everything that is not shared.
    pub(crate) fn release(&mut self) {
        if let Self::Own(bodies, _) = self {
            *bodies = Bodies::default();
        }
    }
}

/// At the end of a thread nothing is shared any more.
fn with_shared(act: impl FnOnce(&mut Shared)) {
    let _ = SHARED.try_with(|shared| act(&mut shared.borrow_mut()));
}

impl Shared {
    const fn new() -> Self {
        Self {
            bodies: Bodies(VecDeque::new()),
            used: None,
            is_used: false,
        }
    }

    fn rest(&mut self, now: Instant) {
        if self.bodies.0.is_empty() {
            return;
        }
        if std::mem::take(&mut self.is_used) {
            self.used = Some(now);
        }
        let is_old = |used| now.saturating_duration_since(used) >= SHARED_FOR;
        if self.used.is_none_or(is_old) {
            self.bodies = Bodies::default();
        }
    }
}

impl Bodies {
    /// Keeps the body, and others as long as their memory is up to `most` bytes together.
    fn keep(&mut self, body: &Bytes, memory: usize, most: usize) {
        let body = body.clone();
        self.0.push_back(Kept { body, memory });
        let mut sum = self.memory();
        while self.0.len() > 1 && sum > most {
            sum -= self.0.pop_front().map_or(0, |kept| kept.counted());
        }
    }

    fn take(&mut self, capacity: usize) -> Option<BytesMut> {
        let fits = |kept: &Kept| (capacity..=2 * capacity).contains(&kept.memory) && kept.body.is_unique();
        let index = self.0.iter().position(fits)?;
        let mut memory = self.0.remove(index)?.body.try_into_mut().ok()?;
        memory.clear();
        let is_usable = memory.capacity() >= capacity && memory.as_ptr().addr().is_multiple_of(ALIGNMENT);
        is_usable.then_some(memory)
    }

    /// How many bytes of memory they are in together.
    pub(crate) fn memory(&self) -> usize {
        self.0.iter().map(Kept::counted).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    /// Keeps a body that is alone in memory of so many bytes, and a few more.
    fn kept_body(len: usize, memory: usize) -> Bytes {
        let mut memory = crate::buffer::aligned_memory(memory + 64);
        memory.resize(len, 1);
        let capacity = memory.capacity();
        let body = memory.freeze();
        Spent::Shared.keep(&body, capacity);
        body
    }

    #[expect(clippy::disallowed_methods, reason = "what is shared is a thread's")]
    fn on_a_thread(act: impl FnOnce() + Send + 'static) {
        std::thread::spawn(act).join().unwrap();
    }

    /// Hands out bodies of these lengths, which are dropped at once.
    fn hand_out(lengths: &[usize]) {
        for len in lengths {
            kept_body(*len, *len);
        }
    }

    /// In MiB.
    fn kept() -> usize {
        SHARED.with_borrow(|shared| shared.bodies.memory()) / MIB
    }

    #[test]
    fn of_long_bodies_a_thread_keeps_up_to_64_mib() {
        on_a_thread(|| {
            hand_out(&[4 * MIB, 16 * MIB - 1, 64 * MIB + 1]);
            assert_eq!(kept(), 0);
            hand_out(&[16 * MIB, 20 * MIB, 30 * MIB]);
            assert_eq!(kept(), 50, "the oldest has gone");
            hand_out(&[64 * MIB]);
            assert_eq!(kept(), 64);
        });
    }

    #[test]
    fn memory_counts_and_not_what_was_in_it_last() {
        on_a_thread(|| {
            kept_body(20 * MIB, 40 * MIB);
            kept_body(20 * MIB, 40 * MIB);
            assert_eq!(kept(), 40);
            assert!(Spent::Shared.take(19 * MIB).is_none(), "it is much longer");
            assert!(Spent::Shared.take(40 * MIB).is_some());
        });
    }

    #[test]
    fn memory_is_used_again_on_the_same_thread_once_nobody_has_it() {
        on_a_thread(|| {
            let held = kept_body(20 * MIB, 20 * MIB);
            let place = held.as_ptr();
            assert!(Spent::Shared.take(20 * MIB).is_none(), "it is still held");
            drop(held);
            on_a_thread(|| assert!(Spent::Shared.take(20 * MIB).is_none()));
            assert!(Spent::Shared.take(21 * MIB).is_none(), "it is too short");
            assert!(Spent::Shared.take(9 * MIB).is_none(), "it is much longer");
            let memory = Spent::Shared.take(19 * MIB).unwrap();
            assert_eq!((memory.as_ptr(), memory.len()), (place, 0));
            assert!(Spent::Shared.take(19 * MIB).is_none(), "there was one");
        });
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "there is no other way to an instant")]
    fn what_is_of_no_use_for_ten_seconds_goes() {
        on_a_thread(|| {
            let start = Instant::now();
            let rest_after = |seconds| Spent::Shared.rest(start + Duration::from_secs(seconds));
            hand_out(&[20 * MIB]);
            rest_after(100);
            rest_after(109);
            assert_eq!(kept(), 20);
            assert!(Spent::Shared.take(20 * MIB).is_some());
            hand_out(&[20 * MIB]);
            rest_after(115);
            rest_after(124);
            assert_eq!(kept(), 20);
            rest_after(125);
            assert_eq!(kept(), 0);
        });
    }
}
