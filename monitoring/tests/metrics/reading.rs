//! What is read: full names, order, and the text of Prometheus.

use monitoring::{MetricBuilder, MetricsCollector};

#[test]
fn metrics_are_written_as_text() {
    let collector = MetricsCollector::isolated()
        .with_prefix("swarm")
        .with_labels([("zone", "b"), ("node", "gpu-01")]);
    collector.counter("z_total", "Last.").inc_by(7);
    let family = MetricBuilder::new()
        .name("requests_total")
        .help("Two\nlines \\ of help.")
        .label("path")
        .collector(&collector)
        .build_counter();
    family.with_values(&["/b"]).inc();
    family.with_values(&["/a\n\"\\"]).inc_by(2);
    let bounds = [0.5, 1.0];
    let histogram = collector
        .try_histogram_with_buckets("h_seconds", "", &bounds)
        .unwrap();
    for value in [0.5, 0.75, 8.0] {
        histogram.observe(value);
    }
    let exact = MetricBuilder::new()
        .name("agreed_name")
        .help("Exact.")
        .exact_name();
    exact
        .collector(&collector)
        .build_gauge()
        .with_values(&[])
        .set(-0.5);
    let want = r#"# HELP agreed_name Exact.
# TYPE agreed_name gauge
agreed_name -0.5
# TYPE swarm_h_seconds histogram
swarm_h_seconds_bucket{node="gpu-01",zone="b",le="0.5"} 1
swarm_h_seconds_bucket{node="gpu-01",zone="b",le="1"} 2
swarm_h_seconds_bucket{node="gpu-01",zone="b",le="+Inf"} 3
swarm_h_seconds_sum{node="gpu-01",zone="b"} 9.25
swarm_h_seconds_count{node="gpu-01",zone="b"} 3
# HELP swarm_requests_total Two\nlines \\ of help.
# TYPE swarm_requests_total counter
swarm_requests_total{node="gpu-01",zone="b",path="/a\n\"\\"} 2
swarm_requests_total{node="gpu-01",zone="b",path="/b"} 1
# HELP swarm_z_total Last.
# TYPE swarm_z_total counter
swarm_z_total{node="gpu-01",zone="b"} 7
"#;
    assert_eq!(collector.encode(), want);
}

#[test]
fn metrics_get_prefix_and_labels_whenever_they_come() {
    let collector = MetricsCollector::isolated();
    collector.counter("early_total", "").inc();
    let again = collector
        .clone()
        .with_prefix("p")
        .with_labels(vec![("a", "1"), ("b", "2")]);
    again.counter("late_total", "").inc();
    let text = collector.encode();
    assert!(
        text.contains("p_early_total{a=\"1\",b=\"2\"} 1\n"),
        "{text}"
    );
    assert!(text.contains("p_late_total{a=\"1\",b=\"2\"} 1\n"), "{text}");
    drop(
        again
            .with_prefix("q_")
            .with_labels(vec![("b", "3".to_owned())]),
    );
    let text = collector.encode();
    assert!(
        text.contains("q_early_total{a=\"1\",b=\"3\"} 1\n"),
        "{text}"
    );
}

#[test]
fn metrics_keep_their_own_labels() {
    let collector = MetricsCollector::isolated().with_labels([("node", "here"), ("x", "y")]);
    let builder = MetricBuilder::new()
        .name("m")
        .label("node")
        .collector(&collector);
    builder.build_gauge().with_values(&["there"]).set(1);
    assert!(
        collector
            .encode()
            .ends_with("m{x=\"y\",node=\"there\"} 1\n")
    );
}

#[test]
fn metrics_refuse_wrong_prefixes_and_labels() {
    let collector = || MetricsCollector::isolated();
    for prefix in ["", "9", "a-b", "ä"] {
        assert!(collector().try_with_prefix(prefix).is_err(), "{prefix}");
    }
    for label in ["", "9", "a-b", "a:b", "__a", "le"] {
        assert!(
            collector().try_with_labels([(label, "v")]).is_err(),
            "{label}"
        );
    }
}

#[test]
fn metrics_without_series_are_not_shown() {
    let collector = MetricsCollector::isolated();
    let family = MetricBuilder::new()
        .name("m")
        .label("l")
        .collector(&collector)
        .build_gauge();
    assert!(collector.gather().is_empty());
    assert_eq!(collector.encode(), "");
    family.with_values(&[""]).inc();
    assert_eq!(collector.gather().len(), 1);
}
