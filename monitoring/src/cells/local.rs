//! The calling thread's cells, found without a lock, and the process's one list of all threads.
//!
//! Knows nothing of metrics. Not for signal handlers, and not for a global allocator: the first
//! write to a page takes a lock and allocates.

use super::{
    sync::Mutex,
    threads::{self, Owner, State, Threads},
};

/// All threads of the process.
static THREADS: Threads = Threads(Mutex::new(State::new()));

thread_local! {
    // Without a destructor, so that finding it is no more than an addition to the thread's pointer.
    static OWNER: Owner = const { Owner::new() };
    // Touched at a thread's first write to a page, and from then on what notices its end.
    static END: End = const { End };
}

/// Brings the thread's numbers to safety when it ends. Destructors that run after this one find
/// no cells, and add to the totals of ended threads instead.
struct End;

impl Drop for End {
    fn drop(&mut self) {
        OWNER.with(|owner| THREADS.retire(owner));
    }
}

/// What all threads together have counted.
pub(crate) type Totals = threads::Totals<'static>;

/// Stops the clock for those who join or leave, and reads.
pub(crate) fn totals() -> Totals {
    THREADS.totals()
}

/// Slots in a row that belong to one metric, and are free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Range {
    first: u32,
    length: u8,
}

/// Slots for a new metric, of which the last one may hold a sum. Their numbers are zero.
pub(crate) fn allocate(length: u8, has_sum: bool) -> Range {
    Range {
        first: THREADS.allocate(length.into(), has_sum),
        length,
    }
}

impl Range {
    /// The first slot.
    pub(crate) fn first(&self) -> u32 {
        self.first
    }
}

impl Drop for Range {
    fn drop(&mut self) {
        THREADS.release(self.first, self.length.into());
    }
}

/// Adds to the calling thread's count.
#[inline]
pub(crate) fn add_count(slot: u32, increment: u64) {
    let slot = slot as usize;
    OWNER.with(|owner| match owner.page(slot) {
        Some(page) => page.add_count(slot, increment),
        None => first_count(owner, slot, increment),
    });
}

/// Adds to the calling thread's sum.
#[inline]
pub(crate) fn add_sum(slot: u32, increment: f64) {
    let slot = slot as usize;
    OWNER.with(|owner| match owner.page(slot) {
        Some(page) => page.add_sum(slot, increment),
        None => first_sum(owner, slot, increment),
    });
}

/// Adds one to a count, and the value to the sum; both belong to one metric, and so lie in one page.
#[inline]
pub(crate) fn observe(first: u32, bucket: usize, sum: u32, value: f64) {
    let (count, sum) = (first as usize + bucket, sum as usize);
    OWNER.with(|owner| {
        if let Some(page) = owner.page(sum) {
            page.add_count(count, 1);
            page.add_sum(sum, value);
        } else {
            first_count(owner, count, 1);
            first_sum(owner, sum, value);
        }
    });
}

#[cold]
#[inline(never)]
fn first_count(owner: &Owner, slot: usize, increment: u64) {
    if is_alive() {
        THREADS.admit(owner, slot).add_count(slot, increment);
    } else {
        THREADS.add_retired_count(slot, increment);
    }
}

#[cold]
#[inline(never)]
fn first_sum(owner: &Owner, slot: usize, increment: f64) {
    if is_alive() {
        THREADS.admit(owner, slot).add_sum(slot, increment);
    } else {
        THREADS.add_retired_sum(slot, increment);
    }
}

/// Whether this thread's end is still ahead and will be noticed.
fn is_alive() -> bool {
    END.try_with(|_| ()).is_ok()
}
