//! The agent's metrics about itself, loss included.

use std::{
    collections::{BTreeMap, HashSet},
    sync::LazyLock,
    time::Instant,
};

use procfs::{WithCurrentSystemInfo as _, process::Process};
use prometheus::proto::MetricFamily;
use tracing::{info, warn};

use crate::{
    families::Family,
    source::{Batch, MapState, Off, ProgramState},
};

/// What is known of one source.
#[derive(Debug, Default)]
pub struct SourceState {
    /// Whether its last collection succeeded in time.
    pub up: bool,
    /// How long its last collection took.
    pub collect_seconds: f64,
    /// Its newest metrics, until a snapshot takes them.
    pub families: Option<Vec<MetricFamily>>,
    /// Names of the metrics it has in the last snapshot.
    pub names: HashSet<String>,
    /// Collections that failed or were overdue, by reason.
    missed: BTreeMap<&'static str, u64>,
    /// Events the source says it lost, by reason.
    lost: BTreeMap<&'static str, u64>,
    programs: Vec<ProgramState>,
    maps: Vec<MapState>,
    /// When its newest numbers were read.
    numbers_at: Option<Instant>,
    /// Why it was off when it last said so, if it has not delivered since.
    off: Option<Off>,
    /// Whether it has ever delivered.
    has_delivered: bool,
    /// Whether the log already says that it fails.
    reported: bool,
}

impl SourceState {
    /// Takes up what a collection brought that began at this time. One that was in time marks the
    /// source as working, if it is.
    pub fn accept(&mut self, name: &str, batch: Batch, begun: Instant, in_time: bool) {
        self.families = Some(batch.families);
        self.lost = batch.lost.into_iter().collect();
        self.programs = batch.programs;
        self.maps = batch.maps;
        if let Some(off) = batch.off {
            self.turned_off(name, off);
        } else if let Some(why) = batch.stale {
            self.failed(name, "collect_failed", &why);
        } else if batch.starting {
            self.up = false;
        } else {
            self.numbers_at = Some(begun.checked_sub(batch.age).unwrap_or(begun));
            if in_time {
                self.recovered(name);
            }
        }
    }

    fn recovered(&mut self, name: &str) {
        self.up = true;
        let was_off = self.off.take().is_some();
        let again = if std::mem::replace(&mut self.has_delivered, true) {
            " again"
        } else {
            ""
        };
        if std::mem::take(&mut self.reported) || was_off {
            info!(source = name, "the source delivers{again}");
        }
    }

    /// Marks that there is nothing to deliver. Logged once, and again if it is for another reason.
    fn turned_off(&mut self, name: &str, off: Off) {
        self.up = false;
        self.reported = false;
        self.numbers_at = None;
        if self.off.as_ref() == Some(&off) {
            return;
        }
        let why = &off.why;
        if off.is_usual {
            info!(source = name, "source off: {why}");
        } else {
            warn!(source = name, "source off: {why}");
        }
        self.off = Some(off);
    }

    /// Marks a collection that brought nothing. Logged once until the source recovers.
    pub fn failed(&mut self, name: &str, reason: &'static str, why: &str) {
        self.up = false;
        *self.missed.entry(reason).or_default() += 1;
        if !std::mem::replace(&mut self.reported, true) {
            warn!(source = name, reason, "the source does not deliver: {why}");
        }
    }
}

/// The agent's own metrics.
pub fn families(
    states: &BTreeMap<&'static str, SourceState>,
    limited: &BTreeMap<String, u64>,
) -> Vec<MetricFamily> {
    let mut families = sources(states);
    families.extend(kernel_objects(states));
    let mut series = Family::counter(
        "monitoring_agent_series_limited_total",
        "Series over the limit of their metric, summed over the snapshots that left them out.",
    );
    for (name, beyond) in limited {
        series.push(&[("family", name)], *beyond as f64);
    }
    families.push(series.build());
    families.push(build_info());
    families.extend(own_process());
    families
}

fn sources(states: &BTreeMap<&'static str, SourceState>) -> Vec<MetricFamily> {
    let mut up = Family::gauge(
        "monitoring_agent_source_up",
        "Whether the source works: 1 if its last collection succeeded in time, else 0.",
    );
    let mut seconds = Family::gauge(
        "monitoring_agent_source_collect_seconds",
        "How long the source's last collection took.",
    );
    let mut age = Family::gauge(
        "monitoring_agent_source_age_seconds",
        "Age of the source's newest numbers when this snapshot was published. Rises while the \
         source hangs or fails.",
    );
    let now = Instant::now();
    let mut lost = Family::counter(
        "monitoring_agent_lost_total",
        "Events or collections that could not be accounted for, by source and reason.",
    );
    for (name, state) in states {
        up.push(&[("source", name)], f64::from(u8::from(state.up)));
        seconds.push(&[("source", name)], state.collect_seconds);
        if let Some(at) = state.numbers_at {
            let old = now.saturating_duration_since(at);
            age.push(&[("source", name)], old.as_secs_f64());
        }
        for (reason, count) in state.lost.iter().chain(&state.missed) {
            lost.push(&[("reason", reason), ("source", name)], *count as f64);
        }
    }
    vec![up.build(), seconds.build(), age.build(), lost.build()]
}

fn kernel_objects(states: &BTreeMap<&'static str, SourceState>) -> Vec<MetricFamily> {
    let mut attached = Family::gauge(
        "monitoring_agent_probe_attached",
        "Whether the kernel program is attached.",
    );
    let mut runs = Family::counter(
        "monitoring_agent_bpf_runs_total",
        "Runs of the kernel program. Only with BPF statistics (bpf_stats) on.",
    );
    let mut run_seconds = Family::counter(
        "monitoring_agent_bpf_run_seconds_total",
        "Time spent in the kernel program. Only with BPF statistics (bpf_stats) on.",
    );
    let mut entries = Family::gauge(
        "monitoring_agent_bpf_map_entries",
        "Entries in use in the kernel map.",
    );
    let mut bytes = Family::gauge(
        "monitoring_agent_bpf_map_bytes",
        "Kernel memory of the map, as the kernel accounts for it.",
    );
    for (name, state) in states {
        for program in &state.programs {
            let label = [("program", &*program.name)];
            let up = f64::from(u8::from(program.attached));
            attached.push(&[label[0], ("source", name)], up);
            if program.runs > 0 {
                runs.push(&label, program.runs as f64);
                run_seconds.push(&label, program.run_ns as f64 / 1e9);
            }
        }
        for map in &state.maps {
            let label = [("map", &*map.name)];
            bytes.push(&label, map.bytes as f64);
            if let Some(used) = map.entries {
                entries.push(&label, used as f64);
            }
        }
    }
    [attached, runs, run_seconds, entries, bytes]
        .map(Family::build)
        .into()
}

fn build_info() -> MetricFamily {
    Family::gauge(
        "monitoring_agent_build_info",
        "The agent's version and source revision; 1.",
    )
    .with(
        &[
            ("revision", env!("MONITORING_REVISION")),
            ("version", env!("CARGO_PKG_VERSION")),
        ],
        1.0,
    )
    .build()
}

/// The agent's process, by the names that every Prometheus client library uses.
fn own_process() -> Vec<MetricFamily> {
    static TICKS_PER_SECOND: LazyLock<f64> = LazyLock::new(|| procfs::ticks_per_second() as f64);
    let Ok(process) = Process::myself() else {
        return Vec::new();
    };
    let mut families = Vec::new();
    let mut gauge = |name: &str, help: &str, value: f64| {
        families.push(Family::gauge(name, help).with(&[], value).build());
    };
    if let Ok(fds) = process.fd_count() {
        gauge(
            "process_open_fds",
            "Open file descriptors of the agent.",
            fds as f64,
        );
    }
    let Ok(stat) = process.stat() else {
        return families;
    };
    let resident = stat.rss_bytes().get();
    gauge(
        "process_resident_memory_bytes",
        "Resident memory of the agent.",
        resident as f64,
    );
    if let Ok(boot) = procfs::boot_time_secs() {
        let started = boot as f64 + stat.starttime as f64 / *TICKS_PER_SECOND;
        gauge(
            "process_start_time_seconds",
            "When the agent started, in Unix time.",
            started,
        );
    }
    let cpu_seconds = (stat.utime + stat.stime) as f64 / *TICKS_PER_SECOND;
    families.push(
        Family::counter(
            "process_cpu_seconds_total",
            "CPU time of the agent, user and system.",
        )
        .with(&[], cpu_seconds)
        .build(),
    );
    families
}

#[cfg(test)]
mod tests;
