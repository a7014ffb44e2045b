//! Families of all kinds, as a receiver of OTLP reads them.

use super::*;
use crate::families::Family;

/// All metrics of all requests, in order, with the number of points of each request.
fn pushed(
    families: &[MetricFamily],
    time_ns: u64,
    starts: &mut Starts,
) -> (Vec<Metric>, Vec<usize>) {
    pushed_by(families, time_ns, starts, 1 << 20)
}

/// The same, of requests of so many bytes at most.
fn pushed_by(
    families: &[MetricFamily],
    time_ns: u64,
    starts: &mut Starts,
    bytes: usize,
) -> (Vec<Metric>, Vec<usize>) {
    starts.look(families, time_ns);
    let (mut metrics, mut points) = (Vec::new(), Vec::new());
    let mut requests = Requests::of(families, ("node-1", "gpu"), time_ns, starts);
    while let Some(made) = requests.next(bytes) {
        requests.done(&made);
        assert!(
            made.message.len() <= bytes || made.points == 1,
            "{} bytes",
            made.message.len()
        );
        let request = ExportMetricsServiceRequest::decode(made.message).unwrap();
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
        points.push(made.points);
        assert_eq!(all.iter().map(count).sum::<usize>(), made.points);
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
    let mut seen = seen(&metrics);
    let all: usize = sizes.iter().sum();
    assert_eq!(seen.len(), all);
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), all);
}

/// The points of gauges, by metric and first label.
fn seen(metrics: &[Metric]) -> Vec<(String, String)> {
    let mut seen = Vec::new();
    for metric in metrics {
        let Some(Data::Gauge(gauge)) = &metric.data else {
            panic!("{metric:?}");
        };
        for point in &gauge.data_points {
            let label = format!("{:?}", point.attributes[0].value);
            seen.push((metric.name.clone(), label));
        }
    }
    seen
}

#[test]
fn requests_are_as_small_as_they_have_to_be() {
    let gauges = |name: &str, label: &str, count: usize| {
        let mut family = Family::gauge(name, "What it is.");
        for value in 0..count {
            family.push(&[("number", &format!("{label}{value}"))], 1.0);
        }
        family.build()
    };
    let long = "x".repeat(5000);
    let mut histogram = Family::histogram("wait_seconds", "");
    for number in 0..50 {
        let bounds = [(0.5, 2), (1.0, 2), (f64::INFINITY, 9)];
        histogram.push_histogram(&[("number", &number.to_string())], bounds, 9, 1.0);
    }
    let histograms = [histogram.build()];
    let gauges = [
        gauges("short", "", 300),
        gauges("long", &long, 30),
        gauges("one", "", 1),
    ];
    let mut want = seen(&pushed(&gauges, 1, &mut Starts::default()).0);
    want.sort();
    assert_eq!(want.len(), 331);
    for bytes in [0, 1, 500, 1000, 5000, 10_000, 100_000] {
        let (metrics, points) = pushed_by(&gauges, 1, &mut Starts::default(), bytes);
        let mut seen = seen(&metrics);
        seen.sort();
        assert_eq!(seen, want, "{bytes} bytes");
        if bytes >= 5000 {
            // They are not smaller than they have to be, either.
            assert!(points.len() <= 260_000 / bytes + 10, "{points:?}");
        }
        let (_, points) = pushed_by(&histograms, 1, &mut Starts::default(), bytes);
        assert_eq!(points.iter().sum::<usize>(), 50);
    }
}

#[test]
fn a_request_that_is_not_done_is_made_once_more() {
    let mut family = Family::gauge("short", "");
    for value in 0..100 {
        family.push(&[("number", &value.to_string())], 1.0);
    }
    let (families, starts) = ([family.build()], Starts::default());
    let mut requests = Requests::of(&families, ("node-1", "gpu"), 1, &starts);
    let (mut bytes, mut points, mut refused) = (1 << 20, 0, 0);
    while let Some(request) = requests.next(bytes) {
        if request.message.len() > 1500 {
            bytes /= 2;
            refused += 1;
            continue;
        }
        points += request.points;
        requests.done(&request);
    }
    assert!(refused > 1);
    assert_eq!(points, 100);
}
