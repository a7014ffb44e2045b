//! What a family is called, of which type it is, and its unit.

use std::collections::HashSet;

use ::prometheus::proto::{MetricFamily, MetricType};

use super::{Syntax, values};

/// Units that names end with: the base units of Prometheus, and rates of them. The longer of two
/// that fit stands first.
const UNITS: [&str; 12] = [
    "bytes_per_second",
    "amperes",
    "bytes",
    "celsius",
    "grams",
    "hertz",
    "joules",
    "meters",
    "ratio",
    "seconds",
    "volts",
    "watts",
];

/// What the lines before a family's samples say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Title<'a> {
    /// The family's name, which its samples' names may be longer than.
    pub(super) name: &'a str,
    /// The word for its type.
    pub(super) word: &'static str,
    /// The type, by which the samples are read.
    pub(super) kind: MetricType,
    /// Whether its samples may have exemplars.
    pub(super) takes_exemplars: bool,
}

/// How a family is titled among others of these names. `None` if there is no way.
pub(super) fn title<'a>(
    family: &'a MetricFamily,
    syntax: Syntax,
    names: &HashSet<&str>,
) -> Option<Title<'a>> {
    let kind = family.get_field_type();
    let (name, word) = match (kind, syntax) {
        (MetricType::COUNTER, Syntax::Classic) => (family.name(), "counter"),
        (MetricType::GAUGE, Syntax::Classic) => (family.name(), "gauge"),
        (MetricType::COUNTER, Syntax::OpenMetrics) => counter(family, names),
        (MetricType::GAUGE, Syntax::OpenMetrics) => gauge(family, names),
        (MetricType::HISTOGRAM, _) => (family.name(), "histogram"),
        (MetricType::SUMMARY, _) => (family.name(), "summary"),
        (MetricType::UNTYPED, _) => return None,
    };
    let takes_exemplars = syntax == Syntax::OpenMetrics && matches!(word, "counter" | "histogram");
    Some(Title {
        name,
        word,
        kind,
        takes_exemplars,
    })
}

fn counter<'a>(family: &'a MetricFamily, names: &HashSet<&str>) -> (&'a str, &'static str) {
    let name = family.name();
    match name.strip_suffix("_total") {
        Some(short) if !short.is_empty() && !names.contains(short) => (short, "counter"),
        _ => (name, "unknown"),
    }
}

fn gauge<'a>(family: &'a MetricFamily, names: &HashSet<&str>) -> (&'a str, &'static str) {
    let name = family.name();
    let is_free = |short: &str| {
        let counter = format!("{short}_total");
        !short.is_empty() && !names.contains(short) && !names.contains(&*counter)
    };
    let is_one = || {
        let mut metrics = family.get_metric().iter();
        metrics.all(|metric| values::gauge(metric.get_gauge()).to_bits() == 1_f64.to_bits())
    };
    match name.strip_suffix("_info") {
        Some(short) if is_free(short) && is_one() => (short, "info"),
        _ => (name, "gauge"),
    }
}

/// The unit that a family's name ends with.
///
/// ```
/// use monitoring::server::exposition::unit;
///
/// assert_eq!(unit("node_cpu_seconds"), Some("seconds"));
/// assert_eq!(unit("node_load1"), None);
/// ```
pub fn unit(name: &str) -> Option<&'static str> {
    let is_last = |unit: &&str| {
        let rest = name.strip_suffix(*unit);
        rest.is_some_and(|rest| rest.len() > 1 && rest.ends_with('_'))
    };
    UNITS.into_iter().find(is_last)
}
