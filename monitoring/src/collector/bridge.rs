//! This crate's metrics as collectors of the crate `prometheus`, so that its registries can have
//! them: all metrics of a collector, or one metric with all its series.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use ::prometheus::{
    core::{Collector as Foreign, Desc},
    proto::MetricFamily,
};

use super::{MetricsCollector, merge, naming::Naming, samples};
use crate::metrics::{Family, Instrument, Metric, definition::Definition, family::AnyFamily};

/// All metrics that the collector has itself, with their full names; not those of registries that it
/// includes, one of which may include this collector.
impl Foreign for MetricsCollector {
    /// One description, which stands for whatever metrics there will be.
    fn desc(&self) -> Vec<&Desc> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        vec![self.0.description.get_or_init(|| {
            let number = NUMBER.fetch_add(1, Relaxed);
            let name = format!("monitoring_collector_{number}");
            described(
                name,
                "The metrics of a collector of `monitoring`.",
                Vec::new(),
            )
        })]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        merge::sorted(self.own())
    }
}

/// The metric with all its series, under the name that it was given; prefix and labels are those of
/// the registry that it is registered in.
impl<T: Instrument> Foreign for Family<T> {
    fn desc(&self) -> Vec<&Desc> {
        vec![of_definition(self.members().definition())]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        vec![samples::one(&**self.members(), &Naming::default())]
    }
}

/// As for a [`Family`].
impl Foreign for Metric {
    fn desc(&self) -> Vec<&Desc> {
        match self {
            Self::Counter(family) => family.desc(),
            Self::FloatCounter(family) => family.desc(),
            Self::Gauge(family) => family.desc(),
            Self::Histogram(family) => family.desc(),
        }
    }

    fn collect(&self) -> Vec<MetricFamily> {
        match self {
            Self::Counter(family) => family.collect(),
            Self::FloatCounter(family) => family.collect(),
            Self::Gauge(family) => family.collect(),
            Self::Histogram(family) => family.collect(),
        }
    }
}

fn of_definition(definition: &Arc<Definition>) -> &Desc {
    definition.description.get_or_init(|| {
        let labels = definition.labels.iter().map(ToString::to_string).collect();
        Box::new(described(
            definition.name.to_string(),
            &definition.help,
            labels,
        ))
    })
}

fn described(name: String, help: &str, labels: Vec<String>) -> Desc {
    // The crate `prometheus` wants a text.
    let help = if help.is_empty() { &name } else { help }.to_owned();
    Desc::new(name, help, labels, HashMap::new()).expect("names were checked by the same rules")
}
