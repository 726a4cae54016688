//! Panics: those that no test wants, counted for the whole process.

use std::panic;
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};

static UNWANTED: AtomicUsize = AtomicUsize::new(0);

/// How many panics there were, since this was first called, in code that is none of the tests': a runtime catches those of its tasks, and only tells whoever waits for them.
pub(crate) fn unwanted() -> usize {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let is_of_a_test = |location: &panic::Location<'_>| location.file().contains("/tests/");
            if !info.location().is_some_and(is_of_a_test) {
                UNWANTED.fetch_add(1, Ordering::SeqCst);
            }
            before(info);
        }));
    });
    UNWANTED.load(Ordering::SeqCst)
}
