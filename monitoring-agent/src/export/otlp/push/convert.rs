//! Prometheus' families as OTLP has them. Knows nothing of who takes them.
//!
//! Names stay what they are, `_total` included, so that they are the same by whichever way they come.

use bytes::Bytes;
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
use prost::{Message, length_delimiter_len};

use super::starts::Starts;
use crate::{host_resource, spans::attributes::text};

/// Data points of one request, at most.
const POINTS: usize = 2000;

/// Bytes that the lengths of two messages may take, one in the other, and two numbers beside them: of
/// `resource_metrics` and `scope_metrics`, or of a metric and its data.
const FRAMES: usize = 2 * 6 + 2 * 2;

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
    /// What is in no request so far.
    rest: Place<'a>,
    resource: Resource,
    time_ns: u64,
    starts: &'a Starts,
}

/// Where the points of a snapshot begin that are left.
#[derive(Clone, Copy)]
struct Place<'a> {
    families: &'a [MetricFamily],
    /// Of the first of `families`, those that come before.
    done: usize,
}

/// A request, to be [done](Requests::done) when it is over with; until then it is made once more.
pub struct Request<'a> {
    /// As it is sent.
    pub message: Bytes,
    /// Its data points.
    pub points: usize,
    after: Place<'a>,
}

/// What has room in a request.
struct Room {
    points: usize,
    bytes: usize,
}

impl<'a> Requests<'a> {
    /// Those of a node, by its name and type, for families whose numbers are of this time, in
    /// nanoseconds since 1970. `starts` has looked at them.
    pub fn of(
        families: &'a [MetricFamily],
        (node, node_type): (&str, &str),
        time_ns: u64,
        starts: &'a Starts,
    ) -> Self {
        Self {
            rest: Place { families, done: 0 },
            resource: resource(node, node_type),
            time_ns,
            starts,
        }
    }

    /// The next request, of so many bytes at most, but of one point at least, if there is any left.
    pub fn next(&self, bytes: usize) -> Option<Request<'a>> {
        let scope = InstrumentationScope {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..InstrumentationScope::default()
        };
        let around = FRAMES + field(self.resource.encoded_len()) + field(scope.encoded_len());
        let mut room = Room {
            points: POINTS,
            bytes: bytes.saturating_sub(around),
        };
        let (metrics, after) = self.metrics(&mut room);
        if metrics.is_empty() {
            return None;
        }
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
        Some(Request {
            message: request.encode_to_vec().into(),
            points: POINTS - room.points,
            after,
        })
    }

    /// The next request is the one after this.
    pub fn done(&mut self, request: &Request<'a>) {
        self.rest = request.after;
    }

    /// Metrics with as many points as there is room for, in order, and what comes after them.
    fn metrics(&self, room: &mut Room) -> (Vec<Metric>, Place<'a>) {
        let (mut metrics, mut at) = (Vec::new(), self.rest);
        while let Some((family, after)) = at.families.split_first() {
            let rest = &family.get_metric()[at.done..];
            let before = room.points;
            if let Some(metric) = metric(family, rest, self.time_ns, self.starts, room) {
                let taken = before - room.points;
                if taken > 0 {
                    metrics.push(metric);
                }
                if taken < rest.len() {
                    at.done += taken;
                    break;
                }
            }
            at = Place {
                families: after,
                done: 0,
            };
        }
        (metrics, at)
    }
}

impl Room {
    /// Whether there is room for a point of so many bytes; it is taken then. The first has it always.
    fn takes(&mut self, bytes: usize) -> bool {
        let fits = self.points == POINTS || (self.points > 0 && bytes <= self.bytes);
        if fits {
            self.points -= 1;
            self.bytes = self.bytes.saturating_sub(bytes);
        }
        fits
    }

    /// As many points as there is room for, of as many series.
    fn points<P: Message>(
        &mut self,
        series: &[proto::Metric],
        point: impl Fn(&proto::Metric) -> P,
    ) -> Vec<P> {
        let points = series.iter().map(point);
        points
            .take_while(|point| self.takes(field(point.encoded_len())))
            .collect()
    }
}

/// Bytes of a field with a message of so many bytes: OTLP's fields have one byte before their length.
fn field(bytes: usize) -> usize {
    1 + length_delimiter_len(bytes) + bytes
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

/// A family's first points, as many as there is room for. `None` for a family that OTLP cannot have.
fn metric(
    family: &MetricFamily,
    series: &[proto::Metric],
    time_ns: u64,
    starts: &Starts,
    room: &mut Room,
) -> Option<Metric> {
    let name = family.name();
    let mut metric = Metric {
        name: name.to_owned(),
        description: family.help().to_owned(),
        unit: unit(name).to_owned(),
        ..Metric::default()
    };
    room.bytes = room
        .bytes
        .saturating_sub(FRAMES + field(metric.encoded_len()));
    let number = |metric: &proto::Metric, start_time_unix_nano, value| NumberDataPoint {
        attributes: attributes(metric.get_label()),
        start_time_unix_nano,
        time_unix_nano: time_ns,
        value: Some(Value::AsDouble(value)),
        ..NumberDataPoint::default()
    };
    let cumulative = AggregationTemporality::Cumulative.into();
    metric.data = Some(match family.get_field_type() {
        MetricType::COUNTER => Data::Sum(Sum {
            data_points: room.points(series, |metric| {
                let start_ns = starts.of(name, metric.get_label());
                number(metric, start_ns, metric.get_counter().get_value())
            }),
            aggregation_temporality: cumulative,
            is_monotonic: true,
        }),
        MetricType::HISTOGRAM => Data::Histogram(Histogram {
            data_points: room.points(series, |metric| histogram(name, metric, time_ns, starts)),
            aggregation_temporality: cumulative,
        }),
        MetricType::SUMMARY => Data::Summary(Summary {
            data_points: room.points(series, |metric| summary(name, metric, time_ns, starts)),
        }),
        MetricType::GAUGE => Data::Gauge(Gauge {
            data_points: room.points(series, |metric| {
                number(metric, 0, metric.get_gauge().get_value())
            }),
        }),
        // None of the agent's is of no type.
        MetricType::UNTYPED => return None,
    });
    Some(metric)
}

fn histogram(
    name: &str,
    metric: &proto::Metric,
    time_ns: u64,
    starts: &Starts,
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
        start_time_unix_nano: starts.of(name, metric.get_label()),
        time_unix_nano: time_ns,
        count,
        sum: Some(histogram.get_sample_sum()),
        bucket_counts: counts,
        explicit_bounds: bounds,
        ..HistogramDataPoint::default()
    }
}

fn summary(name: &str, metric: &proto::Metric, time_ns: u64, starts: &Starts) -> SummaryDataPoint {
    let summary = metric.get_summary();
    let count = summary.sample_count();
    let quantiles = summary.get_quantile().iter();
    SummaryDataPoint {
        attributes: attributes(metric.get_label()),
        start_time_unix_nano: starts.of(name, metric.get_label()),
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
