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
    /// That of this inbox: of the last body, and of others as long as they have so many bytes together.
    Own(Bodies, usize),
    /// That of all inboxes of this thread that share theirs.
    Shared,
}

/// Bodies, the oldest in front.
#[derive(Debug, Default)]
pub(crate) struct Bodies(VecDeque<Bytes>);

/// Bodies whose memory is shared. Allocators keep shorter ones by themselves, and longer ones would be too much to keep.
const SHARED_LEN: RangeInclusive<usize> = 16 << 20..=64 << 20;
/// How many bytes of them a thread keeps together.
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
    /// Takes note of a body that is about to be handed out.
    pub(crate) fn keep(&mut self, body: &Bytes) {
        match self {
            Self::Nothing => {}
            Self::Own(bodies, most) => bodies.keep(body, *most),
            Self::Shared if !SHARED_LEN.contains(&body.len()) => {}
            Self::Shared => with_shared(|shared| {
                shared.is_used = true;
                shared.bodies.keep(body, SHARED_MOST);
            }),
        }
    }

    /// Empty memory of at least `capacity` bytes for a body of `len`, if there is some that is not much longer.
    pub(crate) fn take(&mut self, len: usize, capacity: usize) -> Option<BytesMut> {
        match self {
            Self::Nothing => None,
            Self::Own(bodies, _) => bodies.take(len, capacity),
            Self::Shared => {
                let mut memory = None;
                with_shared(|shared| {
                    memory = shared.bodies.take(len, capacity);
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
    /// Keeps the body, and others as long as they have up to `most` bytes together.
    fn keep(&mut self, body: &Bytes, most: usize) {
        self.0.push_back(body.clone());
        let mut len = self.len();
        while self.0.len() > 1 && len > most {
            len -= self.0.pop_front().map_or(0, |body| body.len());
        }
    }

    fn take(&mut self, len: usize, capacity: usize) -> Option<BytesMut> {
        let fits = |body: &Bytes| (len..=2 * capacity).contains(&body.len()) && body.is_unique();
        let index = self.0.iter().position(fits)?;
        let mut memory = self.0.remove(index)?.try_into_mut().ok()?;
        memory.clear();
        let is_usable = memory.capacity() >= capacity && memory.as_ptr().addr().is_multiple_of(ALIGNMENT);
        is_usable.then_some(memory)
    }

    /// How many bytes they have together.
    pub(crate) fn len(&self) -> usize {
        self.0.iter().map(Bytes::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    /// A body of its own memory, which has room for a little more.
    fn body(len: usize) -> Bytes {
        let mut memory = crate::buffer::aligned_memory(len + 64);
        memory.resize(len, 1);
        memory.freeze()
    }

    #[expect(clippy::disallowed_methods, reason = "what is shared is a thread's")]
    fn on_a_thread(act: impl FnOnce() + Send + 'static) {
        std::thread::spawn(act).join().unwrap();
    }

    /// Hands out bodies of these lengths, which are dropped at once.
    fn hand_out(lengths: &[usize]) {
        for len in lengths {
            Spent::Shared.keep(&body(*len));
        }
    }

    fn kept() -> usize {
        SHARED.with_borrow(|shared| shared.bodies.len())
    }

    #[test]
    fn of_long_bodies_a_thread_keeps_up_to_64_mib() {
        on_a_thread(|| {
            hand_out(&[4 * MIB, 16 * MIB - 1, 64 * MIB + 1]);
            assert_eq!(kept(), 0);
            hand_out(&[16 * MIB, 20 * MIB, 30 * MIB]);
            assert_eq!(kept(), 50 * MIB, "the oldest has gone");
            hand_out(&[64 * MIB]);
            assert_eq!(kept(), 64 * MIB);
        });
    }

    #[test]
    fn memory_is_used_again_on_the_same_thread_once_nobody_has_it() {
        on_a_thread(|| {
            let held = body(20 * MIB);
            let place = held.as_ptr();
            Spent::Shared.keep(&held);
            assert!(
                Spent::Shared.take(20 * MIB, 20 * MIB).is_none(),
                "it is still held"
            );
            drop(held);
            on_a_thread(|| assert!(Spent::Shared.take(20 * MIB, 20 * MIB).is_none()));
            assert!(
                Spent::Shared.take(21 * MIB, 21 * MIB).is_none(),
                "it is too short"
            );
            assert!(
                Spent::Shared.take(9 * MIB, 9 * MIB).is_none(),
                "it is much longer"
            );
            let memory = Spent::Shared.take(19 * MIB, 19 * MIB + 31).unwrap();
            assert_eq!((memory.as_ptr(), memory.len()), (place, 0));
            assert!(Spent::Shared.take(19 * MIB, 19 * MIB).is_none(), "there was one");
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
            assert_eq!(kept(), 20 * MIB);
            assert!(Spent::Shared.take(20 * MIB, 20 * MIB).is_some());
            hand_out(&[20 * MIB]);
            rest_after(115);
            rest_after(124);
            assert_eq!(kept(), 20 * MIB);
            rest_after(125);
            assert_eq!(kept(), 0);
        });
    }
}
