//! What threads record, while they run and after they have ended.

use std::{
    cell::RefCell,
    sync::{
        Arc, Barrier,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use monitoring::{ProfileScope, Profiler};

use super::{poll::poll_until, work};

#[test]
fn counts_of_ended_threads_stay() {
    let profiler = Profiler::new();
    for round in 1..=20 {
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        let _outer = ProfileScope::new(&profiler, "outer");
                        let _inner = ProfileScope::new(&profiler, "inner");
                    }
                });
            }
        });
        let report = profiler.report();
        assert_eq!(report.count("outer"), round * 4000);
        assert_eq!(report.count("inner"), round * 4000);
    }
}

#[test]
fn reports_of_running_threads_only_grow() {
    const CALLS: u64 = 200_000;
    let profiler = Profiler::new();
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut last = 0;
            loop {
                // The last look is when all is done, however late this thread began.
                let is_last = is_done.load(Relaxed);
                let report = profiler.report();
                let count = report.count("step");
                assert!(count >= last && count <= 2 * CALLS, "{last} {count}");
                last = count;
                if is_last {
                    break;
                }
            }
        });
        let writers = [(); 2].map(|()| {
            scope.spawn(|| {
                for call in 0..CALLS {
                    let _step = ProfileScope::new(&profiler, "step");
                    if call % 1000 == 0 {
                        // New paths, while others look.
                        let name = format!("part {}", call / 1000);
                        drop(ProfileScope::new(&profiler, &name));
                    }
                }
            })
        });
        for writer in writers {
            writer.join().unwrap();
        }
        is_done.store(true, Relaxed);
        reader.join().unwrap();
    });
    let report = profiler.report();
    assert_eq!(report.count("step"), 2 * CALLS);
    assert!((0..200).all(|part| report.count(&format!("part {part}")) == 2));
}

#[test]
fn a_thread_that_ends_during_reports_counts_once() {
    let profiler = Profiler::new();
    for round in 1..=200 {
        let ready = Barrier::new(2);
        thread::scope(|scope| {
            scope.spawn(|| {
                drop(ProfileScope::new(&profiler, "once"));
                ready.wait();
            });
            ready.wait();
            for _ in 0..20 {
                assert_eq!(profiler.report().count("once"), round);
            }
        });
    }
}

/// Enters a scope when its thread ends.
struct AtEnd(RefCell<Option<(Profiler, &'static str)>>);

impl Drop for AtEnd {
    fn drop(&mut self) {
        if let Some((profiler, name)) = self.0.take() {
            let _outer = ProfileScope::new(&profiler, name);
            drop(ProfileScope::new(&profiler, "within"));
        }
    }
}

thread_local! {
    static FIRST: AtEnd = const { AtEnd(RefCell::new(None)) };
    static LAST: AtEnd = const { AtEnd(RefCell::new(None)) };
}

#[test]
fn scopes_of_a_threads_last_destructors_count() {
    let profiler = Profiler::new();
    thread::scope(|scope| {
        scope.spawn(|| {
            // Destructors run in the reverse order of first use, or in this one: one of the two
            // is run before that of the profiler's own, and the other after it.
            FIRST.with(|at_end| *at_end.0.borrow_mut() = Some((profiler.clone(), "first")));
            drop(ProfileScope::new(&profiler, "alive"));
            LAST.with(|at_end| *at_end.0.borrow_mut() = Some((profiler.clone(), "last")));
        });
    });
    // A scoped thread is joined when its closure has ended, which may be before its destructors.
    let report = poll_until("the destructors' scopes are counted", || {
        let report = profiler.report();
        let is_all =
            report.count("within") == 2 && report.count("first") + report.count("last") == 2;
        is_all.then_some(report)
    });
    assert_eq!(report.count("alive"), 1);
}

#[test]
fn a_scope_that_outlives_its_threads_destructors_counts() {
    thread_local! {
        static HELD: RefCell<Option<ProfileScope<'static>>> = const { RefCell::new(None) };
    }
    let profiler: &'static Profiler = Box::leak(Box::new(Profiler::new()));
    let thread = thread::spawn(|| {
        HELD.with(|held| {
            *held.borrow_mut() = Some(ProfileScope::new(profiler, "held"));
        });
    });
    thread.join().unwrap();
    assert_eq!(profiler.report().count("held"), 1);
}

#[test]
fn a_forgotten_scope_disturbs_nobody() {
    let profiler = Profiler::new();
    thread::scope(|scope| {
        scope.spawn(|| {
            std::mem::forget(ProfileScope::new(&profiler, "forgotten"));
            drop(ProfileScope::new(&profiler, "later"));
        });
    });
    let report = profiler.report();
    assert_eq!((report.count("forgotten"), report.count("later")), (0, 1));
}

#[test]
fn a_profiler_that_is_gone_leaves_its_threads_alone() {
    let stays = Profiler::new();
    for _ in 0..100 {
        let goes = Arc::new(Profiler::new());
        let _stays = ProfileScope::new(&stays, "stays");
        drop(ProfileScope::new(&goes, "goes"));
        assert_eq!(goes.report().count("goes"), 1);
    }
    assert_eq!(stays.report().count("stays"), 100);
}

#[test]
fn times_of_threads_add_up() {
    let profiler = Profiler::new();
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let _busy = ProfileScope::new(&profiler, "busy");
                work(Duration::from_millis(5));
            });
        }
    });
    let total = profiler.report().scope("busy").unwrap().total();
    // Two clocks may differ a little.
    let error = Duration::from_micros(100);
    assert!(total + error >= Duration::from_millis(15), "{total:?}");
}
