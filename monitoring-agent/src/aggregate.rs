//! The sole writer of totals: asks the sources, takes their reports, publishes snapshots.
//!
//! It knows sources by name and exporters not at all. A snapshot is published as soon as all
//! sources have reported, or at the deadline with the last good numbers of those that have not.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use prometheus::proto::MetricFamily;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{self, Interval, MissedTickBehavior},
};
use tracing::warn;

use crate::{
    collector::{Collector, Report},
    snapshot::Snapshot,
    source::Ended,
    telemetry::{self, SourceState},
};

/// Reports that may wait for the aggregator. There are fewer sources than that.
pub const WAITING_REPORTS: usize = 16;

/// Most series of one metric. What is beyond is counted in
/// `monitoring_agent_series_limited_total`: a scrape must stay bounded whatever the node does.
const MAX_SERIES: usize = 10_000;

/// A source that has not reported after this part of the interval is overdue.
const DEADLINE_SHARE: f64 = 0.5;

/// What the log says of a source that has not answered.
const OVERDUE: &str = "it has not answered; its last numbers stay";

/// What the pipeline tells the aggregator.
#[derive(Debug)]
pub enum Command {
    /// A source started, or did not and why.
    Started(&'static str, Result<Collector, String>),
    /// A source is not wanted any more; answers with its thread, if there is one.
    Stop(&'static str, oneshot::Sender<Option<JoinHandle<()>>>),
    /// Answers with the sources that cannot go on, see [`Ended`].
    Ended(oneshot::Sender<Vec<&'static str>>),
    /// Collect at another interval from now on.
    Interval(Duration),
    /// Stop everything; answers with the sources' threads.
    Shutdown(oneshot::Sender<Vec<JoinHandle<()>>>),
}

/// The state of all sources.
pub struct Aggregate {
    active: BTreeMap<&'static str, Active>,
    states: BTreeMap<&'static str, SourceState>,
    /// Series beyond the limit, by metric, since the start.
    limited: BTreeMap<String, u64>,
    published: watch::Sender<Arc<Snapshot>>,
    /// Sources whose answers the next snapshot waits for.
    awaited: BTreeSet<&'static str>,
    /// When the sources were last asked: no number of the next snapshot is older, except those
    /// of sources that are not up.
    asked: Instant,
    own: OwnMetrics,
}

/// A source that runs.
struct Active {
    collector: Collector,
    /// Whether it was asked and has not answered.
    busy: bool,
    /// Whether it cannot go on.
    has_ended: bool,
}

/// Metrics of parts of the agent that are no sources, read at each snapshot.
pub struct OwnMetrics(pub Box<dyn Fn() -> Vec<MetricFamily> + Send>);

impl Aggregate {
    /// An aggregate without sources, which publishes to `published`.
    pub fn new(published: watch::Sender<Arc<Snapshot>>, own: OwnMetrics) -> Self {
        Self {
            active: BTreeMap::new(),
            states: BTreeMap::new(),
            limited: BTreeMap::new(),
            published,
            awaited: BTreeSet::new(),
            asked: Instant::now(),
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
                    // Whoever asks may have gone.
                    Some(Command::Stop(name, thread)) => drop(thread.send(self.stop(name))),
                    Some(Command::Ended(names)) => drop(names.send(self.ended())),
                    Some(Command::Interval(interval)) => {
                        ticks = ticker(interval);
                        deadline_share = interval.mul_f64(DEADLINE_SHARE);
                    }
                    Some(Command::Shutdown(done)) => {
                        let stopped = std::mem::take(&mut self.active).into_values();
                        let stopped = stopped.map(|active| active.collector.stop());
                        // Whoever asked may have gone; the threads end all the same.
                        let _ = done.send(stopped.collect());
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
                let busy = collector.request();
                let active = Active {
                    collector,
                    busy,
                    has_ended: false,
                };
                self.active.insert(name, active);
                self.awaited.insert(name);
            }
            Err(_) => state.up = false,
        }
    }

    fn stop(&mut self, name: &'static str) -> Option<JoinHandle<()>> {
        self.states.remove(name);
        self.awaited.remove(name);
        let active = self.active.remove(name);
        active.map(|active| active.collector.stop())
    }

    fn ended(&self) -> Vec<&'static str> {
        let ended = self.active.iter().filter(|(_, active)| active.has_ended);
        ended.map(|(name, _)| *name).collect()
    }

    /// Asks all sources that are not busy; the others are overdue for one more interval.
    fn ask_all(&mut self) {
        self.asked = Instant::now();
        for (name, active) in &mut self.active {
            if active.busy {
                if let Some(state) = self.states.get_mut(name) {
                    state.failed(name, "overdue", OVERDUE);
                }
            } else {
                active.busy = active.collector.request();
                self.awaited.insert(name);
            }
        }
    }

    fn take(&mut self, report: Report) {
        // A report of an earlier start of the source has nothing to do with this one.
        let active = self.active.get_mut(report.source);
        let active = active.filter(|active| active.collector.instance() == report.instance);
        let (Some(active), Some(state)) = (active, self.states.get_mut(report.source)) else {
            return;
        };
        active.busy = false;
        let in_time = self.awaited.remove(report.source);
        state.collect_seconds = report.took.as_secs_f64();
        match report.result {
            Ok(batch) => state.accept(report.source, batch, report.begun, in_time),
            Err(error) => {
                active.has_ended = error.is::<Ended>();
                state.failed(report.source, "collect_failed", &format!("{error:#}"));
            }
        }
    }

    /// Whether a source reported after the snapshot that should have had its numbers.
    fn has_late_numbers(&self) -> bool {
        self.states.values().any(|state| state.families.is_some())
    }

    /// Stops waiting for the sources that have not answered.
    fn overdue(&mut self) {
        for name in std::mem::take(&mut self.awaited) {
            if let Some(state) = self.states.get_mut(name) {
                state.failed(name, "overdue", OVERDUE);
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
        let ready = last.ready || self.states.values().any(|state| state.up);
        let snapshot = Snapshot {
            number: last.number + 1,
            taken: self.asked,
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
