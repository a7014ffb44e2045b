//! Distributions of an interval, from histograms at its two ends.

use crate::scrape::family::Histogram;

/// What happened in an interval, by how long it took or how large it was.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Distribution {
    /// Upper ends, ascending, and how many values lie in each bucket alone. The last one ends at
    /// infinity.
    buckets: Vec<(f64, u64)>,
    /// How many values there are.
    pub(super) count: u64,
    /// Their sum, if it is known.
    pub(super) sum: Option<f64>,
}

/// Where a quantile is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Quantile {
    /// About here, in the middle of a bucket.
    At(f64),
    /// Above the last end that there is.
    Above(f64),
}

impl Quantile {
    /// The value, or the least that it can be.
    pub(super) fn least(self) -> f64 {
        match self {
            Self::At(value) | Self::Above(value) => value,
        }
    }
}

impl Distribution {
    /// What came between two states of one histogram. Nothing if it began anew, or if its buckets
    /// are others now.
    pub(super) fn between(old: &Histogram, new: &Histogram) -> Option<Self> {
        let is_empty = old.count == 0;
        let same_ends = old.buckets.len() == new.buckets.len()
            && old
                .buckets
                .iter()
                .zip(&new.buckets)
                .all(|(old, new)| old.0.total_cmp(&new.0).is_eq());
        if !is_empty && !same_ends {
            return None;
        }
        let mut buckets = Vec::with_capacity(new.buckets.len() + 1);
        let last = [(f64::INFINITY, new.count)];
        let (mut new_below, mut old_below) = (0, 0);
        for (at, (end, count)) in new.buckets.iter().chain(&last).enumerate() {
            let old_count = match old.buckets.get(at) {
                _ if is_empty => 0,
                Some((_, count)) => *count,
                None => old.count,
            };
            let now = count.checked_sub(new_below)?;
            let before = old_count.checked_sub(old_below)?;
            buckets.push((*end, now.checked_sub(before)?));
            (new_below, old_below) = (*count, old_count);
        }
        let sum = match (old.sum, new.sum) {
            (None, Some(new)) if is_empty => Some(new),
            (Some(old), Some(new)) => Some(new - old),
            _ => None,
        };
        Some(Self {
            buckets,
            count: new.count - old.count,
            sum,
        })
    }

    /// Adds another one. Nothing if it has other buckets.
    pub(super) fn add(&mut self, other: &Self) -> Option<()> {
        let ends = self.buckets.len() == other.buckets.len();
        let mut pairs = self.buckets.iter().zip(&other.buckets);
        if !ends || !pairs.all(|(one, two)| one.0.total_cmp(&two.0).is_eq()) {
            return None;
        }
        for (one, two) in self.buckets.iter_mut().zip(&other.buckets) {
            one.1 = one.1.saturating_add(two.1);
        }
        self.count = self.count.saturating_add(other.count);
        self.sum = self.sum.zip(other.sum).map(|(one, two)| one + two);
        Some(())
    }

    /// The mean, if there was anything.
    pub(super) fn mean(&self) -> Option<f64> {
        let sum = self.sum?;
        (self.count > 0).then(|| sum / self.count as f64)
    }

    /// The value that a share of all values does not exceed, `share` from 0 to 1. It is exact which
    /// bucket that is; within it values are taken to lie evenly, as Prometheus does.
    pub(super) fn quantile(&self, share: f64) -> Option<Quantile> {
        if self.count == 0 {
            return None;
        }
        let rank = share.clamp(0.0, 1.0) * self.count as f64;
        let (mut below, mut start) = (0, 0.0_f64);
        for (end, count) in &self.buckets {
            let upto = u64::saturating_add(below, *count);
            if *count > 0 && upto as f64 >= rank {
                if end.is_infinite() {
                    break;
                }
                // A bucket that ends at 0 or below it begins nowhere.
                let first = if *end <= 0.0 && below == 0 {
                    *end
                } else {
                    start
                };
                let part = (rank - below as f64) / *count as f64;
                return Some(Quantile::At(first + (end - first) * part));
            }
            (below, start) = (upto, if end.is_finite() { *end } else { start });
        }
        Some(Quantile::Above(start))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn histogram(buckets: &[(f64, u64)], count: u64) -> Histogram {
        Histogram {
            buckets: buckets.to_vec(),
            count,
            sum: Some(count as f64),
        }
    }

    #[test]
    fn what_came_between() {
        let old = histogram(&[(1.0, 2), (2.0, 5)], 6);
        let new = histogram(&[(1.0, 4), (2.0, 7)], 11);
        let between = Distribution::between(&old, &new).unwrap();
        assert_eq!(between.buckets, [(1.0, 2), (2.0, 0), (f64::INFINITY, 3)]);
        assert_eq!((between.count, between.sum), (5, Some(5.0)));
        assert_eq!(Distribution::between(&new, &old), None, "it began anew");
        let other = histogram(&[(1.0, 4), (3.0, 7)], 11);
        assert_eq!(Distribution::between(&old, &other), None, "other buckets");
        let first = Distribution::between(&Histogram::default(), &new).unwrap();
        assert_eq!(first.buckets, [(1.0, 4), (2.0, 3), (f64::INFINITY, 4)]);
        // A bucket of its own became smaller though all together grew.
        let shifted = histogram(&[(1.0, 1), (2.0, 7)], 20);
        assert_eq!(Distribution::between(&old, &shifted), None);
    }

    #[test]
    fn quantiles() {
        let check = |buckets: &[(f64, u64)], count, share, want: Option<Quantile>| {
            let all = Distribution::between(&Histogram::default(), &histogram(buckets, count));
            assert_eq!(
                all.unwrap().quantile(share),
                want,
                "{buckets:?} {count} {share}"
            );
        };
        let at = |value| Some(Quantile::At(value));
        check(&[(1.0, 0), (2.0, 0)], 0, 0.5, None);
        check(&[(1.0, 10), (2.0, 10)], 10, 0.5, at(0.5));
        check(&[(1.0, 0), (2.0, 10)], 10, 0.5, at(1.5));
        check(&[(1.0, 5), (2.0, 10)], 10, 0.5, at(1.0));
        check(&[(1.0, 5), (2.0, 10)], 10, 1.0, at(2.0));
        check(&[(1.0, 5), (2.0, 5)], 10, 0.99, Some(Quantile::Above(2.0)));
        check(&[], 10, 0.5, Some(Quantile::Above(0.0)));
        check(&[(-1.0, 10)], 10, 0.5, at(-1.0));
    }

    proptest! {
        /// The bucket of a quantile is that of the value itself.
        #[test]
        fn a_quantile_is_in_the_right_bucket(
            values in prop::collection::vec(0.001_f64..9.0, 1..200),
            share in 0.0_f64..1.0,
        ) {
            let ends = [0.25, 1.0, 4.0];
            let below = |end: f64| values.iter().filter(|value| **value <= end).count() as u64;
            let buckets = ends.map(|end| (end, below(end)));
            let all = histogram(&buckets, values.len() as u64);
            let all = Distribution::between(&Histogram::default(), &all).unwrap();
            let mut sorted = values.clone();
            sorted.sort_by(f64::total_cmp);
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index")]
            let rank = (share * values.len() as f64).ceil().max(1.0) as usize;
            let real = sorted[rank - 1];
            match all.quantile(share).unwrap() {
                Quantile::Above(end) => prop_assert!(real > end),
                Quantile::At(value) => {
                    let end = ends.iter().find(|end| real <= **end).copied();
                    let end = end.unwrap_or(f64::INFINITY);
                    let starts = ends.iter().rev().find(|end| **end < real);
                    let start = starts.copied().unwrap_or(0.0);
                    prop_assert!((start..=end).contains(&value), "{value} {start} {end}");
                }
            }
        }
    }
}
