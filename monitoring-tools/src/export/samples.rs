//! Metrics taken apart into single values, which text and tables have a line for each of.

use std::fmt;

use crate::scrape::family::{Label, Metric, Value};

/// One value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample<'a> {
    /// What follows the family's name: `_bucket`, `_sum`, `_count`, or nothing.
    pub(super) suffix: &'static str,
    /// The metric's labels.
    pub(super) labels: &'a [Label],
    /// `le` or `quantile`.
    pub(super) bound: Option<(&'static str, f64)>,
    /// What was measured.
    pub(super) value: Number,
}

/// A value, in full precision.
#[derive(Clone, Copy, Debug)]
pub(super) enum Number {
    /// A measurement.
    Real(f64),
    /// A count of a distribution.
    Count(u64),
}

impl fmt::Display for Number {
    /// As few digits as give the same value again; infinity and what is no number as Prometheus
    /// writes them.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Count(count) => count.fmt(out),
            Self::Real(f64::INFINITY) => out.write_str("+Inf"),
            Self::Real(f64::NEG_INFINITY) => out.write_str("-Inf"),
            Self::Real(value) => value.fmt(out),
        }
    }
}

/// The values of a metric, in the order in which Prometheus has them.
pub(super) fn of(metric: &Metric) -> Vec<Sample<'_>> {
    let sample = |suffix, bound, value| Sample {
        suffix,
        labels: &metric.labels,
        bound,
        value,
    };
    let ends = |sum: Option<f64>, count: Option<u64>| {
        let sum = sum.map(|sum| sample("_sum", None, Number::Real(sum)));
        let count = count.map(|count| sample("_count", None, Number::Count(count)));
        sum.into_iter().chain(count)
    };
    match &metric.value {
        Value::Number(value) => vec![sample("", None, Number::Real(*value))],
        Value::Histogram(histogram) => {
            let last = [(f64::INFINITY, histogram.count)];
            let buckets = histogram.buckets.iter().chain(&last);
            buckets
                .map(|(end, count)| sample("_bucket", Some(("le", *end)), Number::Count(*count)))
                .chain(ends(histogram.sum, Some(histogram.count)))
                .collect()
        }
        Value::Summary(summary) => {
            let quantiles = summary.quantiles.iter();
            quantiles
                .map(|(at, value)| sample("", Some(("quantile", *at)), Number::Real(*value)))
                .chain(ends(summary.sum, summary.count))
                .collect()
        }
    }
}
