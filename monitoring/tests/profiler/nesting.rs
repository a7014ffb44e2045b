//! Scopes within scopes: whose time is whose.

use std::time::{Duration, Instant};

use monitoring::{PathReport, ProfileReport, ProfileScope, Profiler};
use proptest::prelude::*;

use super::work;

const MS: Duration = Duration::from_millis(1);

/// Total and self time of a scope.
fn times(report: &ProfileReport, name: &str) -> (Duration, Duration) {
    let scope = report.scope(name).unwrap_or_else(|| panic!("no {name}"));
    (scope.total(), scope.self_time())
}

fn paths(report: &ProfileReport) -> Vec<(String, u64)> {
    let path = |path: &PathReport| {
        let names: Vec<_> = path.names().collect();
        (names.join(";"), path.count())
    };
    report.paths().iter().map(path).collect()
}

#[test]
fn durations_are_those_of_the_clock() {
    let profiler = Profiler::new();
    let mut outside = Vec::new();
    for milliseconds in [1, 2, 3, 4, 40] {
        let begun = Instant::now();
        let scope = ProfileScope::new(&profiler, "work");
        work(milliseconds * MS);
        drop(scope);
        outside.push(begun.elapsed());
    }
    // On a busy machine a short one may take longer than a long one. Each took at most what was
    // measured around it, and so did the shortest, the second shortest and so on.
    outside.sort();
    let report = profiler.report();
    let scope = report.scope("work").unwrap();
    assert_eq!(scope.count(), 5);
    let check = |what: &str, found: Duration, least: Duration, most: Duration| {
        // What stands for a bucket is up to 1/64 away from what was in it, and two clocks may
        // differ by less than that.
        let allowed = most / 32;
        assert!(found + allowed >= least, "{what}: {found:?} < {least:?}");
        assert!(found <= most + allowed, "{what}: {found:?} > {most:?}");
    };
    check("min", scope.min().unwrap(), MS, outside[0]);
    check("p50", scope.quantile(0.5).unwrap(), 3 * MS, outside[2]);
    check("p99", scope.quantile(0.99).unwrap(), 40 * MS, outside[4]);
    check("max", scope.max().unwrap(), 40 * MS, outside[4]);
    check("total", scope.total(), 50 * MS, outside.iter().sum());
    check(
        "avg",
        scope.avg().unwrap(),
        10 * MS,
        outside.iter().sum::<Duration>() / 5,
    );
    assert_eq!(scope.total(), scope.self_time());
    let milliseconds = scope.avg().unwrap().as_secs_f64() * 1e3;
    assert!((report.avg_duration_ms("work") - milliseconds).abs() < 1e-9);
}

#[test]
fn self_time_is_what_inner_scopes_leave() {
    let profiler = Profiler::new();
    {
        let _outer = ProfileScope::new(&profiler, "outer");
        work(5 * MS);
        for _ in 0..2 {
            let _inner = ProfileScope::new(&profiler, "inner");
            work(4 * MS);
        }
    }
    let report = profiler.report();
    let (outer, outer_self) = times(&report, "outer");
    let (inner, inner_self) = times(&report, "inner");
    assert_eq!(inner, inner_self);
    // Two clocks may differ a little.
    let error = MS / 10;
    assert!(
        inner + error >= 8 * MS && outer_self + error >= 5 * MS,
        "{report}"
    );
    let sum = outer_self + inner;
    assert!(
        outer.abs_diff(sum) < Duration::from_micros(1),
        "{outer:?} {sum:?}"
    );
    assert_eq!(
        paths(&report),
        [("outer".to_owned(), 1), ("outer;inner".to_owned(), 2)]
    );
}

#[test]
fn recursion_counts_each_call_and_each_moment_once() {
    fn descend(profiler: &Profiler, depth: u32) {
        let _even = ProfileScope::new(
            profiler,
            if depth.is_multiple_of(2) {
                "even"
            } else {
                "odd"
            },
        );
        let _step = ProfileScope::new(profiler, "step");
        work(MS / 10);
        if depth > 0 {
            descend(profiler, depth - 1);
        }
    }
    let profiler = Profiler::new();
    let begun = Instant::now();
    descend(&profiler, 49);
    let took = begun.elapsed();
    let report = profiler.report();
    let counts = ["even", "odd", "step"].map(|name| report.count(name));
    assert_eq!(counts, [25, 25, 50]);
    let limit = took + took / 100;
    for name in ["even", "odd", "step"] {
        let (total, own) = times(&report, name);
        assert!(
            own <= total && total <= limit,
            "{name}: {total:?} of {took:?}"
        );
    }
    let (_, own) = times(&report, "step");
    assert!(own + MS / 10 >= 50 * MS / 10, "{report}");
    let sum: Duration = report.paths().iter().map(PathReport::self_time).sum();
    assert!(sum <= limit, "{sum:?} of {took:?}");
    let longest = report.paths().iter().map(|path| path.names().len()).max();
    assert_eq!(longest, Some(3), "{report:?}");
}

#[test]
fn the_order_of_ends_loses_nothing() {
    let profiler = Profiler::new();
    for _ in 0..3 {
        let outer = ProfileScope::new(&profiler, "outer");
        let middle = ProfileScope::new(&profiler, "middle");
        let inner = ProfileScope::new(&profiler, "inner");
        drop(outer);
        drop(inner);
        drop(middle);
        let _after = ProfileScope::new(&profiler, "after");
    }
    let report = profiler.report();
    let want = [
        ("after", 3),
        ("outer", 3),
        ("outer;middle", 3),
        ("outer;middle;inner", 3),
    ];
    assert_eq!(
        paths(&report),
        want.map(|(path, count)| (path.to_owned(), count))
    );
}

#[test]
fn what_is_open_is_not_in_a_report_and_what_is_done_within_is() {
    let profiler = Profiler::new();
    let _open = ProfileScope::new(&profiler, "open");
    drop(ProfileScope::new(&profiler, "done"));
    let report = profiler.report();
    assert_eq!((report.count("open"), report.count("done")), (0, 1));
    assert!(report.avg_duration_ms("open").is_nan());
    assert_eq!(report.scope("open").unwrap().quantile(0.5), None);
}

#[test]
fn unknown_scopes_are_no_numbers() {
    let report = Profiler::new().report();
    let of = [
        ProfileReport::avg_duration_ms,
        ProfileReport::min_duration_ms,
        ProfileReport::p50_duration_ms,
        ProfileReport::p90_duration_ms,
        ProfileReport::p99_duration_ms,
        ProfileReport::max_duration_ms,
    ];
    assert!(of.iter().all(|of| of(&report, "unknown").is_nan()));
    assert!(report.scope("unknown").is_none());
    assert_eq!(report.count("unknown"), 0);
    assert_eq!(report.to_folded(), "");
}

#[test]
fn profilers_on_one_thread_know_nothing_of_each_other() {
    let (first, second) = (Profiler::new(), Profiler::new());
    for _ in 0..10 {
        let _outer = ProfileScope::new(&first, "outer");
        let _inner = ProfileScope::new(&second, "inner");
    }
    assert_eq!(paths(&first.report()), [("outer".to_owned(), 10)]);
    assert_eq!(paths(&second.report()), [("inner".to_owned(), 10)]);
}

proptest! {
    /// Scopes are opened and closed by chance; a list of what is open is the model.
    #[test]
    fn every_end_is_counted_on_its_path(steps in prop::collection::vec((0_usize..12, any::<bool>()), 0..200)) {
        // Texts at addresses of their own, as of names that are put together.
        let names: Vec<String> = (0..12).map(|number| format!("scope {number}")).collect();
        let profiler = Profiler::new();
        let mut open: Vec<(usize, ProfileScope)> = Vec::new();
        let mut counts = std::collections::BTreeMap::new();
        let mut close = |open: &mut Vec<(usize, ProfileScope)>| {
            // On the path, whatever is entered again is where it was first.
            let mut path: Vec<usize> = Vec::new();
            for (scope, _) in open.iter() {
                if let Some(at) = path.iter().position(|known| known == scope) {
                    path.truncate(at);
                }
                path.push(*scope);
            }
            if open.pop().is_some() {
                let path: Vec<&str> = path.iter().map(|scope| &*names[*scope]).collect();
                *counts.entry(path.join(";")).or_insert(0_u64) += 1;
            }
        };
        for (scope, opens) in steps {
            if opens {
                open.push((scope, ProfileScope::new(&profiler, &names[scope])));
            } else {
                close(&mut open);
            }
        }
        while !open.is_empty() {
            close(&mut open);
        }
        let report = profiler.report();
        let found: std::collections::BTreeMap<_, _> =
            paths(&report).into_iter().filter(|(_, count)| *count > 0).collect();
        let total: u64 = counts.values().sum();
        prop_assert_eq!(found, counts);
        let ended: u64 = report.scopes().iter().map(monitoring::ScopeReport::count).sum();
        prop_assert_eq!(ended, total);
        // Self times are all the time there was, once.
        let own: Duration = report.scopes().iter().map(monitoring::ScopeReport::self_time).sum();
        let outermost = report.paths().iter().filter(|path| path.names().len() == 1);
        let outermost: Duration = outermost.map(PathReport::total).sum();
        prop_assert!(own.abs_diff(outermost) < Duration::from_micros(1), "{own:?} {outermost:?}");
    }
}
