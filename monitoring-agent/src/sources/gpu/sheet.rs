//! Metrics while they are filled, device by device. Knows nothing of GPUs.

use std::collections::BTreeMap;

use prometheus::proto::MetricFamily;

use crate::families::Family;

/// A metric's name, kind and help text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Metric {
    name: &'static str,
    help: &'static str,
    is_counter: bool,
}

impl Metric {
    /// A metric whose values rise and fall.
    pub(super) const fn gauge(name: &'static str, help: &'static str) -> Self {
        Self {
            name,
            help,
            is_counter: false,
        }
    }

    /// A metric whose values only grow.
    pub(super) const fn counter(name: &'static str, help: &'static str) -> Self {
        Self {
            name,
            help,
            is_counter: true,
        }
    }
}

/// All metrics of a collection, by name.
#[derive(Debug, Default)]
pub(super) struct Sheet(BTreeMap<&'static str, Family>);

impl Sheet {
    /// Samples that have these labels in common.
    pub(super) fn rows(&mut self, labels: &[(&'static str, &str)]) -> Rows<'_> {
        let labels = labels
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()));
        Rows {
            labels: labels.collect(),
            sheet: self,
        }
    }

    /// The metrics that have samples.
    pub(super) fn finish(self) -> Vec<MetricFamily> {
        self.0.into_values().map(Family::build).collect()
    }
}

/// Samples that have some labels in common.
#[derive(Debug)]
pub(super) struct Rows<'a> {
    sheet: &'a mut Sheet,
    labels: Vec<(&'static str, String)>,
}

impl Rows<'_> {
    /// The same with more labels in common.
    pub(super) fn with(&mut self, labels: &[(&'static str, &str)]) -> Rows<'_> {
        let more = labels
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()));
        Rows {
            labels: self.labels.iter().cloned().chain(more).collect(),
            sheet: self.sheet,
        }
    }

    /// Adds a sample without labels of its own, unless there is no value.
    pub(super) fn put(&mut self, metric: &Metric, value: impl Into<Option<f64>>) {
        self.put_with(metric, &[], value);
    }

    /// Adds a sample, unless there is no value. NaN and infinities are none.
    pub(super) fn put_with(
        &mut self,
        metric: &Metric,
        own: &[(&str, &str)],
        value: impl Into<Option<f64>>,
    ) {
        let Some(value) = value.into().filter(|value| value.is_finite()) else {
            return;
        };
        let common = self.labels.iter().map(|(name, value)| (*name, &**value));
        let mut labels: Vec<_> = common.chain(own.iter().copied()).collect();
        labels.sort_unstable_by_key(|(name, _)| *name);
        let family = self.sheet.0.entry(metric.name).or_insert_with(|| {
            let new = if metric.is_counter {
                Family::counter
            } else {
                Family::gauge
            };
            new(metric.name, metric.help)
        });
        family.push(&labels, value);
    }
}
