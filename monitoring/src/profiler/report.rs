//! What scopes have taken up to a moment, in units of time.

use std::{collections::HashMap, sync::Arc, time::Duration};

use super::{histogram::Durations, totals::Totals};
use crate::clock::Calibration;

/// What the scopes of a profiler have taken so far, on all threads, those that have ended included.
///
/// Holds what was recorded up to the moment of [`Profiler::report`](super::Profiler::report), and
/// changes no more. A scope counts once it has ended: one that is open is not in here, but what it
/// has entered and left again is. Of a scope that ends while the report is made, a part may be
/// missing until the next report.
///
/// Written with `{}` it is a table for people; [`to_json`](Self::to_json) and
/// [`to_folded`](Self::to_folded) are for programs.
///
/// # Accuracy
///
/// Counts, sums, averages, shortest and longest are exact, to the clock's resolution. Quantiles are
/// of nearest rank, from buckets in which a duration is known to 1/64 of itself (1.6 %).
#[derive(Clone, Debug)]
pub struct ProfileReport {
    scopes: Vec<ScopeReport>,
    names: HashMap<Arc<str>, usize>,
    paths: Vec<PathReport>,
    sample_rate: f64,
    sampled_out: u64,
}

/// One scope, by whatever path it was entered.
#[derive(Clone, Debug)]
pub struct ScopeReport {
    name: Arc<str>,
    count: u64,
    total: Duration,
    self_time: Duration,
    durations: Durations,
    calibration: Calibration,
}

/// One path of scopes, from an outermost one inwards.
#[derive(Clone, Debug)]
pub struct PathReport {
    names: Vec<Arc<str>>,
    count: u64,
    total: Duration,
    self_time: Duration,
}

impl ProfileReport {
    pub(super) fn new(totals: Totals, sample_rate: f64) -> Self {
        let calibration = Calibration::start();
        let duration = |ticks| Duration::from_nanos(calibration.nanoseconds(ticks));
        let mut sums = vec![(0, 0); totals.scopes.len()];
        let mut paths: Vec<PathReport> = Vec::with_capacity(totals.paths.len());
        for path in &totals.paths {
            let (total, own) = &mut sums[path.scope];
            *total += path.total;
            *own += path.own;
            let mut names = path
                .parent
                .map_or_else(Vec::new, |at| paths[at].names.clone());
            names.push(Arc::clone(&totals.scopes[path.scope].name));
            paths.push(PathReport {
                names,
                count: path.count,
                total: duration(path.total),
                self_time: duration(path.own),
            });
        }
        paths.sort_unstable_by(|a, b| a.names.cmp(&b.names));
        let scopes = totals.scopes.into_iter().zip(sums);
        let mut scopes: Vec<_> = scopes
            .map(|(scope, (total, own))| ScopeReport {
                count: scope.durations.count(),
                name: scope.name,
                total: duration(total),
                self_time: duration(own),
                durations: scope.durations,
                calibration,
            })
            .collect();
        scopes.sort_unstable_by(|a, b| {
            let by_time = b.self_time.cmp(&a.self_time);
            by_time.then_with(|| a.name.cmp(&b.name))
        });
        let names = scopes.iter().enumerate();
        Self {
            names: names
                .map(|(at, scope)| (Arc::clone(&scope.name), at))
                .collect(),
            scopes,
            paths,
            sample_rate,
            sampled_out: totals.sampled_out,
        }
    }

    /// The scopes, those with the most self time first.
    pub fn scopes(&self) -> &[ScopeReport] {
        &self.scopes
    }

    /// The scope of this name; `None` where none was entered.
    pub fn scope(&self, name: &str) -> Option<&ScopeReport> {
        self.names.get(name).map(|at| &self.scopes[*at])
    }

    /// The paths by which scopes were entered, in the order of their names.
    ///
    /// A scope that is entered from within itself, directly or by way of others, is no longer path:
    /// its time there belongs to the path on which it already is.
    pub fn paths(&self) -> &[PathReport] {
        &self.paths
    }

    /// The share of outermost scopes that is recorded, 0 to 1.
    pub fn sample_rate(&self) -> f64 {
        self.sample_rate
    }

    /// Outermost scopes that were entered and, by the sample rate, not recorded.
    pub fn sampled_out(&self) -> u64 {
        self.sampled_out
    }

    /// How often the scope ended; 0 for one that was never entered.
    pub fn count(&self, name: &str) -> u64 {
        self.scope(name).map_or(0, ScopeReport::count)
    }

    /// Mean duration in milliseconds. NaN for a scope that has never ended, as with all of the
    /// methods below: it is equal to nothing, and no limit is exceeded by it.
    pub fn avg_duration_ms(&self, name: &str) -> f64 {
        self.scope(name)
            .and_then(ScopeReport::avg)
            .map_or(f64::NAN, milliseconds)
    }

    /// Shortest duration in milliseconds.
    pub fn min_duration_ms(&self, name: &str) -> f64 {
        self.scope(name)
            .and_then(ScopeReport::min)
            .map_or(f64::NAN, milliseconds)
    }

    /// Longest duration in milliseconds.
    pub fn max_duration_ms(&self, name: &str) -> f64 {
        self.scope(name)
            .and_then(ScopeReport::max)
            .map_or(f64::NAN, milliseconds)
    }

    /// Median duration in milliseconds.
    pub fn p50_duration_ms(&self, name: &str) -> f64 {
        self.quantile_ms(name, 0.5)
    }

    /// Duration in milliseconds that nine of ten do not exceed.
    pub fn p90_duration_ms(&self, name: &str) -> f64 {
        self.quantile_ms(name, 0.9)
    }

    /// Duration in milliseconds that 99 of 100 do not exceed.
    pub fn p99_duration_ms(&self, name: &str) -> f64 {
        self.quantile_ms(name, 0.99)
    }

    fn quantile_ms(&self, name: &str, share: f64) -> f64 {
        let scope = self.scope(name);
        scope
            .and_then(|scope| scope.quantile(share))
            .map_or(f64::NAN, milliseconds)
    }
}

impl ScopeReport {
    /// The name that the scope was entered by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How often it ended.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Time that threads spent within it. A moment counts once, also where the scope was entered
    /// from within itself; of a future, only polling counts.
    pub fn total(&self) -> Duration {
        self.total
    }

    /// Time that threads spent within it and within no scope that was entered from it.
    pub fn self_time(&self) -> Duration {
        self.self_time
    }

    /// Mean duration; `None` if it has never ended.
    pub fn avg(&self) -> Option<Duration> {
        let sum = self.calibration.nanoseconds(self.durations.sum);
        sum.checked_div(self.count).map(Duration::from_nanos)
    }

    /// Shortest duration; `None` if it has never ended.
    pub fn min(&self) -> Option<Duration> {
        self.duration(self.durations.least())
    }

    /// Longest duration; `None` if it has never ended.
    pub fn max(&self) -> Option<Duration> {
        self.duration(self.durations.most())
    }

    /// The duration that this share does not exceed, 0.5 for the median; within 1/64 of the true
    /// one. A share below 0 or above 1 is taken for 0 or 1. `None` if the scope has never ended.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        self.duration(self.durations.quantile(share))
    }

    fn duration(&self, ticks: Option<u64>) -> Option<Duration> {
        let nanoseconds = self.calibration.nanoseconds(ticks?);
        Some(Duration::from_nanos(nanoseconds))
    }
}

impl PathReport {
    /// The names of its scopes, the outermost first. At least one.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.names.iter().map(|name| &**name)
    }

    /// How often its last scope ended on it.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Time that threads spent on it or on a path that begins with it.
    pub fn total(&self) -> Duration {
        self.total
    }

    /// Time that threads spent on it and on no longer path.
    pub fn self_time(&self) -> Duration {
        self.self_time
    }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
