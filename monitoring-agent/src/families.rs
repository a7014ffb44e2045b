//! Builds metric families, the interchange between sources and exporters.

use monitoring_common::histogram::{self, FIRST_EXPONENT};
use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType,
};

/// The first and the last bucket of a duration histogram in the text formats end at 2 to this
/// power of seconds: about 1 µs and 16 s.
const TEXT_EXPONENTS: (i32, i32) = (-20, 4);

/// Every second power of two is a bucket in the text formats: few series, a factor of 4 apart.
const TEXT_STEP: usize = 2;

/// A metric family under construction.
///
/// # Example
///
/// ```
/// use monitoring_agent::families::Family;
///
/// let family = Family::counter("requests_total", "Requests served.")
///     .with(&[("code", "200")], 7.0)
///     .with(&[("code", "500")], 1.0)
///     .build();
/// assert_eq!(family.get_metric().len(), 2);
/// ```
#[derive(Debug)]
pub struct Family(MetricFamily);

impl Family {
    /// A family of values that only grow.
    pub fn counter(name: &str, help: &str) -> Self {
        Self::new(name, help, MetricType::COUNTER)
    }

    /// A family of values that rise and fall.
    pub fn gauge(name: &str, help: &str) -> Self {
        Self::new(name, help, MetricType::GAUGE)
    }

    /// A family of distributions.
    pub fn histogram(name: &str, help: &str) -> Self {
        Self::new(name, help, MetricType::HISTOGRAM)
    }

    fn new(name: &str, help: &str, kind: MetricType) -> Self {
        let mut family = MetricFamily::default();
        family.set_name(name.to_owned());
        family.set_help(help.to_owned());
        family.set_field_type(kind);
        Self(family)
    }

    /// Adds a sample to a counter or gauge.
    #[must_use]
    pub fn with(mut self, labels: &[(&str, &str)], value: f64) -> Self {
        self.push(labels, value);
        self
    }

    /// Adds a sample to a counter or gauge.
    pub fn push(&mut self, labels: &[(&str, &str)], value: f64) {
        let mut metric = labelled(labels);
        if self.0.get_field_type() == MetricType::COUNTER {
            let mut counter = Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        } else {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
        self.0.mut_metric().push(metric);
    }

    /// Adds a distribution: cumulative counts by upper bound (without `+Inf`), count and sum.
    pub fn push_histogram(
        &mut self,
        labels: &[(&str, &str)],
        buckets: impl IntoIterator<Item = (f64, u64)>,
        count: u64,
        sum: f64,
    ) {
        let buckets = buckets.into_iter().map(|(upper_bound, cumulative_count)| {
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(upper_bound);
            bucket.set_cumulative_count(cumulative_count);
            bucket
        });
        let mut histogram = Histogram::default();
        histogram.set_bucket(buckets.collect());
        histogram.set_sample_count(count);
        histogram.set_sample_sum(sum);
        let mut metric = labelled(labels);
        metric.set_histogram(histogram);
        self.0.mut_metric().push(metric);
    }

    /// Adds a kernel histogram of durations, in seconds.
    ///
    /// Of the kernel's slots, which are a factor of 2 apart, the text formats get every second
    /// one as a bucket; each bucket is exact.
    pub fn push_durations(&mut self, labels: &[(&str, &str)], durations: &histogram::Histogram) {
        let (first, last) = TEXT_EXPONENTS;
        let mut cumulative = 0;
        let ends = durations
            .slots
            .iter()
            .zip(FIRST_EXPONENT..)
            .filter_map(|(count, exponent)| {
                cumulative += count;
                let shown = (first..=last).step_by(TEXT_STEP).any(|end| end == exponent);
                shown.then(|| (f64::from(exponent).exp2(), cumulative))
            });
        let ends: Vec<_> = ends.collect();
        let sum_seconds = durations.sum_ns as f64 / 1e9;
        self.push_histogram(labels, ends, durations.count(), sum_seconds);
    }

    /// The finished family. One without samples is not exported.
    pub fn build(self) -> MetricFamily {
        self.0
    }
}

fn labelled(labels: &[(&str, &str)]) -> Metric {
    let pairs = labels.iter().map(|(name, value)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    });
    Metric::from_label(pairs.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::float_cmp, reason = "powers of two are exact")]
    fn durations_become_cumulative_buckets() {
        let mut durations = histogram::Histogram::EMPTY;
        // 2^-22 s, just over 2^-20 s, exactly 1 s, just over 16 s.
        for duration_ns in [238, 954, 1_000_000_000, 16_000_000_001] {
            durations.observe(duration_ns);
        }
        let mut family = Family::histogram("h_seconds", "Help.");
        family.push_durations(&[("a", "b")], &durations);
        let family = family.build();
        let histogram = family.get_metric()[0].get_histogram();
        let counts = histogram
            .get_bucket()
            .iter()
            .map(|b| (b.upper_bound(), b.cumulative_count()));
        let at = |bound: f64| {
            counts
                .clone()
                .find(|(upper, _)| *upper == bound)
                .map(|(_, n)| n)
        };
        assert_eq!(at(2_f64.powi(-20)), Some(1));
        assert_eq!(at(2_f64.powi(-18)), Some(2));
        assert_eq!(at(0.25), Some(2));
        assert_eq!(at(1.0), Some(3));
        assert_eq!(at(16.0), Some(3));
        assert_eq!(counts.count(), 13);
        assert_eq!(histogram.get_sample_count(), 4);
        assert_eq!(histogram.get_sample_sum(), 17.000_001_193);
    }
}
