//! Since when each series counts, as far as can be known from looking at it now and then.
//!
//! OTLP wants of every sum the time at which it was 0. A series that appears between two looks began
//! after the first of them; one that got smaller began anew after the last look; and of one that was
//! there at the first look it is not known, which is said by giving the time of that look, where
//! point and start are one. Knows nothing of what is counted.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, RandomState},
};

use prometheus::proto::{self, LabelPair, MetricFamily, MetricType};

/// A series that is gone for so many looks is forgotten. Fewer, and one that a source left out once
/// would seem to begin anew.
const LOOKS: u64 = 10;

/// Since when series count.
#[derive(Debug, Default)]
pub struct Starts {
    keys: RandomState,
    series: HashMap<u64, Series>,
    look: u64,
    /// When was looked last, and before that, in nanoseconds since 1970.
    now_ns: u64,
    before_ns: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Series {
    start_ns: u64,
    value: f64,
    look: u64,
}

impl Starts {
    /// Looks at all series once more, with the values that they have at this time, in nanoseconds since
    /// 1970. To be done whether or not they are sent: what is not looked at is taken to be gone.
    pub fn look(&mut self, families: &[MetricFamily], now_ns: u64) {
        self.before_ns = (self.look > 0).then_some(self.now_ns);
        self.look += 1;
        self.now_ns = now_ns;
        let look = self.look;
        self.series.retain(|_, series| series.look + LOOKS >= look);
        for family in families {
            for metric in family.get_metric() {
                if let Some(value) = counted(family.get_field_type(), metric) {
                    self.saw(family.name(), metric.get_label(), value);
                }
            }
        }
    }

    /// Since when a series counts that was there at the last look, in nanoseconds since 1970.
    pub fn of(&self, name: &str, labels: &[LabelPair]) -> u64 {
        let series = self.series.get(&self.key(name, labels));
        series.map_or(self.now_ns, |series| series.start_ns)
    }

    fn saw(&mut self, name: &str, labels: &[LabelPair], value: f64) {
        let anew = self.before_ns.unwrap_or(self.now_ns);
        let look = self.look;
        let key = self.key(name, labels);
        let series = self.series.entry(key).or_insert(Series {
            start_ns: anew,
            value,
            look,
        });
        if value < series.value {
            series.start_ns = anew;
        }
        (series.value, series.look) = (value, look);
    }

    fn key(&self, name: &str, labels: &[LabelPair]) -> u64 {
        let pairs = labels.iter().map(|pair| (pair.name(), pair.value()));
        self.keys.hash_one((name, pairs.collect::<Vec<_>>()))
    }

    /// How many series are known.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.series.len()
    }
}

/// What only grows of a series of this kind, if anything does.
fn counted(kind: MetricType, metric: &proto::Metric) -> Option<f64> {
    match kind {
        MetricType::COUNTER => Some(metric.get_counter().get_value()),
        MetricType::HISTOGRAM => Some(metric.get_histogram().get_sample_count() as f64),
        MetricType::SUMMARY => Some(metric.get_summary().sample_count() as f64),
        MetricType::GAUGE | MetricType::UNTYPED => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::families::Family;

    /// The labels of a series.
    fn labels(value: &str) -> Vec<LabelPair> {
        let mut pair = LabelPair::default();
        pair.set_name("a".to_owned());
        pair.set_value(value.to_owned());
        vec![pair]
    }

    /// Looks at the counter `c` with these values of its label, at these numbers.
    fn look(starts: &mut Starts, now_ns: u64, series: &[(&str, f64)]) {
        let mut family = Family::counter("c", "");
        for (label, value) in series {
            family.push(&[("a", label)], *value);
        }
        starts.look(&[family.build()], now_ns);
    }

    #[test]
    fn a_start_is_as_near_as_can_be_known() {
        let (one, other) = (labels("1"), labels("2"));
        let mut starts = Starts::default();
        look(&mut starts, 100, &[("1", 7.0)]);
        assert_eq!(starts.of("c", &one), 100);
        look(&mut starts, 200, &[("1", 7.0), ("2", 3.0)]);
        assert_eq!(starts.of("c", &one), 100);
        assert_eq!(starts.of("c", &other), 100, "it began after the first look");
        look(&mut starts, 300, &[("1", 6.0)]);
        assert_eq!(
            starts.of("c", &one),
            200,
            "it began anew after the last look"
        );
        look(&mut starts, 400, &[("1", 6.5), ("2", 3.0)]);
        assert_eq!(starts.of("c", &one), 200);
        assert_eq!(starts.of("c", &other), 100, "it was only left out");
    }

    #[test]
    fn what_nobody_asked_for_is_seen_as_well() {
        let (one, other) = (labels("1"), labels("2"));
        let mut starts = Starts::default();
        let mut now_ns = 0;
        let mut looks = |starts: &mut Starts, count: u64, series: &[(&str, f64)]| {
            for _ in 0..count {
                now_ns += 100;
                look(starts, now_ns, series);
            }
        };
        looks(&mut starts, 1, &[("1", 5.0), ("2", 5.0)]);
        // Nothing is sent for longer than what is gone is remembered.
        looks(&mut starts, 3 * LOOKS, &[("1", 6.0), ("2", 6.0)]);
        assert_eq!(starts.of("c", &one), 100, "it was there all the time");
        let reset_ns = 100 * (1 + 3 * LOOKS);
        looks(&mut starts, 1, &[("1", 2.0)]);
        looks(&mut starts, 1, &[("1", 9.0)]);
        assert_eq!(starts.of("c", &one), reset_ns, "it got smaller and grew");
        looks(&mut starts, LOOKS - 1, &[("1", 9.0)]);
        looks(&mut starts, 1, &[("1", 9.0), ("2", 7.0)]);
        let back_ns = reset_ns + 100 * (LOOKS + 1);
        assert_eq!(starts.of("c", &other), back_ns, "it was gone, and is back");
    }

    #[test]
    fn all_that_grows_is_looked_at_and_nothing_else() {
        let mut starts = Starts::default();
        let mut waits = Family::histogram("h", "");
        waits.push_histogram(&[], [(1.0, 2)], 4, 7.5);
        let gauge = Family::gauge("g", "").with(&[], 1.0).build();
        let counter = Family::counter("c", "").with(&[], 1.0).build();
        starts.look(&[counter, gauge, waits.build()], 100);
        assert_eq!(starts.len(), 2);
    }

    #[test]
    fn what_is_gone_is_forgotten() {
        let mut starts = Starts::default();
        for now_ns in 0..1000 {
            look(&mut starts, now_ns, &[(&now_ns.to_string(), 1.0)]);
        }
        let most = usize::try_from(LOOKS).unwrap() + 1;
        assert!(starts.len() <= most, "{}", starts.len());
    }
}
