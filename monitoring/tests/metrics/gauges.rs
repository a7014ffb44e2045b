//! Gauges: what is added, what is set, and both.

use std::thread;

use monitoring::MetricsCollector;

#[test]
fn metrics_take_any_number() {
    let gauge = MetricsCollector::isolated().gauge("g", "");
    gauge.set(1_073_741_824);
    assert_eq!(gauge.get(), 1_073_741_824.0);
    gauge.set(0.5);
    assert_eq!(gauge.get(), 0.5);
    gauge.set(u64::MAX);
    assert_eq!(gauge.get(), 18_446_744_073_709_551_615.0);
    gauge.set(-7_i64);
    gauge.add(3_usize);
    gauge.sub(0.5_f32);
    gauge.inc();
    assert_eq!(gauge.get(), -3.5);
    gauge.set(f64::NAN);
    assert!(gauge.get().is_nan());
    gauge.set(f64::INFINITY);
    assert_eq!(gauge.get(), f64::INFINITY);
    gauge.set(0);
    assert_eq!(gauge.get(), 0.0);
}

#[test]
fn metrics_are_exactly_what_they_were_set_to() {
    let gauge = MetricsCollector::isolated().gauge("g", "");
    // Subtracting what was added and adding it again would leave other digits.
    gauge.add(1e17);
    gauge.add(3.3);
    gauge.set(0.1);
    assert_eq!(gauge.get(), 0.1);
    gauge.add(0.2);
    assert_eq!(gauge.get(), 0.1 + 0.2);
}

#[test]
fn metrics_that_were_set_are_added_to_from_all_threads() {
    let gauge = MetricsCollector::isolated().gauge("g", "");
    gauge.inc();
    gauge.set(1000);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..1000 {
                    gauge.add(3);
                    gauge.dec();
                }
            });
        }
    });
    assert_eq!(gauge.get(), 9000.0);
}

#[test]
fn metrics_may_be_raised_in_one_thread_and_lowered_in_another() {
    let gauge = MetricsCollector::isolated().gauge("g", "");
    thread::scope(|scope| {
        scope.spawn(|| (0..500).for_each(|_| gauge.inc()));
        scope.spawn(|| (0..500).for_each(|_| gauge.dec()));
    });
    assert_eq!(gauge.get(), 0.0);
}
