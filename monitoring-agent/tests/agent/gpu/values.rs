//! Every metric with the value that the script gives it: none more, none less, exact.

use std::collections::BTreeMap;

use super::{
    everything::{INSTANCE, WHOLE},
    *,
};

/// Metrics that are there only from the second poll on, or when an event has come.
const LATER: [&str; 4] = [
    "gpu_sm_activity_ratio{",
    "gpu_mig_sm_activity_ratio{",
    "gpu_process_sm_utilization_ratio{",
    "gpu_xid_errors_total{",
];

/// Whether there is all that [`EVERYTHING`] makes.
pub(crate) fn is_complete(metrics: &str) -> bool {
    LATER.iter().all(|name| metrics.contains(name))
}

/// Whether the GPUs have been read twice, so that critical errors are listened for.
pub(crate) fn is_read_twice(metrics: &str) -> bool {
    metrics.contains(LATER[0])
}

/// These samples with more labels, by name and labels in the order of the text format.
fn expected(samples: &str, more: &[(&str, &str)]) -> BTreeMap<String, f64> {
    let lines = samples.lines().filter(|line| !line.is_empty());
    let sample = |line: &str| {
        let (name, value) = line.rsplit_once(' ').unwrap();
        let (metric, labels) = name.split_once('{').unwrap_or((name, "}"));
        let labels = labels.strip_suffix('}').unwrap();
        let labels = labels.split(',').filter(|label| !label.is_empty());
        let more = more
            .iter()
            .map(|(name, value)| format!("{name}=\"{value}\""));
        let mut labels: Vec<_> = labels.map(str::to_owned).chain(more).collect();
        labels.sort();
        (
            format!("{metric}{{{}}}", labels.join(",")),
            value.parse().unwrap(),
        )
    };
    lines.map(sample).collect()
}

/// The samples of these metrics that have all of these labels.
fn found(metrics: &str, prefix: &str, labels: &[(&str, &str)]) -> BTreeMap<String, f64> {
    let has_all = |name: &str| {
        let mut labels = labels.iter();
        labels.all(|(label, value)| name.contains(&format!("{label}=\"{value}\"")))
    };
    let lines = metrics.lines().filter(|line| line.starts_with(prefix));
    let samples = lines.filter_map(|line| line.rsplit_once(' '));
    let ours = samples.filter(|(name, _)| has_all(name));
    ours.map(|(name, value)| (name.to_owned(), value.parse().unwrap()))
        .collect()
}

fn check(metrics: &str, prefix: &str, labels: &[(&str, &str)], samples: &str) {
    let (found, want) = (found(metrics, prefix, labels), expected(samples, labels));
    let mut wrong = Vec::new();
    for name in found.keys().chain(want.keys()) {
        let (found, want) = (found.get(name), want.get(name));
        if found != want {
            wrong.push(format!("{name} is {found:?}, not {want:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_metric_has_the_scripted_value() {
    let node = Node::new(&without_errors());
    let agent = node.working_agent("");
    wait_until(&agent, "the GPUs are read twice", is_read_twice);
    node.rewrite(EVERYTHING);
    let metrics = wait_until(&agent, "all has been read", |metrics| {
        is_complete(metrics)
            && value(metrics, &xid("79")) == Some(2.0)
            && value(metrics, &xid("31")) == Some(1.0)
    });
    check(
        &metrics,
        "gpu_",
        &[("device_id", "0"), ("uuid", "GPU-0")],
        WHOLE,
    );
    let instance = [
        ("device_id", "1"),
        ("uuid", "GPU-1"),
        ("gpu_instance_id", "9"),
        ("compute_instance_id", "1"),
    ];
    check(&metrics, "gpu_mig_", &instance, INSTANCE);
    // What belongs to instances is nowhere else.
    assert_eq!(
        found(&metrics, "gpu_mig_", &[]).len(),
        INSTANCE.trim().lines().count()
    );
}

fn xid(code: &str) -> String {
    format!("gpu_xid_errors_total{{device_id=\"0\",uuid=\"GPU-0\",xid=\"{code}\"}}")
}

#[test]
fn critical_errors_are_counted_and_said_one_by_one() {
    let node = Node::new(&without_errors());
    let agent = node.working_agent("");
    wait_until(&agent, "the GPUs are read twice", is_read_twice);
    node.rewrite(EVERYTHING);
    wait_until(&agent, "three errors", |metrics| {
        value(metrics, &xid("79")) == Some(2.0) && value(metrics, &xid("31")) == Some(1.0)
    });
    let said = |code: &str| {
        let log = agent.process.log();
        let lines = log
            .lines()
            .filter(|line| line.contains(&format!("xid={code}")));
        let good = lines.filter(|line| line.contains("WARN") && line.contains("GPU-0"));
        good.count()
    };
    poll_until("each has a line", || {
        (said("79") == 2 && said("31") == 1).then_some(())
    });
    // One more of a kind that was there before.
    let more = "[[gpus.xids]]\ncode = 79\n\n[[gpus.processes]]";
    node.rewrite(&EVERYTHING.replacen("[[gpus.processes]]", more, 1));
    wait_until(&agent, "the repetition", |metrics| {
        value(metrics, &xid("79")) == Some(3.0)
    });
    poll_until("it has a line", || (said("79") == 3).then_some(()));
    assert_eq!(said("31"), 1);
}
