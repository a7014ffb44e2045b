//! What this crate counts about the metrics themselves, so that nothing gets lost unseen.

use super::{Counter, Family, MetricBuilder, builder::MOST_SERIES, definition::Definition};
use crate::{MetricsCollector, collector};

const REFUSED: &str = "monitoring_refused_observations_total";
const LIMITED: &str = "monitoring_series_limited_total";
const CONFLICTS: &str = "monitoring_conflicting_series_total";

/// The counters, by metric. Made together with the process's own collector, before anyone else can
/// take their names.
pub(crate) struct Refused {
    /// Numbers that a metric cannot have, and operations that it does not have.
    observations: Family<Counter>,
    /// Look-ups beyond a metric's limit of series.
    limited: Family<Counter>,
    /// Series that another one of the same name and labels stands before.
    conflicts: Family<Counter>,
}

impl Refused {
    pub(crate) fn new(collector: &MetricsCollector) -> Self {
        let by_metric = |name, help| {
            MetricBuilder::new()
                .name(name)
                .help(help)
                .label("metric")
                .series_limit(MOST_SERIES)
                .exact_name()
                .collector(collector)
                .build_counter()
        };
        Self {
            observations: by_metric(
                REFUSED,
                "Values that a metric cannot take, such as NaN, and operations that its type does \
                 not have.",
            ),
            limited: by_metric(
                LIMITED,
                "Look-ups of label values that went to the series `other`, as the metric has as \
                 many series as it may have.",
            ),
            conflicts: by_metric(
                CONFLICTS,
                "Series that were not shown, as another one has the same name and labels, or the \
                 same name and another type; counted each time that metrics are read.",
            ),
        }
    }
}

/// Counts something that was not added to a metric.
#[cold]
#[inline(never)]
pub(crate) fn count(metric: &Definition) {
    collector::refused().observations.at(&[&metric.name]).inc();
}

/// Counts a look-up that went to `other`.
pub(crate) fn count_limited(metric: &Definition) {
    // What is beyond the limit of this very metric cannot be counted by it.
    if &*metric.name != LIMITED {
        collector::refused().limited.at(&[&metric.name]).inc();
    }
}

/// Counts a series that was not shown.
pub(crate) fn count_conflict(metric: &str) {
    collector::refused().conflicts.at(&[metric]).inc();
}
