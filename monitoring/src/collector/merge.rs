//! Families of several origins become one list, in which each name and each series is there once: a
//! second one would make a whole scrape invalid.
//!
//! Knows nothing of where families come from.

use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

use ::prometheus::proto::{Metric, MetricFamily, MetricType};

use crate::metrics::refused;

/// The families by name. Of two series that are called the same, the earlier one is kept, and so is
/// the earlier of two types.
pub(super) fn sorted(families: impl IntoIterator<Item = MetricFamily>) -> Vec<MetricFamily> {
    let mut by_name: BTreeMap<String, MetricFamily> = BTreeMap::new();
    for family in families.into_iter().filter(is_exportable) {
        match by_name.entry(family.name().to_owned()) {
            Entry::Vacant(free) => {
                free.insert(family);
            }
            Entry::Occupied(mut known) => add(known.get_mut(), family),
        }
    }
    by_name.into_values().collect()
}

/// Foreign registries may have what the text format has no words for.
fn is_exportable(family: &MetricFamily) -> bool {
    family.get_field_type() != MetricType::UNTYPED
        && !family.get_metric().is_empty()
        && !family.name().is_empty()
}

fn add(known: &mut MetricFamily, mut family: MetricFamily) {
    let mut taken: BTreeSet<_> = known.get_metric().iter().map(labels).collect();
    let is_same_type = known.get_field_type() == family.get_field_type();
    for metric in family.take_metric() {
        if is_same_type && taken.insert(labels(&metric)) {
            known.mut_metric().push(metric);
        } else {
            refused::count_conflict(known.name());
        }
    }
}

/// What tells a series from others.
fn labels(metric: &Metric) -> Vec<(String, String)> {
    let labels = metric.get_label().iter();
    let mut labels: Vec<_> = labels
        .map(|label| (label.name().to_owned(), label.value().to_owned()))
        .collect();
    labels.sort();
    labels
}
