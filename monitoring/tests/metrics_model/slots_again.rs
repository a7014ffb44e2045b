//! A slot that is used again begins at zero, whatever was counted there before, and by whom.

use loom::{sync::Arc, thread};

use crate::{
    add, count, model, process,
    threads::{Owner, Threads},
};

/// As the library's handles share it: the slot is free when the last one is dropped.
struct Handle {
    slot: u32,
    has_sum: bool,
    threads: Arc<Threads>,
}

impl Handle {
    fn new(threads: &Arc<Threads>, has_sum: bool) -> Arc<Self> {
        Arc::new(Self {
            slot: threads.allocate(1, has_sum),
            has_sum,
            threads: Arc::clone(threads),
        })
    }

    fn write(&self, owner: &Owner) {
        if self.has_sum {
            add(&self.threads, owner, self.slot, 1.0);
        } else {
            count(&self.threads, owner, self.slot, 1);
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.threads.release(self.slot, 1);
    }
}

#[test]
fn metrics_that_are_new_have_nothing_from_those_that_are_gone() {
    model(|| {
        let threads = process();
        let old = Handle::new(&threads, false);
        let other = {
            let old = Arc::clone(&old);
            thread::spawn(move || {
                let owner = Owner::new();
                let threads = Arc::clone(&old.threads);
                old.write(&owner);
                // Whichever of the two threads drops its handle last gives the slot back.
                drop(old);
                threads.retire(&owner);
            })
        };
        let owner = Owner::new();
        old.write(&owner);
        drop(old);
        let new = Handle::new(&threads, true);
        new.write(&owner);
        assert_eq!(threads.totals().sum(new.slot), 1.0);
        other.join().unwrap();
        assert_eq!(threads.totals().sum(new.slot), 1.0);
        threads.retire(&owner);
        assert_eq!(threads.totals().sum(new.slot), 1.0);
    });
}

#[test]
fn metrics_that_are_new_count_in_threads_that_knew_the_slot_before() {
    model(|| {
        let threads = process();
        let owner = Owner::new();
        let old = Handle::new(&threads, true);
        old.write(&owner);
        let slot = old.slot;
        drop(old);
        let new = Handle::new(&threads, false);
        assert_eq!(new.slot, slot, "the slot is used again");
        let other = {
            let new = Arc::clone(&new);
            thread::spawn(move || {
                let owner = Owner::new();
                new.write(&owner);
                new.threads.retire(&owner);
            })
        };
        new.write(&owner);
        other.join().unwrap();
        assert_eq!(threads.totals().count(slot), 2);
    });
}
