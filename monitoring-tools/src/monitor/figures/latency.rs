//! How long things take: every histogram that the node tells, over the last interval.

use std::collections::HashSet;

use super::name;
use crate::monitor::{
    change::Change,
    distribution::{Distribution, Quantile},
};

/// What histograms are told apart by; all else is put together.
const APART: [(&str, &[&str]); 9] = [
    ("sched_runqueue_latency_seconds", &["agent"]),
    ("syscall_duration_seconds", &["syscall"]),
    ("block_io_duration_seconds", &["device", "operation"]),
    ("block_io_queue_seconds", &["device", "operation"]),
    ("tcp_rtt_seconds", &["agent"]),
    ("cluster_peer_rtt_seconds", &["peer"]),
    ("cuda_call_duration_seconds", &["call"]),
    ("gpu_kernel_execution_seconds", &["agent"]),
    ("tcp_connect_duration_seconds", &["agent"]),
];

/// A row for each of so many values of the labels of one metric, those with most; a node has
/// hundreds of system calls.
const ROWS_OF_ONE: usize = 12;

/// Most values of the labels of one metric that are looked at; there are fewer than 500 system calls.
const GROUPS: usize = 500;

/// Most rows of all metrics together; an agent has some hundred.
const MOST: usize = 1000;

/// A distribution of the last interval.
#[derive(Debug)]
pub(in crate::monitor) struct Latency {
    /// The metric, without what its name ends in.
    pub(in crate::monitor) metric: String,
    /// Values of the labels that it is told apart by.
    pub(in crate::monitor) what: String,
    /// Whether its values are seconds, and not bytes or anything else.
    pub(in crate::monitor) is_time: bool,
    /// Per second.
    pub(in crate::monitor) rate: Option<f64>,
    pub(in crate::monitor) mean: Option<f64>,
    pub(in crate::monitor) p50: Option<Quantile>,
    pub(in crate::monitor) p99: Option<Quantile>,
}

impl Latency {
    /// What its past is kept under.
    pub(in crate::monitor) fn key(&self) -> String {
        format!("latency {} {}", self.metric, self.what)
    }
}

/// All of them, as the node orders its metrics, and within one those with most first.
pub(super) fn of(change: &Change<'_>) -> Vec<Latency> {
    let names: Vec<&str> = change.new.histograms().collect();
    names
        .into_iter()
        .flat_map(|name| rows(change, name))
        .take(MOST)
        .collect()
}

fn rows(change: &Change<'_>, metric: &str) -> Vec<Latency> {
    let apart = APART.iter().find(|(name, _)| *name == metric);
    let labels = apart.map_or(&[][..], |(_, labels)| labels);
    let mut seen = HashSet::new();
    let all = change.new.metrics(metric).iter();
    let groups =
        all.map(|one| -> Vec<&str> { labels.iter().map(|label| one.label(label)).collect() });
    let mut rows: Vec<Latency> = groups
        .filter(|values| seen.insert(values.clone()))
        .take(GROUPS)
        .map(|values| {
            let wanted: Vec<(&str, &str)> =
                labels.iter().copied().zip(values.iter().copied()).collect();
            row(
                metric,
                &values,
                change.distribution(metric, &wanted).as_ref(),
                change,
            )
        })
        .collect();
    let number = |row: &Latency| row.rate.unwrap_or(-1.0);
    rows.sort_by(|one, two| number(two).total_cmp(&number(one)));
    rows.truncate(ROWS_OF_ONE);
    rows
}

fn row(metric: &str, values: &[&str], all: Option<&Distribution>, change: &Change<'_>) -> Latency {
    let quantile = |share| all.and_then(|all| all.quantile(share));
    let (p50, p99) = (quantile(0.5), quantile(0.99));
    let rate = all.map(|all| all.count as f64);
    Latency {
        metric: name(metric.strip_suffix("_seconds").unwrap_or(metric)),
        what: name(&values.join(" ")),
        is_time: metric.ends_with("_seconds"),
        rate: rate
            .zip(change.seconds())
            .map(|(count, seconds)| count / seconds),
        mean: all.and_then(Distribution::mean),
        p50,
        p99,
    }
}
