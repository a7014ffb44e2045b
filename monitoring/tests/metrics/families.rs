//! Series by label values: found again, told apart, and bounded.

use std::{collections::BTreeSet, sync::Barrier, thread};

use monitoring::{Counter, Family, MetricBuilder, MetricType, MetricsCollector};

use super::own_count;

const LIMITED: &str = "monitoring_series_limited_total";

fn builder(name: &str, collector: &MetricsCollector) -> MetricBuilder {
    MetricBuilder::new()
        .name(name)
        .help("Help.")
        .collector(collector)
}

fn two_labels(name: &str, collector: &MetricsCollector) -> Family<Counter> {
    builder(name, collector)
        .label("a")
        .label("b")
        .build_counter()
}

#[test]
fn metrics_are_found_by_labels_in_any_order() {
    let family = two_labels("c_total", &MetricsCollector::isolated());
    family.with_labels(&[("a", "1"), ("b", "2")]).inc();
    family.with_labels(&[("b", "2"), ("a", "1")]).inc();
    family.with_values(&["1", "2"]).inc();
    family.at(&["1", "2"]).inc();
    assert_eq!(family.at(&["1", "2"]).get(), 4);
    // The same characters, divided otherwise.
    family.with_values(&["12", ""]).inc();
    family.with_values(&["", "12"]).inc_by(2);
    family.with_values(&["2", "1"]).inc_by(3);
    let counts =
        [["1", "2"], ["12", ""], ["", "12"], ["2", "1"]].map(|values| family.at(&values).get());
    assert_eq!(counts, [4, 1, 2, 3]);
}

#[test]
fn metrics_with_wrong_labels_say_what_is_right() {
    let family = two_labels("c_total", &MetricsCollector::isolated());
    let check = |labels: &[(&str, &str)], want: &str| {
        let error = family.try_with_labels(labels).unwrap_err().to_string();
        let expected = format!("metric `c_total` has the labels [a, b], but was asked for {want}");
        assert_eq!(error, expected);
    };
    check(&[], "[]");
    check(&[("a", "1")], "[a]");
    check(&[("a", "1"), ("c", "2")], "[a, c]");
    check(&[("a", "1"), ("a", "2")], "[a, a]");
    check(&[("a", "1"), ("b", "2"), ("c", "3")], "[a, b, c]");
    assert!(
        thread::spawn(move || drop(family.with_values(&["1"])))
            .join()
            .is_err()
    );
}

#[test]
fn metrics_without_labels_have_one_series() {
    let collector = MetricsCollector::isolated();
    let family = builder("g", &collector).build_gauge();
    family.with_labels(&[]).set(3);
    assert_eq!(collector.gauge("g", "Help.").get(), 3.0);
    assert!(family.try_with_labels(&[("a", "1")]).is_err());
}

#[test]
fn metrics_beyond_the_limit_are_counted_together() {
    let collector = MetricsCollector::isolated();
    let family = builder("families_limited_total", &collector)
        .label("path")
        .label("status")
        .series_limit(3)
        .build_counter();
    let limited = own_count(LIMITED, "families_limited_total");
    for number in 0..10_u32 {
        family
            .with_values(&[&number.to_string(), "200"])
            .inc_by(u64::from(number) + 1);
    }
    // Those that were there before the limit was reached are found as before.
    family.with_values(&["0", "200"]).inc_by(100);
    let counts = ["0", "1", "2"].map(|path| family.at(&[path, "200"]).get());
    assert_eq!(counts, [101, 2, 3]);
    assert_eq!(
        family.at(&["other", "other"]).get(),
        4 + 5 + 6 + 7 + 8 + 9 + 10
    );
    assert_eq!(own_count(LIMITED, "families_limited_total") - limited, 7.0);
    let families = collector.gather();
    assert_eq!(families[0].get_metric().len(), 4);
    let sum: f64 = families[0]
        .get_metric()
        .iter()
        .map(|m| m.get_counter().get_value())
        .sum();
    assert_eq!(sum, 155.0);
}

#[test]
fn metrics_looked_up_by_many_threads_are_the_same() {
    const SERIES: usize = 500;
    let collector = MetricsCollector::isolated();
    let family = two_labels("c_total", &collector);
    let start = Barrier::new(4);
    thread::scope(|scope| {
        for first in 0..4 {
            let (family, start) = (&family, &start);
            scope.spawn(move || {
                start.wait();
                for number in 0..SERIES {
                    // Each thread begins elsewhere, so that all make series, and all find those
                    // that others make while the table grows.
                    let number = (number + first * SERIES / 4) % SERIES;
                    family.at(&[&number.to_string(), "x"]).inc();
                    family
                        .with_labels(&[("a", &number.to_string()), ("b", "x")])
                        .inc();
                }
            });
        }
    });
    let families = collector.gather();
    let values = families[0]
        .get_metric()
        .iter()
        .map(|m| m.get_counter().get_value());
    assert!(values.clone().all(|value| value == 8.0));
    assert_eq!(values.count(), SERIES);
    let labels = families[0]
        .get_metric()
        .iter()
        .map(|m| m.get_label()[0].value().to_owned());
    assert_eq!(labels.collect::<BTreeSet<_>>().len(), SERIES);
}

#[test]
fn metrics_of_all_kinds_are_built() {
    let collector = MetricsCollector::isolated();
    let build = |name: &str, kind| {
        builder(name, &collector)
            .metric_type(kind)
            .label("l")
            .build()
    };
    let labels = [("l", "v")];
    let counter = build("c_total", MetricType::Counter).with_labels(&labels);
    counter.inc();
    counter.inc_by(2);
    let seconds = build("s_total", MetricType::FloatCounter).with_labels(&labels);
    seconds.inc();
    seconds.add(0.5);
    let gauge = build("g", MetricType::Gauge).with_labels(&labels);
    gauge.set(10);
    gauge.inc();
    gauge.dec();
    gauge.sub(3);
    gauge.add(0.25);
    let histogram = build("h", MetricType::Histogram).with_labels(&labels);
    histogram.observe(0.01);
    let text = collector.encode();
    for line in [
        "c_total{l=\"v\"} 3",
        "s_total{l=\"v\"} 1.5",
        "g{l=\"v\"} 7.25",
        "h_bucket{l=\"v\",le=\"0.005\"} 0",
        "h_bucket{l=\"v\",le=\"0.01\"} 1",
        "h_sum{l=\"v\"} 0.01",
        "h_count{l=\"v\"} 1",
    ] {
        assert!(text.lines().any(|other| other == line), "{line} in {text}");
    }
}
