//! The prefix and the labels that a collector gives to all its metrics.

/// What is added to names and labels when metrics are read.
#[derive(Clone, Debug, Default)]
pub(super) struct Naming {
    /// With the `_` that ends it; empty if there is none.
    prefix: String,
    /// By name.
    labels: Vec<(String, String)>,
}

impl Naming {
    pub(super) fn set_prefix(&mut self, prefix: &str) {
        self.prefix = format!("{}_", prefix.trim_end_matches('_'));
    }

    pub(super) fn add_labels(&mut self, labels: Vec<(String, String)>) {
        for (name, value) in labels {
            self.labels.retain(|(known, _)| *known != name);
            self.labels.push((name, value));
        }
        self.labels.sort();
    }

    /// The name under which a metric is shown.
    pub(super) fn name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// The labels that a metric gets beside its own.
    pub(super) fn labels(&self) -> &[(String, String)] {
        &self.labels
    }
}
