//! Numbers become what the crate `prometheus` exchanges.
//!
//! Knows neither threads nor formats.

use std::sync::Arc;

use ::prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType as ProtoType,
};

use super::naming::Naming;
use crate::{
    cells,
    metrics::{
        MetricType,
        definition::Definition,
        family::AnyFamily,
        instrument::{Distribution, Sample},
    },
};

/// The families with their full names, as they are at this moment. Those without series are left
/// out.
///
/// The numbers of one family are read at one moment. Between two families others get their turn:
/// threads that count for the first time, and threads that end, wait for no more than one.
pub(super) fn of(families: &[Arc<dyn AnyFamily>], naming: &Naming) -> Vec<MetricFamily> {
    let plain = Naming::default();
    let families = families.iter().map(|family| {
        let is_exact = family.definition().is_exact;
        one(&**family, if is_exact { &plain } else { naming })
    });
    families
        .filter(|family| !family.get_metric().is_empty())
        .collect()
}

/// One family as it is at this moment.
pub(super) fn one(family: &dyn AnyFamily, naming: &Naming) -> MetricFamily {
    let definition = family.definition();
    let mut series = {
        let totals = cells::totals();
        family.read(&totals)
    };
    series.sort_by_key(|(values, _)| *values);
    let metrics = series.into_iter().map(|(values, sample)| {
        let mut metric = Metric::from_label(labels(definition, values, naming));
        fill(&mut metric, definition, sample);
        metric
    });
    let mut proto = MetricFamily::default();
    proto.set_name(naming.name(&definition.name));
    proto.set_help(definition.help.to_string());
    proto.set_field_type(match definition.kind {
        MetricType::Counter | MetricType::FloatCounter => ProtoType::COUNTER,
        MetricType::Gauge => ProtoType::GAUGE,
        MetricType::Histogram => ProtoType::HISTOGRAM,
    });
    proto.set_metric(metrics.collect());
    proto
}

/// The collector's labels that the metric does not have itself, and its own in their order.
fn labels(definition: &Definition, values: &[Box<str>], naming: &Naming) -> Vec<LabelPair> {
    let common = naming
        .labels()
        .iter()
        .map(|(name, value)| (&**name, &**value));
    let common = common.filter(|(name, _)| definition.labels.iter().all(|own| **own != **name));
    let own = definition.labels.iter().zip(values);
    let own = own.map(|(name, value)| (&**name, &**value));
    let pairs = common.chain(own).map(|(name, value)| {
        let mut pair = LabelPair::default();
        pair.set_name(name.to_owned());
        pair.set_value(value.to_owned());
        pair
    });
    pairs.collect()
}

fn fill(metric: &mut Metric, definition: &Definition, sample: Sample) {
    let value = match sample {
        Sample::Count(count) => count as f64,
        Sample::Value(value) => value,
        Sample::Distribution(distribution) => {
            let bounds = definition
                .bounds
                .as_ref()
                .map_or(&[][..], |bounds| bounds.finite());
            metric.set_histogram(histogram(bounds, &distribution));
            return;
        }
    };
    if definition.kind == MetricType::Gauge {
        let mut gauge = Gauge::default();
        gauge.set_value(value);
        metric.set_gauge(gauge);
    } else {
        let mut counter = Counter::default();
        counter.set_value(value);
        metric.set_counter(counter);
    }
}

fn histogram(bounds: &[f64], distribution: &Distribution) -> Histogram {
    let mut cumulative = 0;
    let buckets = bounds
        .iter()
        .zip(&distribution.counts)
        .map(|(bound, count)| {
            cumulative += count;
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(*bound);
            bucket.set_cumulative_count(cumulative);
            bucket
        });
    let mut histogram = Histogram::default();
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_count(distribution.counts.iter().sum());
    histogram.set_sample_sum(distribution.sum);
    histogram
}
