//! Builds metric families, the interchange between sources and exporters.

use monitoring_common::histogram::{self, FIRST_EXPONENT, SLOTS};
use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType,
};

/// What is written of a kernel histogram where each bucket is a series of its own: the index of the
/// first bucket, which ends at 2⁻²⁰ s, and the step to the next. Few series, a factor of 4 apart, up
/// to 16 s.
const SHOWN: (usize, usize) = (2, 2);

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
    /// Every slot that has an end is a bucket, so that exporters have all that the kernel counted.
    /// Those for whom each bucket is a series write what [`shown`] says.
    pub fn push_durations(&mut self, labels: &[(&str, &str)], durations: &histogram::Histogram) {
        let mut cumulative = 0;
        let slots = durations.slots[..SLOTS - 1].iter().zip(FIRST_EXPONENT..);
        let buckets = slots.map(|(count, exponent)| {
            cumulative += count;
            (f64::from(exponent).exp2(), cumulative)
        });
        let sum_seconds = durations.sum_ns as f64 / 1e9;
        self.push_histogram(labels, buckets, durations.count(), sum_seconds);
    }

    /// The finished family. One without samples is not exported.
    pub fn build(self) -> MetricFamily {
        self.0
    }
}

/// Which buckets of a histogram are written where each is a series of its own: the first's index, and
/// the step to the next. Of the kernel's slots, which are a factor of 2 apart, every second one; each
/// bucket is exact. Of others all.
pub fn shown(histogram: &Histogram) -> (usize, usize) {
    if is_of_the_kernel(histogram) {
        SHOWN
    } else {
        (0, 1)
    }
}

/// How many observations are in each of the kernel's slots, if the histogram's buckets are those.
pub fn slots(histogram: &Histogram) -> Option<[u64; SLOTS]> {
    if !is_of_the_kernel(histogram) {
        return None;
    }
    let mut slots = [0; SLOTS];
    let buckets = histogram.get_bucket().iter();
    let counts = buckets.map(Bucket::cumulative_count);
    let mut before = 0;
    for (slot, cumulative) in slots
        .iter_mut()
        .zip(counts.chain([histogram.get_sample_count()]))
    {
        *slot = cumulative.saturating_sub(before);
        before = cumulative;
    }
    Some(slots)
}

/// As many buckets as the kernel has slots with an end, with the same first and last end.
fn is_of_the_kernel(histogram: &Histogram) -> bool {
    let ends = |bucket: &Bucket, slot: usize| {
        let exponent = FIRST_EXPONENT + i32::try_from(slot).expect("there are few slots");
        bucket.upper_bound().to_bits() == f64::from(exponent).exp2().to_bits()
    };
    match histogram.get_bucket() {
        [first, .., last] if histogram.get_bucket().len() == SLOTS - 1 => {
            ends(first, 0) && ends(last, SLOTS - 2)
        }
        _ => false,
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

    fn durations(durations_ns: &[u64]) -> MetricFamily {
        let mut durations = histogram::Histogram::EMPTY;
        for duration_ns in durations_ns {
            durations.observe(*duration_ns);
        }
        let mut family = Family::histogram("h_seconds", "Help.");
        family.push_durations(&[("a", "b")], &durations);
        family.build()
    }

    #[test]
    #[allow(clippy::float_cmp, reason = "powers of two are exact")]
    fn durations_become_cumulative_buckets() {
        // 2^-22 s, just over 2^-20 s, exactly 1 s, just over 16 s.
        let family = durations(&[238, 954, 1_000_000_000, 16_000_000_001]);
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
        assert_eq!(at(2_f64.powi(-22)), Some(1));
        assert_eq!(at(2_f64.powi(-20)), Some(1));
        assert_eq!(at(2_f64.powi(-19)), Some(2));
        assert_eq!(at(0.5), Some(2));
        assert_eq!(at(1.0), Some(3));
        assert_eq!(at(16.0), Some(3));
        assert_eq!(counts.count(), 27);
        assert_eq!(histogram.get_sample_count(), 4);
        assert_eq!(histogram.get_sample_sum(), 17.000_001_193);
    }

    #[test]
    #[allow(clippy::float_cmp, reason = "powers of two are exact")]
    fn every_second_bucket_is_shown() {
        let family = durations(&[]);
        let histogram = family.get_metric()[0].get_histogram();
        let (first, step) = shown(histogram);
        let buckets = histogram.get_bucket().iter().skip(first).step_by(step);
        let bounds: Vec<_> = buckets.map(Bucket::upper_bound).collect();
        assert_eq!(bounds.len(), 13);
        assert_eq!((bounds[0], bounds[12]), (2_f64.powi(-20), 16.0));
        let mut family = Family::histogram("h", "");
        let bounds = (1..28).map(|bound| (f64::from(bound), 0));
        family.push_histogram(&[], bounds, 0, 0.0);
        let family = family.build();
        let others = family.get_metric()[0].get_histogram();
        assert_eq!((shown(others), slots(others)), ((0, 1), None));
    }

    #[test]
    fn slots_come_back() {
        let family = durations(&[0, 238, 239, 1_000_000_000, 16_000_000_001, u64::MAX]);
        let slots = slots(family.get_metric()[0].get_histogram()).unwrap();
        let filled: Vec<_> = slots.iter().enumerate().filter(|(_, n)| **n > 0).collect();
        assert_eq!(filled, [(0, &2), (1, &1), (22, &1), (27, &2)]);
    }
}
