//! What the agent exports: the names of its metrics and their labels, as its tests keep them.
//!
//! Owns these two lists and what a histogram's parts are called. Knows nothing of who uses them.

use std::collections::{BTreeMap, BTreeSet};

/// The names, one a line.
pub(crate) const NAMES: &str = "monitoring-agent/tests/golden/metrics.txt";

/// The labels: a name and those of its metric on each line.
pub(crate) const LABELS: &str = "monitoring-agent/tests/golden/labels.txt";

/// What the parts of a histogram add to its name.
const PARTS: [&str; 3] = ["_bucket", "_count", "_sum"];

/// The metrics that are exported.
pub(crate) struct Catalogue {
    /// Each with its line in the list.
    names: BTreeMap<String, usize>,
    labels: BTreeMap<String, BTreeSet<String>>,
}

impl Catalogue {
    /// Reads the two lists. A line of names has one, with anything after it, or is the `# TYPE` or
    /// `# HELP` of one.
    pub(crate) fn of(names: &str, labels: &str) -> Self {
        let mut known = BTreeMap::new();
        for (line, number) in names.lines().zip(1..) {
            let described = line
                .strip_prefix("# TYPE ")
                .or_else(|| line.strip_prefix("# HELP "));
            let text = described.unwrap_or(line);
            let end = |c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':';
            let name = text.split(end).next().unwrap_or_default();
            if !name.is_empty() {
                known.entry(name.to_owned()).or_insert(number);
            }
        }
        let labels = labels.lines().filter_map(|line| {
            let mut words = line.split_whitespace().map(str::to_owned);
            Some((words.next()?, words.collect()))
        });
        Self {
            names: known,
            labels: labels.collect(),
        }
    }

    /// All names, with their lines.
    pub(crate) fn names(&self) -> impl Iterator<Item = (&str, usize)> {
        self.names.iter().map(|(name, line)| (name.as_str(), *line))
    }

    /// Whether a metric, or the histogram of which it is a part, is exported.
    pub(crate) fn has(&self, metric: &str) -> bool {
        self.names.contains_key(metric) || self.names.contains_key(base(metric))
    }

    /// The labels of a metric's samples, without those that Prometheus adds, where they are known.
    pub(crate) fn labels(&self, metric: &str) -> Option<BTreeSet<String>> {
        if let Some(labels) = self.labels.get(metric) {
            return Some(labels.clone());
        }
        let mut labels = self.labels.get(base(metric))?.clone();
        if metric.ends_with("_bucket") {
            labels.insert("le".to_owned());
        }
        Some(labels)
    }
}

/// A histogram's name, given one of its parts.
pub(crate) fn base(metric: &str) -> &str {
    PARTS
        .iter()
        .find_map(|part| metric.strip_suffix(part))
        .unwrap_or(metric)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_histograms_have_its_labels() {
        let catalogue = Catalogue::of(
            "# TYPE a_total counter\nb_seconds\n",
            "a_total x\nb_seconds y\n",
        );
        let check = |metric: &str, want: Option<&[&str]>| {
            let want = want.map(|labels| labels.iter().copied().map(str::to_owned).collect());
            assert_eq!(catalogue.labels(metric), want, "{metric}");
        };
        check("a_total", Some(&["x"]));
        check("b_seconds_bucket", Some(&["le", "y"]));
        check("b_seconds_sum", Some(&["y"]));
        check("c", None);
        assert!(catalogue.has("b_seconds_count") && !catalogue.has("b_seconds_total"));
    }
}
