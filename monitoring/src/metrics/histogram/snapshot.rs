//! A histogram at one moment.

use crate::metrics::instrument::Distribution;

/// What a histogram had counted at one moment.
///
/// An observation that was being made at that moment may be in the count and not yet in the sum.
#[derive(Clone, Debug, PartialEq)]
pub struct HistogramSnapshot {
    /// Upper bounds, and how many observations were not above them.
    buckets: Vec<(f64, u64)>,
    sum: f64,
}

impl HistogramSnapshot {
    pub(super) fn new(bounds: &[f64], distribution: &Distribution) -> Self {
        let mut cumulative = 0;
        let counts = distribution.counts.iter().map(|count| {
            cumulative += count;
            cumulative
        });
        let bounds = bounds.iter().copied().chain([f64::INFINITY]);
        Self {
            buckets: bounds.zip(counts).collect(),
            sum: distribution.sum,
        }
    }

    /// The buckets, as Prometheus has them: an upper bound, and how many observations were not above
    /// it. The last bound is `+Inf`.
    pub fn buckets(&self) -> impl ExactSizeIterator<Item = (f64, u64)> + '_ {
        self.buckets.iter().copied()
    }

    /// The number of observations.
    pub fn count(&self) -> u64 {
        self.buckets.last().map_or(0, |(_, count)| *count)
    }

    /// The sum of all observations, in their unit.
    pub fn sum(&self) -> f64 {
        self.sum
    }
}
