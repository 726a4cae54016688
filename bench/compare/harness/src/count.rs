//! Counts allocations of the process, when built with the feature `count`.

/// Allocations and reallocations so far; 0 without the feature.
pub(crate) fn allocations() -> u64 {
    #[cfg(feature = "count")]
    return counting::COUNT.load(std::sync::atomic::Ordering::Relaxed);
    #[cfg(not(feature = "count"))]
    0
}

#[cfg(feature = "count")]
mod counting {
    use std::alloc::{GlobalAlloc, Layout, System};
    use std::sync::atomic::{AtomicU64, Ordering};

    pub(super) static COUNT: AtomicU64 = AtomicU64::new(0);

    #[global_allocator]
    static ALLOCATOR: Counting = Counting;

    /// The system's allocator, with a counter in front.
    struct Counting;

    #[expect(unsafe_code, reason = "this is what an allocator is")]
    // SAFETY: every method hands its arguments to the system's allocator as they are; its callers keep the contract of that one.
    unsafe impl GlobalAlloc for Counting {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            COUNT.fetch_add(1, Ordering::Relaxed);
            // SAFETY: as above.
            unsafe { System.alloc(layout) }
        }

        unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
            COUNT.fetch_add(1, Ordering::Relaxed);
            // SAFETY: as above.
            unsafe { System.alloc_zeroed(layout) }
        }

        unsafe fn realloc(&self, memory: *mut u8, layout: Layout, len: usize) -> *mut u8 {
            COUNT.fetch_add(1, Ordering::Relaxed);
            // SAFETY: as above.
            unsafe { System.realloc(memory, layout, len) }
        }

        unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
            // SAFETY: as above.
            unsafe { System.dealloc(memory, layout) }
        }
    }
}
