//! Names and paths without number, shares of calls, and the forms of a report.

use inferno::flamegraph;
use monitoring::{ProfileScope, Profiler};
use serde_json::Value;

#[test]
fn names_beyond_the_limit_are_other() {
    let profiler = Profiler::new();
    for number in 0..1_500 {
        for _ in 0..2 {
            drop(ProfileScope::new(&profiler, &format!("name {number}")));
        }
    }
    let report = profiler.report();
    assert_eq!(report.scopes().len(), 1001);
    assert_eq!(report.count("other"), 1000);
    assert!((0..1000).all(|number| report.count(&format!("name {number}")) == 2));
}

#[test]
fn paths_beyond_the_limit_are_other_and_lose_no_time() {
    let profiler = Profiler::new();
    // 90 names in threes: more paths than there is room for.
    let names: Vec<String> = (0..90).map(|number| format!("name {number}")).collect();
    let mut calls = 0;
    for outer in &names {
        for inner in &names {
            let _outer = ProfileScope::new(&profiler, outer);
            let _inner = ProfileScope::new(&profiler, inner);
            calls += 2;
        }
    }
    let report = profiler.report();
    let paths = report.paths().len();
    assert!((4_000..=2 * 4_096).contains(&paths), "{paths}");
    assert!(report.count("other") > 0);
    let count: u64 = report
        .paths()
        .iter()
        .map(monitoring::PathReport::count)
        .sum();
    assert_eq!(count, calls);
    let own: std::time::Duration = report
        .paths()
        .iter()
        .map(monitoring::PathReport::self_time)
        .sum();
    let outermost = report.paths().iter().filter(|path| path.names().len() == 1);
    let outermost: std::time::Duration = outermost.map(monitoring::PathReport::total).sum();
    assert!(
        own.abs_diff(outermost).as_micros() < 10,
        "{own:?} {outermost:?}"
    );
}

#[test]
fn deep_recursion_takes_no_room() {
    fn descend(profiler: &Profiler, depth: u32) {
        let _scope = ProfileScope::new(profiler, "descend");
        if depth > 0 {
            descend(profiler, depth - 1);
        }
    }
    let profiler = Profiler::new();
    descend(&profiler, 4_999);
    let report = profiler.report();
    assert_eq!((report.count("descend"), report.paths().len()), (5_000, 1));
}

#[test]
fn a_share_of_outermost_scopes_is_recorded_with_all_within() {
    let profiler = Profiler::with_sample_rate(0.1);
    for _ in 0..10_000 {
        let _outer = ProfileScope::new(&profiler, "outer");
        drop(ProfileScope::new(&profiler, "inner"));
        drop(ProfileScope::new(&profiler, "inner"));
    }
    let report = profiler.report();
    let outer = report.count("outer");
    // Six standard deviations of the binomial distribution.
    assert!((820..=1180).contains(&outer), "{outer}");
    assert_eq!(report.count("inner"), 2 * outer);
    assert_eq!(report.sampled_out(), 10_000 - outer);
}

#[test]
fn a_profiler_that_is_off_records_nothing() {
    let profiler = Profiler::with_sample_rate(0.0);
    drop(ProfileScope::new(&profiler, "scope"));
    let report = profiler.report();
    assert!(report.scopes().is_empty() && report.sampled_out() == 0);
    assert_eq!(report.to_string().lines().count(), 1);
}

fn example() -> Profiler {
    let profiler = Profiler::new();
    for _ in 0..2 {
        let _outer = ProfileScope::new(&profiler, "out;er");
        let _inner = ProfileScope::new(&profiler, "in\nner \"1\"");
        super::work(std::time::Duration::from_millis(2));
    }
    profiler
}

#[test]
fn folded_stacks_become_a_flame_graph() {
    let report = example().report();
    let folded = report.to_folded();
    assert!(
        folded.contains("\nout:er;in ner \"1\" ") || folded.starts_with("out:er"),
        "{folded}"
    );
    let sum: u128 = folded
        .lines()
        .map(|line| line.rsplit_once(' ').unwrap().1.parse::<u128>().unwrap())
        .sum();
    let own: u128 = report
        .scopes()
        .iter()
        .map(|scope| scope.self_time().as_nanos())
        .sum();
    assert_eq!(sum, own);
    let mut graph = Vec::new();
    let mut options = flamegraph::Options::default();
    flamegraph::from_lines(&mut options, folded.lines(), &mut graph).unwrap();
    let graph = String::from_utf8(graph).unwrap();
    assert!(graph.contains("in ner &quot;1&quot; ("), "{graph}");
}

#[test]
fn json_says_what_the_report_says() {
    let report = example().report();
    let json: Value = serde_json::from_str(&report.to_json()).unwrap();
    let scopes = json["scopes"].as_array().unwrap();
    assert_eq!(scopes.len(), 2);
    for scope in scopes {
        let name = scope["name"].as_str().unwrap();
        let known = report.scope(name).unwrap();
        assert_eq!(scope["count"], known.count());
        let check = |key: &str, want: std::time::Duration| {
            assert_eq!(
                scope[key].as_f64(),
                Some(want.as_secs_f64()),
                "{name} {key}"
            );
        };
        check("total_seconds", known.total());
        check("self_seconds", known.self_time());
        check("avg_seconds", known.avg().unwrap());
        check("p99_seconds", known.quantile(0.99).unwrap());
        check("max_seconds", known.max().unwrap());
    }
    assert_eq!(json["paths"][1]["names"][1], "in\nner \"1\"");
    assert_eq!(json["sample_rate"], 1.0);
}

#[test]
fn tables_have_a_line_for_each_scope() {
    let report = example().report();
    let text = report.to_string();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert!(lines[0].starts_with("scope"), "{text}");
    // The one with the most self time comes first, on one line whatever it is called. On a busy
    // machine that may be the one that does nothing.
    let own = |name| report.scope(name).unwrap().self_time();
    let mut names = ["in\\nner \"1\"", "out;er"];
    if own("out;er") > own("in\nner \"1\"") {
        names.reverse();
    }
    assert!(lines[1].starts_with(names[0]), "{text}");
    assert!(lines[2].starts_with(names[1]), "{text}");
    let lengths: Vec<usize> = lines.iter().map(|line| line.chars().count()).collect();
    assert!(lengths.iter().all(|length| *length == lengths[0]), "{text}");
}
