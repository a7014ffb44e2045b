//! What a metric is called, what it measures and which labels it has: the rules of Prometheus.
//!
//! Knows no values.

use std::sync::{Arc, OnceLock};

use ::prometheus::core::Desc;

use super::{MetricError, bounds::Bounds};

/// What kind of numbers a metric has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MetricType {
    /// A whole number that only grows. Its name ends in `_total`, by convention.
    Counter,
    /// A number that only grows and need not be whole, such as seconds spent. Its name ends in
    /// `_total`, by convention.
    FloatCounter,
    /// A number that rises and falls.
    Gauge,
    /// How values are distributed: how many there were up to each of some bounds, and their sum.
    Histogram,
}

/// Everything about a metric but its values.
#[derive(Debug)]
pub(crate) struct Definition {
    pub(crate) name: Box<str>,
    pub(crate) help: Box<str>,
    pub(crate) kind: MetricType,
    /// Names, in the order in which values are given.
    pub(crate) labels: Box<[Box<str>]>,
    /// Of a histogram.
    pub(crate) bounds: Option<Arc<Bounds>>,
    /// Whether the collector's prefix and labels are for others only.
    pub(crate) is_exact: bool,
    /// How many series there may be, beside the one that stands for all others.
    pub(crate) series_limit: usize,
    /// The same in the words of the crate `prometheus`, if it was asked for.
    pub(crate) description: OnceLock<Box<Desc>>,
}

impl Definition {
    /// Checks the rules of Prometheus.
    pub(crate) fn check(&self) -> Result<(), MetricError> {
        let invalid = |reason: String| Err(MetricError::invalid(&self.name, reason));
        if self.name.is_empty() {
            return invalid("it has no name: give it one".to_owned());
        }
        if !is_name(&self.name, true) {
            return invalid(
                "a name is made of the letters a to z and A to Z, digits, `_` and `:`, and does \
                 not begin with a digit"
                    .to_owned(),
            );
        }
        for (at, label) in self.labels.iter().enumerate() {
            let has_bounds = self.kind == MetricType::Histogram;
            check_label(label, has_bounds).or_else(invalid)?;
            if self.labels[..at].contains(label) {
                return invalid(format!("it has the label `{label}` twice"));
            }
        }
        Ok(())
    }

    /// In what the other definition differs, if it does.
    pub(crate) fn difference(&self, other: &Self) -> Option<&'static str> {
        [
            ("type", self.kind == other.kind),
            ("help text", self.help == other.help),
            ("set of labels", self.labels == other.labels),
            ("set of buckets", self.bounds == other.bounds),
            ("way to be named", self.is_exact == other.is_exact),
        ]
        .into_iter()
        .find_map(|(what, is_same)| (!is_same).then_some(what))
    }
}

/// Whether a text is a name by the rules of Prometheus.
fn is_name(text: &str, may_have_colons: bool) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || (may_have_colons && c == ':');
    !text.is_empty() && !text.starts_with(|c: char| c.is_ascii_digit()) && text.chars().all(allowed)
}

/// Whether a text can be the name of a label, of a metric that has the label of bounds itself or does
/// not; otherwise the reason why not.
pub(crate) fn check_label(label: &str, has_bounds: bool) -> Result<(), String> {
    if has_bounds && label == "le" {
        return Err("the label `le` is the one of a histogram's bounds".to_owned());
    }
    if !is_name(label, false) {
        return Err(format!(
            "the label `{label}` cannot be: a label's name is made of the letters a to z and A to \
             Z, digits and `_`, and does not begin with a digit"
        ));
    }
    if label.starts_with("__") {
        return Err(format!(
            "the label `{label}` begins with `__`, which Prometheus keeps for itself"
        ));
    }
    Ok(())
}

/// Whether a text can stand before all names.
pub(crate) fn check_prefix(prefix: &str) -> Result<(), MetricError> {
    if is_name(prefix, true) {
        return Ok(());
    }
    Err(MetricError::Naming {
        reason: format!(
            "the prefix `{prefix}`: a prefix is made of the letters a to z and A to Z, digits, `_` \
             and `:`, and does not begin with a digit"
        ),
    })
}
