//! Counts of threads: of those that run, of those that have ended, and of those that are just ending.

use std::{
    cell::RefCell,
    sync::{
        Barrier,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use monitoring::{Counter, Gauge, Histogram, MetricsCollector};

/// Counts when its thread ends.
struct AtEnd(Counter, Histogram);

impl Drop for AtEnd {
    fn drop(&mut self) {
        self.0.inc_by(10);
        self.1.observe(0.5);
    }
}

thread_local! {
    static BEFORE: RefCell<Option<AtEnd>> = const { RefCell::new(None) };
    static AFTER: RefCell<Option<AtEnd>> = const { RefCell::new(None) };
}

#[test]
fn metrics_of_threads_that_ended_stay() {
    let collector = MetricsCollector::isolated();
    let counter = collector.counter("c_total", "");
    let seconds = collector.float_counter("s_total", "");
    let gauge = collector.gauge("g", "");
    let histogram = collector.histogram("h", "");
    // Ten times two, so that places of ended threads are taken by new ones.
    for round in 1..=10_u32 {
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        counter.inc();
                        seconds.inc_by(0.5);
                        gauge.add(2);
                        gauge.dec();
                        histogram.observe(0.25);
                    }
                });
            }
        });
        let all = f64::from(round) * 2000.0;
        assert_eq!(counter.get(), u64::from(round) * 2000);
        assert_eq!(seconds.get(), all / 2.0);
        assert_eq!(gauge.get(), all);
        assert_eq!(histogram.snapshot().count(), u64::from(round) * 2000);
        assert_eq!(histogram.snapshot().sum(), all / 4.0);
    }
}

#[test]
fn metrics_count_in_destructors_of_a_thread_in_any_order() {
    let collector = MetricsCollector::isolated();
    let counter = collector.counter("c_total", "");
    let histogram = collector.histogram("h", "");
    let at_end = || Some(AtEnd(counter.clone(), histogram.clone()));
    thread::scope(|scope| {
        // One destructor is known to the system before the thread first counts, one after, so that
        // whatever the order, one of them runs when the thread has given up its cells.
        let first = scope.spawn(|| {
            BEFORE.with(|slot| *slot.borrow_mut() = at_end());
            counter.inc();
            histogram.observe(0.25);
            AFTER.with(|slot| *slot.borrow_mut() = at_end());
        });
        // This one counts for the first time when it ends.
        let second = scope.spawn(|| BEFORE.with(|slot| *slot.borrow_mut() = at_end()));
        // The scope by itself waits for the closures only, and not for the destructors.
        for thread in [first, second] {
            thread.join().unwrap();
        }
    });
    assert_eq!(counter.get(), 31);
    assert_eq!(histogram.snapshot().count(), 4);
    assert_eq!(histogram.snapshot().sum(), 1.75);
}

#[test]
fn metrics_never_fall_while_threads_come_and_go() {
    let collector = MetricsCollector::isolated();
    let counter = collector.counter("c_total", "");
    let histogram = collector.histogram("h", "");
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        let readers = [(); 2].map(|()| {
            scope.spawn(|| {
                let (mut count, mut observed) = (0, 0);
                while !is_done.load(Ordering::Acquire) {
                    let now = (counter.get(), histogram.snapshot().count());
                    assert!(now.0 >= count && now.1 >= observed, "{now:?} after {count}");
                    (count, observed) = now;
                }
            })
        });
        for _ in 0..100 {
            thread::scope(|scope| {
                for _ in 0..3 {
                    scope.spawn(|| {
                        for _ in 0..100 {
                            counter.inc();
                            histogram.observe(1.0);
                        }
                    });
                }
            });
        }
        is_done.store(true, Ordering::Release);
        for reader in readers {
            reader.join().unwrap();
        }
    });
    assert_eq!(counter.get(), 30_000);
    assert_eq!(histogram.snapshot().count(), 30_000);
    assert_eq!(histogram.snapshot().sum(), 30_000.0);
}

#[test]
fn metrics_that_are_made_again_begin_at_zero_in_all_threads() {
    let collector = MetricsCollector::isolated();
    let turn = Barrier::new(3);
    thread::scope(|scope| {
        let workers = [(); 2].map(|()| {
            scope.spawn(|| {
                for _ in 0..50 {
                    let (old, gauge): (Counter, Gauge) =
                        (collector.counter("c_total", ""), collector.gauge("g", ""));
                    old.inc();
                    gauge.inc();
                    drop((old, gauge));
                    // All have counted and dropped their handles.
                    turn.wait();
                    // The metrics have been taken out.
                    turn.wait();
                }
            })
        });
        for _ in 0..50 {
            turn.wait();
            assert_eq!(collector.counter("c_total", "").get(), 2);
            assert_eq!(collector.gauge("g", "").get(), 2.0);
            assert!(collector.unregister("c_total"));
            assert!(collector.unregister("g"));
            turn.wait();
        }
        for worker in workers {
            worker.join().unwrap();
        }
    });
}

#[test]
fn metrics_that_are_taken_out_count_for_nobody() {
    let collector = MetricsCollector::isolated();
    let old = collector.counter("c_total", "");
    old.inc();
    assert!(collector.unregister("c_total"));
    assert!(!collector.unregister("c_total"));
    assert!(collector.gather().is_empty());
    let new = collector.counter("c_total", "another help text, as it is another counter");
    old.inc();
    new.inc_by(5);
    assert_eq!((old.get(), new.get()), (2, 5));
}

#[test]
fn metrics_more_than_a_page_holds_are_told_apart() {
    let collector = MetricsCollector::isolated();
    let bounds: Vec<f64> = (0..126).map(f64::from).collect();
    let wide: Vec<Histogram> = (0..5)
        .map(|number| {
            let name = format!("wide_{number}");
            let histogram = collector.try_histogram_with_buckets(&name, "", &bounds);
            histogram.unwrap()
        })
        .collect();
    let counters: Vec<Counter> = (0..1000)
        .map(|number| collector.counter(&format!("c_{number}_total"), ""))
        .collect();
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                // From the last to the first, so that each thread's list of pages has holes.
                for (number, counter) in counters.iter().enumerate().rev() {
                    counter.inc_by(number as u64 + 1);
                }
                for (number, histogram) in wide.iter().enumerate() {
                    for value in 0..200_u32 {
                        histogram.observe(f64::from(value) + number as f64);
                    }
                }
            });
        }
    });
    for (number, counter) in counters.iter().enumerate() {
        assert_eq!(counter.get(), 3 * (number as u64 + 1));
    }
    for (number, histogram) in wide.iter().enumerate() {
        let snapshot = histogram.snapshot();
        assert_eq!(snapshot.count(), 600);
        assert_eq!(
            snapshot.sum(),
            3.0 * (199.0 * 100.0 + 200.0 * number as f64)
        );
        for ((_, count), bound) in snapshot.buckets().zip(0..126_usize) {
            let values = (bound + 1).saturating_sub(number);
            assert_eq!(count, 3 * values as u64, "up to {bound}");
        }
    }
}
