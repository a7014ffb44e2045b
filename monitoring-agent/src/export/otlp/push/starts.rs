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

use prometheus::proto::LabelPair;

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
    /// Looks at all series once more.
    pub fn begin(&mut self, now_ns: u64) {
        self.before_ns = (self.look > 0).then_some(self.now_ns);
        self.look += 1;
        self.now_ns = now_ns;
        let look = self.look;
        self.series.retain(|_, series| series.look + LOOKS >= look);
    }

    /// Since when a series counts that is at this value now, in nanoseconds since 1970.
    pub fn of(&mut self, name: &str, labels: &[LabelPair], value: f64) -> u64 {
        let pairs = labels.iter().map(|pair| (pair.name(), pair.value()));
        let key = self.keys.hash_one((name, pairs.collect::<Vec<_>>()));
        let anew = self.before_ns.unwrap_or(self.now_ns);
        let look = self.look;
        let series = self.series.entry(key).or_insert(Series {
            start_ns: anew,
            value,
            look,
        });
        if value < series.value {
            series.start_ns = anew;
        }
        (series.value, series.look) = (value, look);
        series.start_ns
    }

    /// How many series are known.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.series.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(value: &str) -> Vec<LabelPair> {
        let mut pair = LabelPair::default();
        pair.set_name("a".to_owned());
        pair.set_value(value.to_owned());
        vec![pair]
    }

    #[test]
    fn a_start_is_as_near_as_can_be_known() {
        let (one, other) = (labels("1"), labels("2"));
        let mut starts = Starts::default();
        starts.begin(100);
        assert_eq!(starts.of("c", &one, 7.0), 100);
        starts.begin(200);
        assert_eq!(starts.of("c", &one, 7.0), 100);
        assert_eq!(
            starts.of("c", &other, 3.0),
            100,
            "it began after the first look"
        );
        assert_eq!(starts.of("d", &one, 3.0), 100);
        starts.begin(300);
        assert_eq!(
            starts.of("c", &one, 6.0),
            200,
            "it began anew after the last look"
        );
        starts.begin(400);
        assert_eq!(starts.of("c", &one, 6.5), 200);
        assert_eq!(starts.of("c", &other, 3.0), 100, "it was only left out");
    }

    #[test]
    fn what_is_gone_is_forgotten() {
        let mut starts = Starts::default();
        for look in 0..1000 {
            starts.begin(look);
            starts.of("c", &labels(&look.to_string()), 1.0);
        }
        let most = usize::try_from(LOOKS).unwrap() + 1;
        assert!(starts.len() <= most, "{}", starts.len());
    }
}
