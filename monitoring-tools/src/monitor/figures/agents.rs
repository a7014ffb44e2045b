//! Watched process groups, and the rest of the node.

use std::collections::HashSet;

use super::{ROWS, name};
use crate::monitor::{change::Change, distribution::Quantile, snapshot::Wanted};

/// The families that name agents, the most telling first.
const NAMING: [&str; 4] = [
    "agent_active",
    "agent_cpu_seconds_total",
    "agent_threads",
    "syscall_total",
];

/// A group of processes. Rates are per second.
#[derive(Clone, Debug)]
pub(in crate::monitor) struct Agent {
    pub(in crate::monitor) name: String,
    pub(in crate::monitor) processes: Option<f64>,
    /// 1 is one CPU, all the time.
    pub(in crate::monitor) cpu: Option<f64>,
    pub(in crate::monitor) rss_bytes: Option<f64>,
    pub(in crate::monitor) fds: Option<f64>,
    pub(in crate::monitor) threads: Option<f64>,
    pub(in crate::monitor) calls: Option<f64>,
    pub(in crate::monitor) call_errors: Option<f64>,
    /// Since the agent started.
    pub(in crate::monitor) crashes: Option<f64>,
    /// In the last interval.
    pub(in crate::monitor) new_crashes: Option<f64>,
    pub(in crate::monitor) disk_bytes: Option<f64>,
    pub(in crate::monitor) network_bytes: Option<f64>,
    /// 99 % of waits for a CPU take no longer, in seconds.
    pub(in crate::monitor) waits_p99: Option<Quantile>,
}

/// All groups.
pub(super) fn of(change: &Change<'_>) -> Vec<Agent> {
    let (mut names, mut seen) = (Vec::new(), HashSet::new());
    for family in NAMING {
        for known in change.new.values_of(family, "agent") {
            if !known.is_empty() && seen.insert(known) {
                names.push(known);
            }
        }
    }
    let shown = names.into_iter().take(ROWS);
    shown.map(|name| agent(change, name)).collect()
}

fn agent(change: &Change<'_>, agent: &str) -> Agent {
    let wanted: Wanted<'_> = &[("agent", agent)];
    let value = |family: &str| change.new.value(family, wanted);
    let rate = |family: &str| change.rate(family, wanted);
    let waits = change.distribution("sched_runqueue_latency_seconds", wanted);
    // No error is no series: 0, where calls are counted at all.
    let calls = rate("syscall_total");
    let call_errors = rate("syscall_errors_total");
    let is_counted = calls.is_some() && change.new.has("syscall_errors_total");
    let is_without = value("syscall_errors_total").is_none();
    Agent {
        name: name(agent),
        processes: value("agent_active"),
        cpu: rate("agent_cpu_seconds_total"),
        rss_bytes: change
            .new
            .value("agent_memory_bytes", &[("agent", agent), ("kind", "rss")]),
        fds: value("agent_open_fds"),
        threads: value("agent_threads"),
        calls,
        call_errors: call_errors.or((is_counted && is_without).then_some(0.0)),
        crashes: value("agent_crashes_total"),
        new_crashes: change.increase("agent_crashes_total", wanted),
        disk_bytes: rate("block_io_bytes_total"),
        network_bytes: rate("net_socket_bytes_total"),
        waits_p99: waits.and_then(|waits| waits.quantile(0.99)),
    }
}
