//! What a gauge is set to replaces what was added before, and nothing that was added after.

use loom::{sync::Arc, thread};

use crate::{
    add,
    level::Level,
    model, process,
    threads::{Owner, Threads},
};

struct Gauge {
    slot: u32,
    level: Level,
    threads: Arc<Threads>,
}

impl Gauge {
    fn new() -> Arc<Self> {
        let threads = process();
        Arc::new(Self {
            slot: threads.allocate(1, true),
            level: Level::new(),
            threads,
        })
    }

    fn add(&self, owner: &Owner, increment: f64) {
        if !self.level.add(increment) {
            add(&self.threads, owner, self.slot, increment);
        }
    }

    fn get(&self) -> f64 {
        let totals = self.threads.totals();
        self.level.get().unwrap_or_else(|| totals.sum(self.slot))
    }
}

#[test]
fn metrics_that_are_set_while_another_thread_adds() {
    model(|| {
        let gauge = Gauge::new();
        let other = {
            let gauge = Arc::clone(&gauge);
            thread::spawn(move || {
                let owner = Owner::new();
                gauge.add(&owner, 1.0);
                gauge.add(&owner, 2.0);
                gauge.threads.retire(&owner);
            })
        };
        gauge.level.set(100.0);
        let then = gauge.get();
        // Before, between or after the two additions.
        assert!([100.0, 101.0, 102.0, 103.0].contains(&then), "{then}");
        other.join().unwrap();
        let end = gauge.get();
        assert!([100.0, 102.0, 103.0].contains(&end), "{end}");
        assert!(end >= then, "{end} after {then}");
    });
}

#[test]
fn metrics_that_are_set_have_all_that_is_added_later() {
    model(|| {
        let gauge = Gauge::new();
        let owner = Owner::new();
        gauge.add(&owner, 0.1);
        gauge.level.set(0.7);
        let others = [1.0, 2.0].map(|increment| {
            let gauge = Arc::clone(&gauge);
            thread::spawn(move || gauge.add(&Owner::new(), increment))
        });
        for other in others {
            other.join().unwrap();
        }
        assert_eq!(gauge.get(), 3.7);
        gauge.level.set(0.1);
        assert_eq!(gauge.get(), 0.1);
    });
}
