//! Which trace a slow event belongs to: for each series, and each slot of the kernel's histograms,
//! the newest event that a trace was kept of.
//!
//! The source of traces writes, whoever renders metrics reads. Knows neither how spans are sent nor
//! how metrics are written.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

pub use monitoring::server::exposition::Exemplar;
use monitoring_common::histogram::slot_of;

/// Most exemplars that are held: about half a megabyte. Room for a thousand series, which have
/// four slots with something slow in them.
pub const MAX_EXEMPLARS: usize = 4096;

/// When there is no room, so many of the oldest go at once, so that looking for them is rare.
const FORGOTTEN_AT_ONCE: usize = MAX_EXEMPLARS / 4;

/// Spans arrive out of order by their hold time at the most. One that is older than that by far
/// says that the clock was set back, and is the newest all the same.
const CLOCK_SET_BACK_NS: u64 = 60_000_000_000;

/// The exemplars of all series. Bounded by [`MAX_EXEMPLARS`]; the oldest go first.
///
/// # Example
///
/// ```
/// use monitoring_agent::exemplars::Exemplars;
///
/// let exemplars = Exemplars::default();
/// let labels = [("syscall", "fsync"), ("agent", "other")];
/// exemplars.observe("syscall_duration_seconds", &labels, 0.75, 1, 2, 1_700_000_000_000_000_000);
/// let found = exemplars.get("syscall_duration_seconds", &labels, 0.5, 1.0).unwrap();
/// assert_eq!((found.seconds, found.trace_id), (0.75, 1));
/// ```
#[derive(Debug, Default)]
pub struct Exemplars(Mutex<Held>);

#[derive(Debug, Default)]
struct Held {
    /// By metric, and by the labels as [`key`] writes them.
    metrics: HashMap<&'static str, HashMap<Box<str>, Series>>,
    /// How many there are in all series together.
    count: usize,
}

/// The exemplars of one series, by slot, ascending.
#[derive(Clone, Debug, Default)]
struct Series(Vec<(usize, Exemplar)>);

impl Exemplars {
    /// Holds an event of a series. It takes the place of the one before in its slot.
    ///
    /// `labels` are those of the series as it is exported, in any order. An event that is no
    /// duration, such as an error that a counter counts, is held in the slot of the number that is
    /// given. Numbers that are negative, or none, are not held.
    pub fn observe(
        &self,
        metric: &'static str,
        labels: &[(&str, &str)],
        seconds: f64,
        trace_id: u128,
        span_id: u64,
        unix_ns: u64,
    ) {
        if !seconds.is_finite() || seconds.is_sign_negative() {
            return;
        }
        let exemplar = Exemplar {
            seconds,
            trace_id,
            span_id,
            unix_ns,
        };
        let key = key(labels.iter().copied());
        let mut held = self.held();
        let series = held.metrics.entry(metric).or_default();
        let is_new = series.entry(key.into()).or_default().take(exemplar);
        held.count += usize::from(is_new);
        if held.count > MAX_EXEMPLARS {
            held.forget_oldest();
        }
    }

    /// The newest exemplar of a series with a value in `(lower, upper]`, as buckets have them.
    pub fn get(
        &self,
        metric: &str,
        labels: &[(&str, &str)],
        lower: f64,
        upper: f64,
    ) -> Option<Exemplar> {
        let all = self.series(metric, labels.iter().copied());
        Exemplar::newest_within(&all, lower, upper)
    }

    /// All exemplars of a series, by slot of the kernel's histograms, ascending; at most one for
    /// each slot.
    pub fn series<'a>(
        &self,
        metric: &str,
        labels: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Vec<Exemplar> {
        // Most metrics never have one, and whoever renders them asks series by series.
        if !self.held().metrics.contains_key(metric) {
            return Vec::new();
        }
        let key = key(labels);
        let held = self.held();
        let series = held.metrics.get(metric).and_then(|all| all.get(&*key));
        let exemplars = series.into_iter().flat_map(|series| &series.0);
        exemplars.map(|(_, exemplar)| *exemplar).collect()
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        // Nothing that is done under the lock leaves it half done, but for the count, which only
        // decides when to forget.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn forget_oldest(&mut self) {
        let all = self.metrics.values().flat_map(HashMap::values);
        let times = all.flat_map(|series| series.0.iter().map(|(_, exemplar)| exemplar.unix_ns));
        let mut times: Vec<_> = times.collect();
        let (_, &mut oldest_kept, _) = times.select_nth_unstable(FORGOTTEN_AT_ONCE);
        for series in self.metrics.values_mut() {
            for series in series.values_mut() {
                series
                    .0
                    .retain(|(_, exemplar)| exemplar.unix_ns > oldest_kept);
            }
            series.retain(|_, series| !series.0.is_empty());
        }
        self.metrics.retain(|_, series| !series.is_empty());
        let left = self.metrics.values().flat_map(HashMap::values);
        self.count = left.map(|series| series.0.len()).sum();
    }
}

impl Series {
    /// Whether there was none in its slot.
    fn take(&mut self, exemplar: Exemplar) -> bool {
        let slot = slot(exemplar.seconds);
        match self.0.binary_search_by_key(&slot, |(slot, _)| *slot) {
            Err(at) => {
                self.0.insert(at, (slot, exemplar));
                true
            }
            Ok(at) => {
                let before = &mut self.0[at].1;
                let is_newer = exemplar.unix_ns >= before.unix_ns
                    || before.unix_ns - exemplar.unix_ns > CLOCK_SET_BACK_NS;
                if is_newer {
                    *before = exemplar;
                }
                false
            }
        }
    }
}

/// The slot in which the kernel counted this duration.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it is not negative, and what is too long is in the last slot at any length"
)]
pub(crate) fn slot(seconds: f64) -> usize {
    slot_of((seconds * 1e9).round() as u64)
}

/// Labels as one text. Their order is the alphabet's, and no two sets of labels have the same text,
/// because each part is preceded by its length.
fn key<'a>(labels: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut labels: Vec<_> = labels.collect();
    labels.sort_unstable();
    let mut key = String::new();
    for part in labels.iter().flat_map(|(name, value)| [name, value]) {
        key.push_str(&part.len().to_string());
        key.push(' ');
        key.push_str(part);
    }
    key
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const METRIC: &str = "syscall_duration_seconds";
    const READ: [(&str, &str); 2] = [("syscall", "read"), ("agent", "other")];

    fn found(exemplars: &Exemplars, lower: f64, upper: f64) -> Option<u128> {
        let found = exemplars.get(METRIC, &READ, lower, upper);
        found.map(|exemplar| exemplar.trace_id)
    }

    #[test]
    fn one_for_each_slot_and_the_newest_wins() {
        let exemplars = Exemplars::default();
        let observe = |seconds, trace, at| exemplars.observe(METRIC, &READ, seconds, trace, 7, at);
        observe(0.75, 1, 100);
        observe(1.0, 2, 200);
        observe(1.5, 3, 150);
        assert_eq!(found(&exemplars, 0.5, 1.0), Some(2));
        assert_eq!(found(&exemplars, 1.0, 2.0), Some(3));
        assert_eq!(found(&exemplars, 0.25, 0.5), None);
        // A bucket of several slots has the newest of all of them, which is not the last of them.
        assert_eq!(found(&exemplars, 0.5, 2.0), Some(2));
        let all = exemplars.series(METRIC, READ.into_iter());
        assert_eq!(
            all.iter().map(|one| one.trace_id).collect::<Vec<_>>(),
            [2, 3]
        );
        // One that was held up does not take the place of a newer one,
        observe(0.6, 4, 199);
        assert_eq!(found(&exemplars, 0.5, 1.0), Some(2));
        // but one from after the clock was set back does.
        observe(1.9, 5, 1_000_000_000_000);
        observe(1.9, 6, 500_000_000_000);
        assert_eq!(found(&exemplars, 1.0, 2.0), Some(6));
    }

    #[test]
    fn series_are_told_apart_and_the_order_of_labels_is_none() {
        let exemplars = Exemplars::default();
        exemplars.observe(METRIC, &READ, 0.5, 1, 7, 100);
        let [syscall, agent] = READ;
        assert!(exemplars.get(METRIC, &[agent, syscall], 0.0, 1.0).is_some());
        let elsewhere: [(&str, &[(&str, &str)]); 4] = [
            ("block_io_duration_seconds", &READ),
            (METRIC, &[syscall]),
            (METRIC, &[("syscall", "agent"), ("read", "other")]),
            (METRIC, &[("syscall", "read5 agent5 other")]),
        ];
        for (metric, labels) in elsewhere {
            assert_eq!(exemplars.get(metric, labels, 0.0, 1.0), None);
        }
    }

    #[test]
    fn what_is_no_duration_is_not_held() {
        let exemplars = Exemplars::default();
        for seconds in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0] {
            exemplars.observe(METRIC, &READ, seconds, 1, 7, 100);
        }
        assert_eq!(exemplars.series(METRIC, READ.into_iter()), []);
        for seconds in [0.0, 1e300] {
            exemplars.observe(METRIC, &READ, seconds, 1, 7, 100);
        }
        assert_eq!(exemplars.series(METRIC, READ.into_iter()).len(), 2);
    }

    #[test]
    fn the_oldest_go_when_there_is_no_room() {
        let exemplars = Exemplars::default();
        let labels: Vec<_> = (0..=MAX_EXEMPLARS).map(|n| n.to_string()).collect();
        for (at, label) in (1_u64..).zip(&labels) {
            exemplars.observe(METRIC, &[("n", label)], 1.0, 1, 7, at);
            assert!(exemplars.held().count <= MAX_EXEMPLARS);
        }
        let is_held = |label: &String| exemplars.get(METRIC, &[("n", label)], 0.5, 1.0).is_some();
        let (gone, left) = labels.split_at(FORGOTTEN_AT_ONCE + 1);
        assert!(!gone.iter().any(is_held));
        assert!(left.iter().all(is_held));
        assert_eq!(exemplars.held().count, left.len());
        assert_eq!(exemplars.held().metrics[METRIC].len(), left.len());
    }

    proptest! {
        #[test]
        fn what_is_found_lies_within_its_bucket(
            observed in prop::collection::vec((0_u64..40_000_000_000, 1_u128..), 1..50),
            exponent in -22_i32..4,
        ) {
            let exemplars = Exemplars::default();
            for (at, (duration_ns, trace)) in (1..).zip(&observed) {
                let seconds = *duration_ns as f64 / 1e9;
                exemplars.observe(METRIC, &READ, seconds, *trace, 7, at);
            }
            let (lower, upper) = (f64::from(exponent).exp2(), f64::from(exponent + 1).exp2());
            let within = observed.iter().rev().find(|(duration_ns, _)| {
                let seconds = *duration_ns as f64 / 1e9;
                lower < seconds && seconds <= upper
            });
            prop_assert_eq!(found(&exemplars, lower, upper), within.map(|(_, trace)| *trace));
        }
    }
}
