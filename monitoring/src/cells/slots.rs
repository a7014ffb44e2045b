//! Which slots are taken, and which of them hold sums instead of counts.
//!
//! Knows no thread: it hands out numbers, and takes them back.

use std::collections::BTreeMap;

use super::CELLS;

/// What hands out slots. Those of one metric lie in one page.
pub(super) struct Slots {
    /// The first slot that was never handed out.
    next: usize,
    /// First slots of ranges that were given back, by their length.
    free: BTreeMap<usize, Vec<u32>>,
    /// For each page, a bit for each slot that holds a sum.
    sums: Vec<u128>,
}

impl Slots {
    pub(super) const fn new() -> Self {
        Self {
            next: 0,
            free: BTreeMap::new(),
            sums: Vec::new(),
        }
    }

    /// The first of `length` slots in a row, of which the last one holds a sum if `has_sum`.
    ///
    /// A range that was given back goes to one of the same length only, so that programs that make
    /// and remove metrics of the same kinds do not use up slots.
    pub(super) fn allocate(&mut self, length: usize, has_sum: bool) -> u32 {
        assert!((1..=CELLS).contains(&length), "a metric fits into a page");
        let first = match self.free.get_mut(&length).and_then(Vec::pop) {
            Some(first) => first as usize,
            None => self.fresh(length),
        };
        for slot in first..first + length {
            self.mark(slot, has_sum && slot + 1 == first + length);
        }
        u32::try_from(first).expect("2^32 cells would be 32 GiB for each thread")
    }

    /// Takes a range back.
    pub(super) fn release(&mut self, first: u32, length: usize) {
        self.free.entry(length).or_default().push(first);
    }

    /// Whether the slot holds the bits of a sum.
    pub(super) fn is_sum(&self, slot: usize) -> bool {
        self.sums[slot / CELLS] & bit(slot) != 0
    }

    fn fresh(&mut self, length: usize) -> usize {
        let left = CELLS - self.next % CELLS;
        if left < length {
            // What is left of the page serves metrics of one cell.
            let rest = self.next..self.next + left;
            let rest = rest.filter_map(|slot| u32::try_from(slot).ok());
            self.free.entry(1).or_default().extend(rest);
            self.next += left;
        }
        let first = self.next;
        self.next += length;
        self.sums.resize(self.next.div_ceil(CELLS), 0);
        first
    }

    fn mark(&mut self, slot: usize, is_sum: bool) {
        let page = &mut self.sums[slot / CELLS];
        if is_sum {
            *page |= bit(slot);
        } else {
            *page &= !bit(slot);
        }
    }
}

/// The slot's bit in its page's word, which has one for each of up to 128 cells.
fn bit(slot: usize) -> u128 {
    const { assert!(CELLS <= 128) };
    1 << (slot % CELLS)
}
