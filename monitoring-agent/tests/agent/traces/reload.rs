//! What becomes of spans when the agent reads another configuration (SIGHUP): tracing that is switched
//! off and on again, thresholds, and families of which there is none to trace at first.

use std::time::Duration;

use monitoring::otlp::Protocol;

use super::{
    sleeper::{self, CALL, SERVICE, Sleeper},
    traced::Traced,
    tree::{Tree, lasted},
};
use crate::{
    poll::poll_until,
    process::{sum, value},
    rotel::{Ports, shown::Shown},
};

/// Longer than a call takes by itself, and than a thread waits for a CPU.
const LONG: Duration = Duration::from_millis(300);
const SHORT: Duration = Duration::from_millis(20);

/// An agent that traces a sleeper's calls that last so long, and its life.
fn traced(slow: &str, more: &str) -> Traced {
    let sections = [&sleeper::rule(), &*sleeper::section(slow), more].concat();
    Traced::start_with(Ports::free(), Protocol::Grpc, &sections)
}

/// How many of the sleeper's calls have become spans.
fn generated(metrics: &str) -> f64 {
    sum(
        metrics,
        "monitoring_agent_spans_generated_total",
        "kind=\"system_call\"",
    )
}

/// Waits until so many have in all, and asserts that there are never more.
fn wait_for(traced: &Traced, calls: u32) {
    poll_until("the calls are spans", || {
        let generated = generated(&traced.agent.fresh_metrics());
        assert!(
            generated < f64::from(calls) + 0.5,
            "{generated} spans of {calls} calls"
        );
        (generated > f64::from(calls) - 0.5).then_some(())
    });
}

/// Asserts that whatever is enabled runs, and gives the metrics.
fn nothing_is_down(traced: &Traced) -> String {
    let metrics = traced.agent.fresh_metrics();
    let ups: Vec<_> = metrics
        .lines()
        .filter(|line| line.starts_with("monitoring_agent_source_up{"))
        .collect();
    assert!(
        ups.len() > 5 && ups.iter().all(|line| line.ends_with(" 1")),
        "{ups:#?}"
    );
    metrics
}

fn is_up(metrics: &str) -> Option<f64> {
    value(metrics, "monitoring_agent_source_up{source=\"trace\"}")
}

/// The sleeper's calls, each under a root that is there. A minute has one root, which has ended before
/// them if tracing was switched off in between.
fn calls(spans: &Tree) -> Vec<&Shown> {
    spans.check_all();
    let calls: Vec<_> = spans.of(SERVICE, "syscalls").collect();
    for call in &calls {
        assert_eq!(call.get("Name"), CALL);
        let root = spans.parent(call);
        assert!(root.scope.starts_with("stratoswarm.trace "), "{root:?}");
    }
    calls
}

#[test]
fn tracing_is_switched_off_and_on_again() {
    let (on, off) = ("tracing_enabled = true", "tracing_enabled = false");
    let traced = traced("10ms", "");
    let mut sleeper = Sleeper::start(&traced.agent);
    sleeper.sleep(3, SHORT);
    wait_for(&traced, 3);
    traced.reload(on, off);
    // The calls, and the root that they have in common, or the two at the turn of a minute.
    let arrived = poll_until("what there was is sent", || {
        let arrived = traced.arrived();
        (arrived >= 4).then_some(arrived)
    });
    sleeper.sleep(5, SHORT);
    let metrics = nothing_is_down(&traced);
    assert_eq!(is_up(&metrics), None, "it is not wanted");
    assert!(!metrics.contains("monitoring_agent_spans_"), "{metrics}");
    // The numbers of the family that is not traced any more.
    let labels = format!("{{agent=\"{SERVICE}\",syscall=\"{CALL}\"}}");
    for metric in ["syscall_total", "syscall_duration_seconds_count"] {
        assert_eq!(value(&metrics, &format!("{metric}{labels}")), Some(5.0));
    }
    traced.reload(off, on);
    assert_eq!(is_up(&nothing_is_down(&traced)), Some(1.0));
    // None of those five.
    wait_for(&traced, 3);
    assert!(arrived <= 5 && traced.arrived() == arrived, "{arrived}");
    sleeper.sleep(2, SHORT);
    wait_for(&traced, 5);
    drop(sleeper);
    let spans = traced.spans();
    assert_eq!(calls(&spans).len(), 5);
}

#[test]
fn a_threshold_is_another_one() {
    let traced = traced("200ms", "");
    let mut sleeper = Sleeper::start(&traced.agent);
    sleeper.sleep(2, SHORT);
    sleeper.sleep(1, LONG);
    wait_for(&traced, 1);
    traced.reload("'200ms'", "'10ms'");
    sleeper.sleep(3, SHORT);
    wait_for(&traced, 4);
    traced.reload("'10ms'", "'200ms'");
    sleeper.sleep(2, SHORT);
    sleeper.sleep(1, LONG);
    wait_for(&traced, 5);
    nothing_is_down(&traced);
    drop(sleeper);
    let spans = traced.spans();
    let mut calls = calls(&spans);
    calls.sort_by_key(|call| call.times());
    let want = [LONG, SHORT, SHORT, SHORT, LONG];
    assert_eq!(calls.len(), want.len());
    for (call, least) in calls.iter().zip(want) {
        let lasted = lasted(call);
        // A thread may wait for a CPU when its time is over.
        assert!((least..least + LONG / 2).contains(&lasted), "{lasted:?}");
    }
}

#[test]
fn no_call_is_told_of_twice_while_families_change_over() {
    const BEFORE: u32 = 1_500;
    const AFTER: u32 = 50;
    let pause = Duration::from_millis(2);
    let traced = traced("1ms", "");
    let mut sleeper = Sleeper::start(&traced.agent);
    sleeper.begin(BEFORE.into(), pause);
    poll_until("some calls are spans", || {
        (generated(&traced.agent.fresh_metrics()) > 10.5).then_some(())
    });
    traced.reload("'1ms'", "'1500us'");
    assert_eq!(sleeper.made(), u64::from(BEFORE));
    let before = generated(&nothing_is_down(&traced));
    assert!(before < f64::from(BEFORE) + 0.5, "{before}");
    sleeper.sleep(AFTER.into(), pause);
    let all = generated(&nothing_is_down(&traced));
    assert!(
        (all - before - f64::from(AFTER)).abs() < 0.5,
        "{before}, {all}"
    );
    drop(sleeper);
    // An id that came twice would be found there.
    let spans = traced.spans();
    let count = calls(&spans).len() as f64;
    assert!((count - all).abs() < 0.5, "{count} of {all}");
}

#[test]
fn the_source_begins_when_there_is_a_family_to_trace() {
    let families = [
        "process", "sched", "block", "net", "syscalls", "cuda", "host",
    ];
    let off = families.map(|name| format!("[sources.{name}]\nenabled = false\n"));
    let traced = traced("10ms", &off.concat());
    assert_eq!(is_up(&traced.agent.fresh_metrics()), Some(0.0));
    for name in ["process", "syscalls"] {
        let section = format!("[sources.{name}]\nenabled = ");
        traced.reload(&format!("{section}false"), &format!("{section}true"));
    }
    let mut sleeper = Sleeper::start(&traced.agent);
    sleeper.sleep(3, SHORT);
    wait_for(&traced, 3);
    assert_eq!(is_up(&traced.agent.fresh_metrics()), Some(1.0));
    drop(sleeper);
    assert_eq!(calls(&traced.spans()).len(), 3);
}
