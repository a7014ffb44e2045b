//! Slots and cells against the simplest thing that could count: one number for each slot.
//!
//! These run in one thread. What several threads do at the same time is for `tests/metrics_model`.

use std::{collections::BTreeSet, sync::Mutex};

use proptest::prelude::*;

use super::{
    CELLS,
    slots::Slots,
    threads::{Owner, State, Threads},
};

/// What a program may do, with numbers that stand for one of what there is.
#[derive(Clone, Debug)]
enum Act {
    Allocate {
        length: usize,
        has_sum: bool,
    },
    Release {
        range: usize,
    },
    Count {
        /// None is a thread that has given up its cells.
        thread: Option<usize>,
        range: usize,
        at: usize,
        increment: u64,
    },
    End {
        thread: usize,
    },
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let number = || 0..1000_usize;
    let length = prop_oneof![Just(1), 2..20_usize, 100..=CELLS];
    let allocate = (length, any::<bool>());
    let count = (prop::option::of(0..4_usize), number(), number(), 1..100_u64);
    let act = prop_oneof![
        2 => allocate.prop_map(|(length, has_sum)| Act::Allocate { length, has_sum }),
        1 => number().prop_map(|range| Act::Release { range }),
        8 => count.prop_map(|(thread, range, at, increment)| Act::Count {
            thread,
            range,
            at,
            increment,
        }),
        1 => (0..4_usize).prop_map(|thread| Act::End { thread }),
    ];
    prop::collection::vec(act, 0..100)
}

/// A metric's slots, and what each of them should come to. Sums are halves, which are exact.
struct Range {
    first: u32,
    has_sum: bool,
    want: Vec<u64>,
}

impl Range {
    fn is_sum(&self, at: usize) -> bool {
        self.has_sum && at + 1 == self.want.len()
    }

    fn count(&mut self, threads: &Threads, owner: Option<&Owner>, at: usize, increment: u64) {
        let at = at % self.want.len();
        self.want[at] += increment;
        let slot = self.first as usize + at;
        let half = increment as f64 / 2.0;
        match owner {
            Some(owner) => {
                let page = owner.page(slot);
                let page = page.unwrap_or_else(|| threads.admit(owner, slot));
                if self.is_sum(at) {
                    page.add_sum(slot, half);
                } else {
                    page.add_count(slot, increment);
                }
            }
            None if self.is_sum(at) => threads.add_retired_sum(slot, half),
            None => threads.add_retired_count(slot, increment),
        }
    }

    fn check(&self, threads: &Threads) {
        let totals = threads.totals();
        for (slot, (at, want)) in (self.first..).zip(self.want.iter().enumerate()) {
            if self.is_sum(at) {
                assert_eq!(totals.sum(slot).to_bits(), (*want as f64 / 2.0).to_bits());
            } else {
                assert_eq!(totals.count(slot), *want);
            }
        }
    }
}

fn check(ranges: &[Range], threads: &Threads) {
    for range in ranges {
        range.check(threads);
    }
}

fn run(acts: Vec<Act>) {
    let threads = Threads(Mutex::new(State::new()));
    let owners = [const { Owner::new() }; 4];
    let mut ranges: Vec<Range> = Vec::new();
    for act in acts {
        match act {
            Act::Allocate { length, has_sum } => {
                let range = Range {
                    first: threads.allocate(length, has_sum),
                    has_sum,
                    want: vec![0; length],
                };
                range.check(&threads);
                ranges.push(range);
            }
            Act::End { thread } => threads.retire(&owners[thread]),
            _ if ranges.is_empty() => {}
            Act::Release { range } => {
                let range = ranges.swap_remove(range % ranges.len());
                threads.release(range.first, range.want.len());
            }
            Act::Count {
                thread,
                range,
                at,
                increment,
            } => {
                let len = ranges.len();
                let owner = thread.map(|thread| &owners[thread]);
                ranges[range % len].count(&threads, owner, at, increment);
            }
        }
    }
    check(&ranges, &threads);
    for owner in &owners {
        threads.retire(owner);
    }
    check(&ranges, &threads);
}

proptest! {
    #[test]
    fn metrics_come_to_what_one_number_each_would(acts in acts()) {
        run(acts);
    }

    #[test]
    fn metrics_share_no_slot_and_lie_in_one_page(
        wanted in prop::collection::vec((1..=CELLS, any::<bool>(), any::<bool>()), 1..100),
    ) {
        let mut slots = Slots::new();
        let mut taken = BTreeSet::new();
        for (length, has_sum, is_kept) in wanted {
            let first = slots.allocate(length, has_sum);
            let range = first as usize..first as usize + length;
            prop_assert_eq!(range.start / CELLS, (range.end - 1) / CELLS);
            for slot in range.clone() {
                prop_assert!(taken.insert(slot), "slot {} is taken", slot);
                prop_assert_eq!(slots.is_sum(slot), has_sum && slot + 1 == range.end);
            }
            if !is_kept {
                range.for_each(|slot| assert!(taken.remove(&slot)));
                slots.release(first, length);
            }
        }
    }
}

#[test]
fn metrics_that_come_and_go_use_the_same_slots() {
    let mut slots = Slots::new();
    let first = [1, 13, 128].map(|length| slots.allocate(length, true));
    for _ in 0..1000 {
        slots.release(first[0], 1);
        slots.release(first[1], 13);
        slots.release(first[2], 128);
        let mut again = [1, 13, 128].map(|length| slots.allocate(length, false));
        again.sort_unstable();
        assert!(again.iter().all(|slot| first.contains(slot)), "{again:?}");
    }
    // What the long one left of the first page is for short ones.
    assert!(slots.allocate(1, false) < 128);
}
