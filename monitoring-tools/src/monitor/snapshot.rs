//! One scrape of a node, and questions to it. Knows no other scrape.

use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasher as _, Hasher as _, RandomState},
    sync::OnceLock,
    time::{Duration, Instant},
};

use crate::scrape::{
    family::{Families, Metric, Value},
    text::{self, Limits, ReadError},
};

/// How old an agent's numbers were when it told them.
const AGE: &str = "monitoring_agent_snapshot_age_seconds";

/// More than this is no node's: an agent at work has some ten thousand values.
const LIMITS: Limits = Limits {
    samples: 100_000,
    labels: 500_000,
    families: 5_000,
};

/// Ages beyond this are nobody's, and would not fit into a time.
const OLDEST: f64 = 1e9;

/// Labels that are wanted, by name and value.
pub(super) type Wanted<'a> = &'a [(&'a str, &'a str)];

/// What a node told at one moment.
#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    families: Families,
    by_name: HashMap<String, usize>,
    /// When the numbers were taken, by this machine's clock.
    pub(super) taken: Instant,
    /// What the numbers hash to, without their age: two scrapes of one snapshot are the same.
    print: u64,
}

impl Snapshot {
    /// What a scrape says that was answered at this moment.
    pub(super) fn read(text: &str, answered: Instant) -> Result<Self, ReadError> {
        static HASHER: OnceLock<RandomState> = OnceLock::new();
        let families = text::read(text, LIMITS)?;
        let names = families.iter().enumerate();
        let by_name = names
            .map(|(at, family)| (family.name.clone(), at))
            .collect();
        let mut print = HASHER.get_or_init(RandomState::new).build_hasher();
        let lines = text.split_inclusive('\n');
        for line in lines.filter(|line| !line.starts_with(AGE)) {
            print.write(line.as_bytes());
        }
        let mut snapshot = Self {
            families,
            by_name,
            taken: answered,
            print: print.finish(),
        };
        let age = snapshot
            .value(AGE, &[])
            .filter(|age| (0.0..OLDEST).contains(age));
        let age = Duration::from_secs_f64(age.unwrap_or(0.0));
        snapshot.taken = answered.checked_sub(age).unwrap_or(answered);
        Ok(snapshot)
    }

    /// Whether it is an agent's, and not that of some other program.
    pub(super) fn is_an_agents(&self) -> bool {
        self.has("monitoring_agent_build_info")
    }

    /// Whether these are the same numbers once more.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.print == other.print
    }

    /// Names of all histograms, as the node orders them.
    pub(super) fn histograms(&self) -> impl Iterator<Item = &str> {
        let all = self.families.iter();
        let histograms = all.filter(|family| {
            let first = family.metrics.first();
            first.is_some_and(|metric| matches!(metric.value, Value::Histogram(_)))
        });
        histograms.map(|family| family.name.as_str())
    }

    /// Whether there is such a family.
    pub(super) fn has(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    /// All metrics of a family; none if there is no such family.
    pub(super) fn metrics(&self, name: &str) -> &[Metric] {
        let family = self.by_name.get(name);
        family.map_or(&[], |family| &self.families[*family].metrics)
    }

    /// Metrics of a family that have these labels.
    pub(super) fn with<'a>(
        &'a self,
        name: &str,
        wanted: Wanted<'a>,
    ) -> impl Iterator<Item = &'a Metric> {
        let all = self.metrics(name).iter();
        all.filter(move |metric| has_labels(metric, wanted))
    }

    /// The sum of all that have these labels; nothing if none has.
    pub(super) fn value(&self, name: &str, wanted: Wanted<'_>) -> Option<f64> {
        let mut sum = None;
        for metric in self.with(name, wanted) {
            if let Value::Number(value) = metric.value {
                *sum.get_or_insert(0.0) += value;
            }
        }
        sum
    }

    /// The label's values in a family, each once, as the node orders them.
    pub(super) fn values_of<'a>(&'a self, name: &str, label: &str) -> Vec<&'a str> {
        let mut seen = HashSet::new();
        let values = self.metrics(name).iter().map(|metric| metric.label(label));
        values.filter(|value| seen.insert(*value)).collect()
    }
}

/// Whether it has all of these labels.
pub(super) fn has_labels(metric: &Metric, wanted: Wanted<'_>) -> bool {
    let mut wanted = wanted.iter();
    wanted.all(|(name, value)| metric.label(name) == *value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions() {
        let text = "a{x=\"1\",y=\"1\"} 1\na{x=\"1\",y=\"2\"} 2\na{x=\"2\"} 4\n\
                    # TYPE h histogram\nh_count 3\n";
        let snapshot = Snapshot::read(text, Instant::now()).unwrap();
        let check = |name: &str, wanted: Wanted<'_>, want: Option<f64>| {
            assert_eq!(snapshot.value(name, wanted), want, "{name} {wanted:?}");
        };
        check("a", &[], Some(7.0));
        check("a", &[("x", "1")], Some(3.0));
        check("a", &[("x", "1"), ("y", "2")], Some(2.0));
        check("a", &[("y", "")], Some(4.0));
        check("a", &[("x", "3")], None);
        check("b", &[], None);
        check("h", &[], None);
        assert_eq!(snapshot.values_of("a", "x"), ["1", "2"]);
        assert_eq!(snapshot.histograms().collect::<Vec<_>>(), ["h"]);
    }

    #[test]
    fn numbers_are_as_old_as_they_say() {
        let now = Instant::now();
        let read = |text: &str| Snapshot::read(text, now).unwrap();
        let check = |age: &str, want: f64| {
            let taken = read(&format!("{AGE} {age}\n")).taken;
            assert!((now - taken).as_secs_f64() - want < 1e-6, "{age}");
        };
        check("1.5", 1.5);
        check("0", 0.0);
        check("-1", 0.0);
        check("NaN", 0.0);
        check("1e300", 0.0);
        assert_eq!(read("a 1\n").taken, now);
    }

    #[test]
    fn one_snapshot_is_known_again_by_its_numbers() {
        let now = Instant::now();
        let read =
            |value: u8, age: u8| Snapshot::read(&format!("a {value}\n{AGE} {age}\n"), now).unwrap();
        assert!(read(1, 1).is_same(&read(1, 2)));
        assert!(!read(1, 1).is_same(&read(2, 1)));
    }
}
