//! Prometheus' families as OTLP has them. Knows nothing of who takes them.
//!
//! Names stay what they are, `_total` included, so that they are the same by whichever way they come.

use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    common::v1::{InstrumentationScope, KeyValue},
    metrics::v1::{
        AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint,
        ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint, metric::Data,
        number_data_point::Value, summary_data_point::ValueAtQuantile,
    },
    resource::v1::Resource,
};
use prometheus::proto::{self, LabelPair, MetricFamily, MetricType};
use prost::Message as _;

use super::starts::Starts;
use crate::{host_resource, spans::attributes::text};

/// Data points of one request, at most: a few hundred KiB.
const POINTS: usize = 2000;

/// What names end with, and the unit that this stands for.
const UNITS: [(&str, &str); 7] = [
    ("_seconds", "s"),
    ("_bytes", "By"),
    ("_celsius", "Cel"),
    ("_watts", "W"),
    ("_joules", "J"),
    ("_hertz", "Hz"),
    ("_ratio", "1"),
];

/// The requests that a snapshot is, one at a time: only one of them is in memory.
pub struct Requests<'a> {
    families: &'a [MetricFamily],
    /// Of the first of `families`, those that were in a request already.
    done: usize,
    resource: Resource,
    time_ns: u64,
    starts: &'a mut Starts,
}

impl<'a> Requests<'a> {
    /// Those of a node, by its name and type, for families whose numbers are of this time, in
    /// nanoseconds since 1970.
    pub fn of(
        families: &'a [MetricFamily],
        (node, node_type): (&str, &str),
        time_ns: u64,
        starts: &'a mut Starts,
    ) -> Self {
        starts.begin(time_ns);
        Self {
            families,
            done: 0,
            resource: resource(node, node_type),
            time_ns,
            starts,
        }
    }

    /// Metrics with so many points at most, in order.
    fn metrics(&mut self) -> Vec<Metric> {
        let (mut metrics, mut room) = (Vec::new(), POINTS);
        while room > 0
            && let Some((family, after)) = self.families.split_first()
        {
            let rest = &family.get_metric()[self.done..];
            let taken = rest.len().min(room);
            if taken > 0 {
                metrics.extend(metric(family, &rest[..taken], self.time_ns, self.starts));
            }
            room -= taken;
            self.done += taken;
            if taken == rest.len() {
                (self.families, self.done) = (after, 0);
            }
        }
        metrics
    }
}

impl Iterator for Requests<'_> {
    type Item = Vec<u8>;

    /// The next request, encoded.
    fn next(&mut self) -> Option<Vec<u8>> {
        let metrics = self.metrics();
        if metrics.is_empty() {
            return None;
        }
        let scope = InstrumentationScope {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..InstrumentationScope::default()
        };
        let request = ExportMetricsServiceRequest {
            resource_metrics: vec![ResourceMetrics {
                resource: Some(self.resource.clone()),
                scope_metrics: vec![ScopeMetrics {
                    scope: Some(scope),
                    metrics,
                    ..ScopeMetrics::default()
                }],
                ..ResourceMetrics::default()
            }],
        };
        Some(request.encode_to_vec())
    }
}

/// This node, and the agent on it.
fn resource(node: &str, node_type: &str) -> Resource {
    let mut attributes = vec![
        text("service.name", env!("CARGO_PKG_NAME")),
        text("service.version", env!("CARGO_PKG_VERSION")),
    ];
    let id = host_resource::machine_id();
    if !id.is_empty() {
        attributes.push(text("service.instance.id", id));
    }
    attributes.extend(host_resource::attributes(node, node_type));
    Resource {
        attributes,
        ..Resource::default()
    }
}

fn metric(
    family: &MetricFamily,
    series: &[proto::Metric],
    time_ns: u64,
    starts: &mut Starts,
) -> Option<Metric> {
    let name = family.name();
    let numbers = |starts: &mut Option<&mut Starts>, value: &dyn Fn(&proto::Metric) -> f64| {
        let points = series.iter().map(|metric| {
            let value = value(metric);
            let start = starts
                .as_mut()
                .map(|starts| starts.of(name, metric.get_label(), value));
            NumberDataPoint {
                attributes: attributes(metric.get_label()),
                start_time_unix_nano: start.unwrap_or_default(),
                time_unix_nano: time_ns,
                value: Some(Value::AsDouble(value)),
                ..NumberDataPoint::default()
            }
        });
        points.collect::<Vec<_>>()
    };
    let cumulative = AggregationTemporality::Cumulative.into();
    let data = match family.get_field_type() {
        MetricType::COUNTER => Data::Sum(Sum {
            data_points: numbers(&mut Some(starts), &|metric| {
                metric.get_counter().get_value()
            }),
            aggregation_temporality: cumulative,
            is_monotonic: true,
        }),
        MetricType::HISTOGRAM => Data::Histogram(Histogram {
            data_points: series
                .iter()
                .map(|metric| histogram(name, metric, time_ns, starts))
                .collect(),
            aggregation_temporality: cumulative,
        }),
        MetricType::SUMMARY => Data::Summary(Summary {
            data_points: series
                .iter()
                .map(|metric| summary(name, metric, time_ns, starts))
                .collect(),
        }),
        MetricType::GAUGE => Data::Gauge(Gauge {
            data_points: numbers(&mut None, &|metric| metric.get_gauge().get_value()),
        }),
        // None of the agent's is of no type.
        MetricType::UNTYPED => return None,
    };
    Some(Metric {
        name: name.to_owned(),
        description: family.help().to_owned(),
        unit: unit(name).to_owned(),
        metadata: Vec::new(),
        data: Some(data),
    })
}

fn histogram(
    name: &str,
    metric: &proto::Metric,
    time_ns: u64,
    starts: &mut Starts,
) -> HistogramDataPoint {
    let histogram = metric.get_histogram();
    let count = histogram.get_sample_count();
    // Prometheus counts up to each bound; OTLP from one to the next, and beyond the last.
    let (mut bounds, mut counts, mut below) = (Vec::new(), Vec::new(), 0);
    for bucket in histogram.get_bucket() {
        if bucket.upper_bound().is_infinite() {
            continue;
        }
        let up_to = bucket.cumulative_count();
        bounds.push(bucket.upper_bound());
        counts.push(up_to.saturating_sub(below));
        below = up_to.max(below);
    }
    counts.push(count.saturating_sub(below));
    HistogramDataPoint {
        attributes: attributes(metric.get_label()),
        start_time_unix_nano: starts.of(name, metric.get_label(), count as f64),
        time_unix_nano: time_ns,
        count,
        sum: Some(histogram.get_sample_sum()),
        bucket_counts: counts,
        explicit_bounds: bounds,
        ..HistogramDataPoint::default()
    }
}

fn summary(
    name: &str,
    metric: &proto::Metric,
    time_ns: u64,
    starts: &mut Starts,
) -> SummaryDataPoint {
    let summary = metric.get_summary();
    let count = summary.sample_count();
    let quantiles = summary.get_quantile().iter();
    SummaryDataPoint {
        attributes: attributes(metric.get_label()),
        start_time_unix_nano: starts.of(name, metric.get_label(), count as f64),
        time_unix_nano: time_ns,
        count,
        sum: summary.sample_sum(),
        quantile_values: quantiles
            .map(|quantile| ValueAtQuantile {
                quantile: quantile.quantile(),
                value: quantile.value(),
            })
            .collect(),
        flags: 0,
    }
}

fn attributes(labels: &[LabelPair]) -> Vec<KeyValue> {
    let labels = labels.iter();
    labels
        .map(|label| text(label.name(), label.value()))
        .collect()
}

fn unit(name: &str) -> &'static str {
    let name = name.strip_suffix("_total").unwrap_or(name);
    let found = UNITS.iter().find(|(suffix, _)| name.ends_with(suffix));
    found.map_or("", |(_, unit)| unit)
}

#[cfg(test)]
mod tests;
