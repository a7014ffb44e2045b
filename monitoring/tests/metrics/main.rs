//! Metrics as a program uses them: real threads, all kinds, and what is read in the end.
//!
//! Most tests have a collector of their own, so that they do not see each other.

#![allow(clippy::float_cmp, reason = "a metric is exactly what it was given")]

mod families;
mod gauges;
mod names;
mod other_crate;
mod process;
mod reading;
mod refused;
mod threads;

use prometheus::proto::{Metric, MetricFamily};

/// The one series with these labels; there may be others.
fn series<'a>(families: &'a [MetricFamily], name: &str, labels: &[(&str, &str)]) -> &'a Metric {
    let family = families.iter().find(|family| family.name() == name);
    let family = family.unwrap_or_else(|| panic!("no family {name}"));
    let matches = |metric: &&Metric| {
        let pairs = metric.get_label().iter();
        let pairs: Vec<(&str, &str)> = pairs.map(|pair| (pair.name(), pair.value())).collect();
        pairs == labels
    };
    let mut found = family.get_metric().iter().filter(matches);
    let metric = found
        .next()
        .unwrap_or_else(|| panic!("no {name}{labels:?}"));
    assert!(found.next().is_none(), "{name}{labels:?} is there twice");
    metric
}

/// The value of a counter of this crate about itself, for one metric.
fn own_count(name: &str, metric: &str) -> f64 {
    let families = monitoring::MetricsCollector::new().gather();
    if families.iter().all(|family| family.name() != name) {
        return 0.0;
    }
    let all = families.iter().find(|family| family.name() == name);
    let counted = all.into_iter().flat_map(MetricFamily::get_metric);
    let of_metric = counted.filter(|series| series.get_label()[0].value() == metric);
    of_metric
        .map(|series| series.get_counter().get_value())
        .sum()
}
