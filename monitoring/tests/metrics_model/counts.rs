//! No count is lost, and none is there twice, also while threads begin and end.

use loom::{sync::Arc, thread};

use crate::{add, count, model, process, threads::Owner};

#[test]
fn metrics_of_two_threads_add_up_while_they_are_read() {
    model(|| {
        let threads = process();
        let slot = threads.allocate(1, false);
        let others = [1, 2].map(|increment| {
            let threads = Arc::clone(&threads);
            thread::spawn(move || {
                let owner = Owner::new();
                count(&threads, &owner, slot, increment);
                count(&threads, &owner, slot, increment);
                threads.retire(&owner);
            })
        });
        let mut seen = 0;
        for _ in 0..2 {
            let now = threads.totals().count(slot);
            assert!((seen..=6).contains(&now), "{now} after {seen}");
            seen = now;
        }
        for other in others {
            other.join().unwrap();
        }
        assert_eq!(threads.totals().count(slot), 6);
    });
}

#[test]
fn metrics_of_a_thread_that_ends_are_read_once() {
    model(|| {
        let threads = process();
        let slot = threads.allocate(2, true);
        let other = {
            let threads = Arc::clone(&threads);
            thread::spawn(move || {
                let owner = Owner::new();
                count(&threads, &owner, slot, 5);
                add(&threads, &owner, slot + 1, 0.5);
                threads.retire(&owner);
                // As a destructor that runs after the thread has given up its cells.
                threads.add_retired_count(slot as usize, 1);
                threads.add_retired_sum(slot as usize + 1, 0.25);
            })
        };
        let (count_now, sum_now) = {
            let totals = threads.totals();
            (totals.count(slot), totals.sum(slot + 1))
        };
        assert!([0, 5, 6].contains(&count_now), "{count_now}");
        assert!([0.0, 0.5, 0.75].contains(&sum_now), "{sum_now}");
        other.join().unwrap();
        let totals = threads.totals();
        assert_eq!((totals.count(slot), totals.sum(slot + 1)), (6, 0.75));
    });
}

#[test]
fn metrics_stay_where_they_are_when_a_thread_needs_more_pages() {
    model(|| {
        let threads = process();
        let slots = [(); 3].map(|()| threads.allocate(2, false));
        let other = {
            let threads = Arc::clone(&threads);
            thread::spawn(move || {
                let owner = Owner::new();
                // The list of pages moves while it is read, and has a hole for a while.
                for slot in [slots[0], slots[2], slots[1]] {
                    count(&threads, &owner, slot, 1);
                }
                count(&threads, &owner, slots[0], 1);
            })
        };
        let before = slots.map(|slot| threads.totals().count(slot));
        assert!(
            before[0] <= 2 && before[1] <= 1 && before[2] <= 1,
            "{before:?}"
        );
        other.join().unwrap();
        // The thread went without a word, as one that was ended by force: its cells are there.
        assert_eq!(slots.map(|slot| threads.totals().count(slot)), [2, 1, 1]);
    });
}

#[test]
fn metrics_of_a_thread_after_another_are_both_there() {
    model(|| {
        let threads = process();
        let slot = threads.allocate(1, false);
        let others = [3, 4].map(|increment| {
            let threads = Arc::clone(&threads);
            thread::spawn(move || {
                let owner = Owner::new();
                count(&threads, &owner, slot, increment);
                threads.retire(&owner);
                // A thread that has ended may begin again: its first life's counts are safe.
                count(&threads, &owner, slot, increment);
                threads.retire(&owner);
            })
        });
        for other in others {
            other.join().unwrap();
        }
        assert_eq!(threads.totals().count(slot), 14);
    });
}
