//! Families of all kinds, as a receiver of OTLP reads them.

use super::*;
use crate::families::Family;

/// All metrics of all requests, in order, with the number of points of each request.
fn pushed(
    families: &[MetricFamily],
    time_ns: u64,
    starts: &mut Starts,
) -> (Vec<Metric>, Vec<usize>) {
    let (mut metrics, mut points) = (Vec::new(), Vec::new());
    for request in Requests::of(families, ("node-1", "gpu"), time_ns, starts) {
        let request = ExportMetricsServiceRequest::decode(&request[..]).unwrap();
        let [of_resource] = &request.resource_metrics[..] else {
            panic!("{request:?}");
        };
        let resource = of_resource.resource.as_ref().unwrap();
        // The same as spans say.
        for attribute in host_resource::attributes("node-1", "gpu") {
            assert!(resource.attributes.contains(&attribute), "{attribute:?}");
        }
        assert!(resource.attributes.contains(&text("host.name", "node-1")));
        let all: Vec<_> = of_resource
            .scope_metrics
            .iter()
            .flat_map(|scope| scope.metrics.clone())
            .collect();
        points.push(all.iter().map(count).sum());
        metrics.extend(all);
    }
    (metrics, points)
}

fn count(metric: &Metric) -> usize {
    match metric.data.as_ref().unwrap() {
        Data::Gauge(gauge) => gauge.data_points.len(),
        Data::Sum(sum) => sum.data_points.len(),
        Data::Histogram(histogram) => histogram.data_points.len(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn counters_are_sums_with_a_start() {
    let family = |value| {
        Family::counter("reads_bytes_total", "Bytes read.")
            .with(&[("disk", "sda")], value)
            .build()
    };
    let mut starts = Starts::default();
    let mut check = |value, time_ns, start_ns| {
        let (metrics, _) = pushed(&[family(value)], time_ns, &mut starts);
        let metric = &metrics[0];
        assert_eq!(
            (&*metric.name, &*metric.description, &*metric.unit),
            ("reads_bytes_total", "Bytes read.", "By")
        );
        let Some(Data::Sum(sum)) = &metric.data else {
            panic!("{metric:?}");
        };
        assert!(sum.is_monotonic);
        assert_eq!(
            sum.aggregation_temporality,
            AggregationTemporality::Cumulative as i32
        );
        let want = NumberDataPoint {
            attributes: vec![text("disk", "sda")],
            start_time_unix_nano: start_ns,
            time_unix_nano: time_ns,
            value: Some(Value::AsDouble(value)),
            ..NumberDataPoint::default()
        };
        assert_eq!(sum.data_points, [want]);
    };
    check(7.0, 1000, 1000);
    check(9.0, 2000, 1000);
    check(1.0, 3000, 2000);
}

#[test]
fn gauges_have_no_start() {
    let family = Family::gauge("temperature_celsius", "")
        .with(&[], -3.5)
        .build();
    let (metrics, _) = pushed(&[family], 1000, &mut Starts::default());
    let Some(Data::Gauge(gauge)) = &metrics[0].data else {
        panic!("{metrics:?}");
    };
    let point = &gauge.data_points[0];
    assert_eq!(
        (point.start_time_unix_nano, point.time_unix_nano),
        (0, 1000)
    );
    assert_eq!(point.value, Some(Value::AsDouble(-3.5)));
    assert_eq!(metrics[0].unit, "Cel");
}

#[test]
fn histograms_count_from_bound_to_bound() {
    let mut family = Family::histogram("wait_seconds", "");
    family.push_histogram(
        &[],
        [(0.5, 2), (1.0, 2), (2.0, 5), (f64::INFINITY, 9)],
        9,
        12.5,
    );
    let (metrics, _) = pushed(&[family.build()], 1000, &mut Starts::default());
    let Some(Data::Histogram(histogram)) = &metrics[0].data else {
        panic!("{metrics:?}");
    };
    let point = &histogram.data_points[0];
    assert_eq!(point.explicit_bounds, [0.5, 1.0, 2.0]);
    assert_eq!(point.bucket_counts, [2, 0, 3, 4]);
    assert_eq!((point.count, point.sum), (9, Some(12.5)));
    assert_eq!(
        (point.start_time_unix_nano, metrics[0].unit.as_str()),
        (1000, "s")
    );
}

#[test]
fn a_large_snapshot_is_several_requests_and_each_point_is_in_one() {
    let sizes = [1, POINTS - 2, 3, 0, 2 * POINTS + 1, 1];
    let families: Vec<_> = sizes
        .iter()
        .enumerate()
        .map(|(number, &size)| {
            let mut family = Family::gauge(&format!("family{number}"), "");
            for value in 0..size {
                family.push(&[("number", &value.to_string())], value as f64);
            }
            family.build()
        })
        .collect();
    let (metrics, points) = pushed(&families, 1, &mut Starts::default());
    assert!(
        points.iter().rev().skip(1).all(|&points| points == POINTS),
        "{points:?}"
    );
    let mut seen: Vec<(String, String)> = Vec::new();
    for metric in &metrics {
        let Some(Data::Gauge(gauge)) = &metric.data else {
            panic!("{metric:?}");
        };
        for point in &gauge.data_points {
            seen.push((
                metric.name.clone(),
                format!("{:?}", point.attributes[0].value),
            ));
        }
    }
    let all: usize = sizes.iter().sum();
    assert_eq!(seen.len(), all);
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), all);
}
