//! The sole writer of totals: asks the sources, takes their reports, publishes snapshots.
//!
//! It knows sources by name and exporters not at all. A snapshot is published as soon as all
//! sources have reported, or at the deadline with the last good numbers of those that have not.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use prometheus::proto::MetricFamily;
use tokio::{
    sync::{mpsc, watch},
    time::{self, Interval, MissedTickBehavior},
};
use tracing::warn;

use crate::{
    collector::{Collector, Report},
    snapshot::Snapshot,
    telemetry::{self, SourceState},
};

/// Reports that may wait for the aggregator. There are fewer sources than that.
pub const WAITING_REPORTS: usize = 16;

/// Most series of one metric. What is beyond is counted in
/// `monitoring_agent_series_limited_total`: a scrape must stay bounded whatever the node does.
const MAX_SERIES: usize = 10_000;

/// A source that has not reported after this part of the interval is overdue.
const DEADLINE_SHARE: f64 = 0.5;

/// What the pipeline tells the aggregator.
#[derive(Debug)]
pub enum Command {
    /// A source started, or did not and why.
    Started(&'static str, Result<Collector, String>),
    /// A source is not wanted any more.
    Stop(&'static str),
    /// Collect at another interval from now on.
    Interval(Duration),
    /// Stop everything; answers with the sources' threads.
    Shutdown(tokio::sync::oneshot::Sender<Vec<std::thread::JoinHandle<()>>>),
}

/// The state of all sources.
pub struct Aggregate {
    collectors: BTreeMap<&'static str, Collector>,
    states: BTreeMap<&'static str, SourceState>,
    /// Series beyond the limit, by metric, since the start.
    limited: BTreeMap<String, u64>,
    published: watch::Sender<Arc<Snapshot>>,
    /// Sources that were asked and have not reported.
    awaited: BTreeSet<&'static str>,
    own: OwnMetrics,
}

/// Metrics of parts of the agent that are no sources, read at each snapshot.
pub struct OwnMetrics(pub Box<dyn Fn() -> Vec<MetricFamily> + Send>);

impl Aggregate {
    /// An aggregate without sources, which publishes to `published`.
    pub fn new(published: watch::Sender<Arc<Snapshot>>, own: OwnMetrics) -> Self {
        Self {
            collectors: BTreeMap::new(),
            states: BTreeMap::new(),
            limited: BTreeMap::new(),
            published,
            awaited: BTreeSet::new(),
            own,
        }
    }

    /// Collects and publishes until it is told to shut down.
    pub async fn run(
        mut self,
        interval: Duration,
        mut commands: mpsc::Receiver<Command>,
        mut reports: mpsc::Receiver<Report>,
    ) {
        let mut ticks = ticker(interval);
        let mut deadline_share = interval.mul_f64(DEADLINE_SHARE);
        let mut deadline: Option<Instant> = None;
        loop {
            let until_deadline = time::sleep_until(deadline.unwrap_or_else(Instant::now).into());
            tokio::select! {
                command = commands.recv() => match command {
                    Some(Command::Started(name, outcome)) => {
                        self.started(name, outcome);
                        deadline.get_or_insert_with(|| Instant::now() + deadline_share);
                    }
                    Some(Command::Stop(name)) => self.stop(name),
                    Some(Command::Interval(interval)) => {
                        ticks = ticker(interval);
                        deadline_share = interval.mul_f64(DEADLINE_SHARE);
                    }
                    Some(Command::Shutdown(done)) => {
                        let stopped = std::mem::take(&mut self.collectors).into_values();
                        // Whoever asked may have gone; the threads end all the same.
                        let _ = done.send(stopped.map(Collector::stop).collect());
                        return;
                    }
                    None => return,
                },
                _ = ticks.tick() => {
                    self.ask_all();
                    deadline = Some(Instant::now() + deadline_share);
                }
                Some(report) = reports.recv() => self.take(report),
                () = until_deadline, if deadline.is_some() => {
                    self.overdue();
                    deadline = None;
                    self.publish();
                }
            }
            if self.awaited.is_empty() && (deadline.take().is_some() || self.has_late_numbers()) {
                self.publish();
            }
        }
    }

    fn started(&mut self, name: &'static str, outcome: Result<Collector, String>) {
        let state = self.states.entry(name).or_default();
        match outcome {
            Ok(collector) => {
                if collector.request() {
                    self.awaited.insert(name);
                }
                self.collectors.insert(name, collector);
            }
            Err(_) => state.up = false,
        }
    }

    fn stop(&mut self, name: &'static str) {
        self.collectors.remove(name);
        self.states.remove(name);
        self.awaited.remove(name);
    }

    fn ask_all(&mut self) {
        for (name, collector) in &self.collectors {
            collector.request();
            self.awaited.insert(name);
        }
    }

    fn take(&mut self, report: Report) {
        self.awaited.remove(report.source);
        // A report of a source that was stopped meanwhile has no state to change.
        let Some(state) = self.states.get_mut(report.source) else {
            return;
        };
        state.collect_seconds = report.took.as_secs_f64();
        match report.result {
            Ok(batch) => {
                state.recovered(report.source);
                state.accept(batch);
            }
            Err(error) => state.failed(report.source, "collect_failed", &format!("{error:#}")),
        }
    }

    /// Whether a source reported after the snapshot that should have had its numbers.
    fn has_late_numbers(&self) -> bool {
        self.states.values().any(|state| state.families.is_some())
    }

    fn overdue(&mut self) {
        for name in &self.awaited {
            if let Some(state) = self.states.get_mut(name) {
                state.failed(
                    name,
                    "overdue",
                    "it has not answered; its last numbers stay",
                );
            }
        }
    }

    /// Publishes the newest numbers of all sources. Each source's families move into the
    /// snapshot; a source that brought none since the last one has them carried over.
    fn publish(&mut self) {
        let last = Arc::clone(&self.published.borrow());
        let mut families: Vec<MetricFamily> = Vec::with_capacity(last.families.len());
        for state in self.states.values_mut() {
            if let Some(fresh) = state.families.take() {
                let names = fresh.iter().map(|family| family.name().to_owned());
                state.names = names.collect();
                families.extend(fresh);
            } else {
                let of_state = |family: &&MetricFamily| state.names.contains(family.name());
                families.extend(last.families.iter().filter(of_state).cloned());
            }
        }
        for family in &mut families {
            limit_series(family, &mut self.limited);
        }
        families.extend(telemetry::families(&self.states, &self.limited));
        families.extend((self.own.0)());
        let ready = self.states.values().any(|state| state.up);
        let snapshot = Snapshot {
            number: last.number + 1,
            taken: Instant::now(),
            families: by_name(families),
            ready,
        };
        self.published.send_replace(Arc::new(snapshot));
    }
}

fn ticker(interval: Duration) -> Interval {
    let mut ticks = time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    ticks
}

/// Cuts a family to [`MAX_SERIES`] and adds to `limited` what it cut off.
fn limit_series(family: &mut MetricFamily, limited: &mut BTreeMap<String, u64>) {
    let Some(beyond @ 1..) = family.get_metric().len().checked_sub(MAX_SERIES) else {
        return;
    };
    family.mut_metric().truncate(MAX_SERIES);
    if !limited.contains_key(family.name()) {
        warn!(
            metric = family.name(),
            beyond, "over {MAX_SERIES} series; the rest is left out"
        );
    }
    *limited.entry(family.name().to_owned()).or_default() += beyond as u64;
}

/// Sorts by name and keeps what exporters may rely on: each name once, none without samples.
fn by_name(mut families: Vec<MetricFamily>) -> Vec<MetricFamily> {
    families.retain(|family| !family.get_metric().is_empty());
    families.sort_by(|left, right| left.name().cmp(right.name()));
    families.dedup_by(|later, first| {
        let same = later.name() == first.name();
        if same {
            first.mut_metric().append(later.mut_metric());
        }
        same
    });
    families
}

#[cfg(test)]
mod tests;
