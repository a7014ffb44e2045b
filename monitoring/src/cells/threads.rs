//! All threads' cells, and what threads that have ended have counted.
//!
//! One lock guards who takes part: it is taken when a thread writes to a page for the first time,
//! when a thread ends, when numbers are read, and when slots change hands. It is not taken to count.
//! Because a thread's cells become a part of the totals under the lock under which totals are read,
//! a reader finds them either here or there, never in both and never in neither.
//!
//! Knows nothing of thread-local storage, so that models can make threads of their own.

use std::{cell::Cell, ptr, sync::PoisonError};

use super::{
    CELLS,
    page::{Directory, Page},
    slots::Slots,
    sync::{Mutex, MutexGuard, Relaxed},
};

/// A thread's way to its own pages. It belongs to one thread, and is no longer than that thread.
pub(super) struct Owner {
    /// The list of the thread's directory; null pointers where there is no page.
    pages: Cell<*const *const Page>,
    /// The list's length; 0 while the thread has no directory.
    len: Cell<usize>,
    /// The directory's place among all threads' ones, once there is one.
    place: Cell<usize>,
}

impl Owner {
    pub(super) const fn new() -> Self {
        Self {
            pages: Cell::new(ptr::null()),
            len: Cell::new(0),
            place: Cell::new(0),
        }
    }

    /// The page of a slot, if this thread has it.
    #[inline]
    pub(super) fn page(&self, slot: usize) -> Option<&Page> {
        let number = slot / CELLS;
        if number >= self.len.get() {
            return None;
        }
        // SAFETY: the list has `len` entries. It belongs to a directory that only this thread makes
        // longer, in `Threads::admit`, which renews both fields, and that only this thread gives up,
        // in `Threads::retire`, which sets them to nothing. A page lives as long as its directory.
        unsafe { (*self.pages.get().add(number)).as_ref() }
    }
}

/// Every thread that has counted something.
pub(super) struct Threads(pub(super) Mutex<State>);

/// What the lock guards.
pub(super) struct State {
    /// By place; `None` where a thread has ended.
    live: Vec<Option<Directory>>,
    /// What threads that have ended have counted, and those who count while their thread ends.
    retired: Directory,
    slots: Slots,
}

impl State {
    /// No thread, no slots.
    pub(super) const fn new() -> Self {
        Self {
            live: Vec::new(),
            retired: Directory::new(),
            slots: Slots::new(),
        }
    }
}

impl Threads {
    /// Gives the thread the page of a slot.
    pub(super) fn admit<'a>(&self, owner: &'a Owner, slot: usize) -> &'a Page {
        let mut state = self.lock();
        if owner.len.get() == 0 {
            let free = state.live.iter().position(Option::is_none);
            let place = free.unwrap_or(state.live.len());
            if free.is_none() {
                state.live.push(None);
            }
            state.live[place] = Some(Directory::new());
            owner.place.set(place);
        }
        let directory = state.live[owner.place.get()]
            .as_mut()
            .expect("only its own thread takes a directory away");
        directory.ensure(slot);
        owner.pages.set(directory.pages().as_ptr());
        owner.len.set(directory.pages().len());
        owner.page(slot).expect("the page was made above")
    }

    /// Adds a thread's cells to the totals of those that have ended, as its last act. If it counts
    /// once more after that, it is admitted as a new one, or counts by `add_retired_…`.
    pub(super) fn retire(&self, owner: &Owner) {
        let mut guard = self.lock();
        if owner.len.get() == 0 {
            return;
        }
        owner.pages.set(ptr::null());
        owner.len.set(0);
        let State {
            live,
            retired,
            slots,
        } = &mut *guard;
        let mut directory = live[owner.place.get()]
            .take()
            .expect("only its own thread takes a directory away");
        for number in 0..directory.pages().len() {
            retired.adopt(&mut directory, number);
            for slot in number * CELLS..(number + 1) * CELLS {
                // What was adopted is not here any more, and reads as zero.
                let bits = directory.bits(slot);
                if bits != 0 && slots.is_sum(slot) {
                    retired.ensure(slot).add_sum(slot, f64::from_bits(bits));
                } else if bits != 0 {
                    retired.ensure(slot).add_count(slot, bits);
                }
            }
        }
    }

    /// Adds to a count for a thread that has no cells any more.
    pub(super) fn add_retired_count(&self, slot: usize, increment: u64) {
        self.lock().retired.ensure(slot).add_count(slot, increment);
    }

    /// Adds to a sum for a thread that has no cells any more.
    pub(super) fn add_retired_sum(&self, slot: usize, increment: f64) {
        self.lock().retired.ensure(slot).add_sum(slot, increment);
    }

    /// Slots for a new metric, all zero; see [`Slots::allocate`].
    pub(super) fn allocate(&self, length: usize, has_sum: bool) -> u32 {
        self.lock().slots.allocate(length, has_sum)
    }

    /// Takes slots back, which nobody may write to any more: whoever held them has let go of them,
    /// in a way that makes the last writes visible here. The next one finds zeros.
    pub(super) fn release(&self, first: u32, length: usize) {
        let mut guard = self.lock();
        let State {
            live,
            retired,
            slots,
        } = &mut *guard;
        let slot = first as usize;
        for directory in live.iter().flatten().chain([&*retired]) {
            if let Some(page) = directory.page(slot) {
                for slot in slot..slot + length {
                    page.cell(slot).store(0, Relaxed);
                }
            }
        }
        slots.release(first, length);
    }

    /// What all threads together have counted. No thread ends, and none uses a page for the first
    /// time, while this is held.
    pub(super) fn totals(&self) -> Totals<'_> {
        Totals(self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics half-way through a change, unless memory runs out.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What all threads together have counted.
pub(crate) struct Totals<'a>(MutexGuard<'a, State>);

impl Totals<'_> {
    /// The total of a count.
    pub(crate) fn count(&self, slot: u32) -> u64 {
        self.bits(slot).fold(0, u64::wrapping_add)
    }

    /// The total of a sum.
    pub(crate) fn sum(&self, slot: u32) -> f64 {
        self.bits(slot).map(f64::from_bits).sum()
    }

    fn bits(&self, slot: u32) -> impl Iterator<Item = u64> {
        let all = self.0.live.iter().flatten().chain([&self.0.retired]);
        all.map(move |directory| directory.bits(slot as usize))
    }
}
