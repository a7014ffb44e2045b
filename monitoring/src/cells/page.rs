//! A page of cells, and the list of one thread's pages.
//!
//! Knows neither threads nor what the cells are for.

use std::ptr;

use super::{
    CELLS,
    sync::{AtomicU64, Relaxed},
};

/// The cells of [`CELLS`] slots in a row, of one thread.
///
/// It begins where a line of the cache begins, so that no line holds cells of two threads. A cell is
/// a count, or the bits of a sum; both begin as zero.
#[repr(C, align(64))]
pub(super) struct Page([AtomicU64; CELLS]);

impl Page {
    pub(super) fn new() -> Self {
        Self([const { 0 }; CELLS].map(AtomicU64::new))
    }

    /// The cell of a slot of this page.
    #[inline]
    pub(super) fn cell(&self, slot: usize) -> &AtomicU64 {
        &self.0[slot % CELLS]
    }

    /// Adds to a count. Only the thread that the page belongs to may do so.
    #[inline]
    pub(super) fn add_count(&self, slot: usize, increment: u64) {
        let cell = self.cell(slot);
        cell.store(cell.load(Relaxed).wrapping_add(increment), Relaxed);
    }

    /// Adds to a sum. Only the thread that the page belongs to may do so.
    #[inline]
    pub(super) fn add_sum(&self, slot: usize, increment: f64) {
        let cell = self.cell(slot);
        let sum = f64::from_bits(cell.load(Relaxed)) + increment;
        cell.store(sum.to_bits(), Relaxed);
    }
}

/// The pages of one thread, by number. Pages stay where they are for as long as the directory lives;
/// the list itself moves when it grows.
pub(super) struct Directory(Vec<*const Page>);

// SAFETY: the pages are atomics and belong to the directory alone, which frees them when it is
// dropped, on whichever thread.
unsafe impl Send for Directory {}

impl Directory {
    pub(super) const fn new() -> Self {
        Self(Vec::new())
    }

    /// The list: null where there is no page.
    pub(super) fn pages(&self) -> &[*const Page] {
        &self.0
    }

    /// The page of a slot, if there is one.
    pub(super) fn page(&self, slot: usize) -> Option<&Page> {
        let page = *self.0.get(slot / CELLS)?;
        // SAFETY: a page that is not null was made by `ensure`, and lives as long as the directory.
        unsafe { page.as_ref() }
    }

    /// What a cell holds; zero where there is no page.
    pub(super) fn bits(&self, slot: usize) -> u64 {
        self.page(slot)
            .map_or(0, |page| page.cell(slot).load(Relaxed))
    }

    /// The page of a slot. It is made where there is none, and then the list may have moved.
    pub(super) fn ensure(&mut self, slot: usize) -> &Page {
        let number = slot / CELLS;
        if self.0.len() <= number {
            self.0.resize(number + 1, ptr::null());
        }
        if self.0[number].is_null() {
            self.0[number] = Box::into_raw(Box::new(Page::new()));
        }
        // SAFETY: it is not null any more, and lives as long as the directory.
        unsafe { &*self.0[number] }
    }

    /// Takes over another directory's page where this one has none of that number. Otherwise the
    /// page stays where it is.
    pub(super) fn adopt(&mut self, other: &mut Self, number: usize) {
        if self.0.len() <= number {
            self.0.resize(number + 1, ptr::null());
        }
        if self.0[number].is_null() {
            self.0[number] = std::mem::replace(&mut other.0[number], ptr::null());
        }
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        for page in self.0.iter().filter(|page| !page.is_null()) {
            // SAFETY: made by `Box::into_raw` in `ensure`, and owned by this directory alone.
            drop(unsafe { Box::from_raw(page.cast_mut()) });
        }
    }
}
