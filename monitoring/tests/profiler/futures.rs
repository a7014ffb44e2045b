//! Scopes of futures: across awaits, across threads, and cut short.

use std::{
    future::{pending, poll_fn},
    pin::pin,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use monitoring::{ProfileScope, Profiler};
use tokio::{runtime::Builder, task::yield_now, time::sleep};

use super::work;

const MS: Duration = Duration::from_millis(1);

/// Two clocks may differ by so much in the time that a test takes on an idle machine.
const ERROR: Duration = Duration::from_micros(100);

/// That, and what they may differ by in a longer time.
fn error_of(time: Duration) -> Duration {
    ERROR + time / 100
}

#[test]
fn waiting_is_in_the_duration_and_not_in_the_total() {
    let profiler = Profiler::new();
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    let begun = Instant::now();
    // The time of the polls, which may be interrupted as well.
    let mut polled = Duration::ZERO;
    let wait = async {
        work(2 * MS);
        wait_for(30 * MS).await;
        work(2 * MS);
    };
    runtime.block_on(async {
        let mut wait = pin!(profiler.scope_future("wait", wait));
        poll_fn(|context| {
            let begun = Instant::now();
            let poll = wait.as_mut().poll(context);
            polled += begun.elapsed();
            poll
        })
        .await;
    });
    let took = begun.elapsed();
    let report = profiler.report();
    let scope = report.scope("wait").unwrap();
    assert_eq!(scope.count(), 1);
    let duration = scope.max().unwrap();
    assert!(
        duration + ERROR >= 34 * MS && duration <= took + error_of(took),
        "{duration:?} of {took:?}"
    );
    assert!(scope.total() + ERROR >= 4 * MS, "{report}");
    assert!(
        scope.total() <= polled + error_of(polled),
        "{polled:?} {report}"
    );
    assert_eq!(scope.total(), scope.self_time());
}

/// A wait whose length the test knows.
async fn wait_for(time: Duration) {
    sleep(time).await;
}

#[test]
fn what_is_polled_together_is_told_apart() {
    let profiler = Profiler::new();
    let runtime = Builder::new_current_thread().build().unwrap();
    let part = |name: &'static str| {
        let inner = profiler.clone();
        let part = async move {
            for _ in 0..10 {
                drop(ProfileScope::new(&inner, "step"));
                yield_now().await;
            }
        };
        profiler.scope_future(name, part)
    };
    runtime.block_on(async { tokio::join!(part("left"), part("right")) });
    let report = profiler.report();
    let mut paths = Vec::new();
    for path in report.paths() {
        paths.push((path.names().collect::<Vec<_>>().join(";"), path.count()));
    }
    let want = [
        ("left", 1),
        ("left;step", 10),
        ("right", 1),
        ("right;step", 10),
    ];
    assert_eq!(paths, want.map(|(path, count)| (path.to_owned(), count)));
}

#[test]
fn futures_that_move_between_threads_count_once() {
    const TASKS: u64 = 200;
    let profiler = Profiler::new();
    let runtime = Builder::new_multi_thread()
        .worker_threads(4)
        .build()
        .unwrap();
    runtime.block_on(async {
        let tasks: Vec<_> = (0..TASKS)
            .map(|_| {
                let inner = profiler.clone();
                let task = async move {
                    for _ in 0..20 {
                        drop(ProfileScope::new(&inner, "step"));
                        yield_now().await;
                    }
                };
                tokio::spawn(profiler.scope_future("task", task))
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
    drop(runtime);
    let report = profiler.report();
    assert_eq!(report.count("task"), TASKS);
    assert_eq!(report.count("step"), 20 * TASKS);
    assert!(
        report
            .paths()
            .iter()
            .all(|path| path.names().next() == Some("task"))
    );
}

#[test]
fn a_future_that_is_dropped_has_lasted_until_then() {
    let profiler = Profiler::new();
    let mut context = Context::from_waker(Waker::noop());
    // Never polled: it never began.
    drop(profiler.scope_future("cut", pending::<()>()));
    assert!(profiler.report().scope("cut").is_none());
    let begun = Instant::now();
    let mut future = Box::pin(profiler.scope_future("cut", pending::<()>()));
    assert!(future.as_mut().poll(&mut context).is_pending());
    let mut worked = begun.elapsed();
    work(5 * MS);
    let dropping = Instant::now();
    drop(future);
    worked += dropping.elapsed();
    let took = begun.elapsed();
    let report = profiler.report();
    let scope = report.scope("cut").unwrap();
    assert_eq!(scope.count(), 1);
    let duration = scope.max().unwrap();
    assert!(
        duration + ERROR >= 5 * MS && duration <= took + error_of(took),
        "{duration:?} of {took:?}"
    );
    assert!(
        scope.total() <= worked + error_of(worked),
        "waiting is no work: {report}"
    );
}

#[test]
fn a_future_is_recorded_whole_or_not_at_all() {
    let profiler = Profiler::with_sample_rate(0.5);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..400 {
        let mut polls = 0;
        let future = profiler.scope_future(
            "future",
            poll_fn(|_| {
                drop(ProfileScope::new(&profiler, "poll"));
                polls += 1;
                if polls == 4 {
                    Poll::Ready(())
                } else {
                    Poll::Pending
                }
            }),
        );
        let mut future = pin!(future);
        while future.as_mut().poll(&mut context).is_pending() {}
    }
    let report = profiler.report();
    assert_eq!(report.count("poll"), 4 * report.count("future"));
    assert_eq!(report.count("future") + report.sampled_out(), 400);
    assert!((100..300).contains(&report.count("future")), "{report}");
}

#[test]
fn a_future_that_is_recorded_is_so_within_a_scope_that_is_not() {
    const FUTURES: u64 = 400;
    let profiler = Profiler::with_sample_rate(0.5);
    let mut context = Context::from_waker(Waker::noop());
    for number in 0..FUTURES {
        let mut polls = 0;
        let future = profiler.scope_future(
            "future",
            poll_fn(|_| {
                drop(ProfileScope::new(&profiler, "poll"));
                polls += 1;
                if polls == 3 {
                    Poll::Ready(())
                } else {
                    Poll::Pending
                }
            }),
        );
        let mut future = Box::pin(future);
        // It is decided here, and ends within a scope of which something else is decided.
        assert!(future.as_mut().poll(&mut context).is_pending());
        let _outer = ProfileScope::new(&profiler, "outer");
        assert!(future.as_mut().poll(&mut context).is_pending());
        if number % 2 == 0 {
            assert!(future.as_mut().poll(&mut context).is_ready());
        }
        drop(future);
        drop(ProfileScope::new(&profiler, "after"));
    }
    let report = profiler.report();
    let decided = report.count("future") + report.count("outer") + report.sampled_out();
    assert_eq!(decided, 2 * FUTURES, "{report}");
    // What the thread does after a poll is recorded with the scope that it is in.
    assert_eq!(report.count("after"), report.count("outer"));
    assert!(report.to_folded().contains("future;poll "), "{report}");
}
