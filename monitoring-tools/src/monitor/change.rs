//! What has happened between two snapshots of a node: increases, rates, distributions.
//!
//! All of it is exact for the time between the two, or absent. Absent is what began anew meanwhile,
//! and what nobody can tell from one snapshot alone.

use std::collections::HashMap;

use super::{
    distribution::Distribution,
    snapshot::{Snapshot, Wanted, has_labels},
};
use crate::scrape::family::{Histogram, Label, Metric, Value};

/// When the agent started: with it its own counts.
const STARTED: &str = "process_start_time_seconds";

/// Two snapshots, the older of which may be missing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Change<'a> {
    old: Option<&'a Snapshot>,
    /// The newer one.
    pub(super) new: &'a Snapshot,
}

impl<'a> Change<'a> {
    /// Between these. An agent that was started meanwhile counts from 0: nothing is known of the
    /// time before, not even where a count is larger than it was.
    pub(super) fn between(old: Option<&'a Snapshot>, new: &'a Snapshot) -> Self {
        let old = old.filter(|old| {
            old.value(STARTED, &[]) == new.value(STARTED, &[]) && old.taken < new.taken
        });
        Self { old, new }
    }

    /// The time between the two.
    pub(super) fn seconds(&self) -> Option<f64> {
        Some((self.new.taken - self.old?.taken).as_secs_f64())
    }

    /// By how much counters have grown, all with these labels together. Nothing if there are none,
    /// or if one has become smaller.
    ///
    /// A counter that is new in a family that was there counts from 0.
    pub(super) fn increase(&self, name: &str, wanted: Wanted<'_>) -> Option<f64> {
        let old = self.old?.metrics(name);
        let mut found = Found::among(old);
        let mut sum = None;
        for (at, metric) in self.new.metrics(name).iter().enumerate() {
            let Value::Number(value) = metric.value else {
                continue;
            };
            if !has_labels(metric, wanted) {
                continue;
            }
            let before = match found.of(metric, at).map(|old| &old.value) {
                Some(Value::Number(before)) => *before,
                _ if old.is_empty() => return None,
                _ => 0.0,
            };
            if value < before {
                return None;
            }
            *sum.get_or_insert(0.0) += value - before;
        }
        sum
    }

    /// The increase per second.
    pub(super) fn rate(&self, name: &str, wanted: Wanted<'_>) -> Option<f64> {
        Some(self.increase(name, wanted)? / self.seconds()?)
    }

    /// What histograms with these labels have seen, all together. Nothing if there are none, if one
    /// began anew, or if they have different buckets.
    pub(super) fn distribution(&self, name: &str, wanted: Wanted<'_>) -> Option<Distribution> {
        let old = self.old?.metrics(name);
        let mut found = Found::among(old);
        let mut sum: Option<Distribution> = None;
        for (at, metric) in self.new.metrics(name).iter().enumerate() {
            let Value::Histogram(histogram) = &metric.value else {
                continue;
            };
            if !has_labels(metric, wanted) {
                continue;
            }
            let empty = Histogram::default();
            let before = match found.of(metric, at).map(|old| &old.value) {
                Some(Value::Histogram(before)) => before,
                _ if old.is_empty() => return None,
                _ => &empty,
            };
            let grown = Distribution::between(before, histogram)?;
            match &mut sum {
                None => sum = Some(grown),
                Some(sum) => sum.add(&grown)?,
            }
        }
        sum
    }
}

/// Finds the metric with the same labels, which is at the same place nearly always.
struct Found<'a> {
    old: &'a [Metric],
    /// By their labels: made when one is at another place.
    by_labels: Option<HashMap<&'a [Label], &'a Metric>>,
}

impl<'a> Found<'a> {
    fn among(old: &'a [Metric]) -> Self {
        let by_labels = None;
        Self { old, by_labels }
    }

    fn of(&mut self, metric: &Metric, at: usize) -> Option<&'a Metric> {
        let near = self.old.get(at);
        if let Some(near) = near.filter(|old| old.labels == metric.labels) {
            return Some(near);
        }
        let index = self.by_labels.get_or_insert_with(|| {
            let old = self.old.iter();
            old.map(|old| (old.labels.as_slice(), old)).collect()
        });
        index.get(metric.labels.as_slice()).copied()
    }
}

#[cfg(test)]
mod tests;
