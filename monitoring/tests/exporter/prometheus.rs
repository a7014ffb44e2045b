//! The real Prometheus and its tools.

use std::{
    io::Write as _,
    process::{Command, Stdio},
    time::Duration,
};

use monitoring::MetricsCollector;

use crate::{Exporter, at_loopback, poll::poll_until, scraper::Scraper};

/// Metrics of each type, with what has to be escaped.
fn every_type() -> MetricsCollector {
    let collector = MetricsCollector::isolated();
    collector
        .counter("steps_total", "Steps, each \\ and every\none.")
        .inc_by(12_345);
    collector
        .float_counter("worked_seconds_total", "Time at work.")
        .inc_by(0.25);
    collector.gauge("queue_length", "Jobs that wait.").set(-3.5);
    let latency = collector.histogram("request_latency_seconds", "Request latency.");
    for milliseconds in [1, 45, 45, 20_000] {
        latency.observe_duration(Duration::from_millis(milliseconds));
    }
    collector.with_labels([("node", "a \"quoted\"\nname \\")])
}

#[test]
fn promtool_has_no_remarks() {
    let exporter = Exporter::start(at_loopback(&every_type()));
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool; `cargo xtask setup` installs it");
    let mut stdin = promtool.stdin.take().unwrap();
    stdin.write_all(exporter.metrics().as_bytes()).unwrap();
    drop(stdin);
    let output = promtool.wait_with_output().unwrap();
    let remarks = [output.stderr, output.stdout].concat();
    let remarks = String::from_utf8_lossy(&remarks);
    assert!(output.status.success() && remarks.is_empty(), "{remarks}");
}

#[test]
fn prometheus_scrapes_the_exact_numbers() {
    let collector = every_type();
    let exporter = Exporter::start(at_loopback(&collector));
    // By OpenMetrics, which is what it likes best.
    let prometheus = Scraper::start(&exporter.address.to_string(), &[]);
    for (series, want) in [
        ("steps_total", "12345"),
        ("worked_seconds_total", "0.25"),
        ("queue_length", "-3.5"),
        ("request_latency_seconds_count", "4"),
        ("request_latency_seconds_bucket{le=\"0.05\"}", "3"),
        ("up", "1"),
        (
            "count(steps_total{node=\"a \\\"quoted\\\"\\nname \\\\\"})",
            "1",
        ),
        ("monitoring_exporter_responses_total{class=\"4xx\"}", "0"),
    ] {
        prometheus.wait_for(series, want);
    }
    let path = "/api/v1/targets/metadata?metric=worked_seconds";
    let found = poll_until("what it says of a metric", || {
        prometheus.ask(path)?.get(0).cloned()
    });
    let [kind, unit] = ["type", "unit"].map(|key| found[key].as_str().unwrap());
    assert_eq!((kind, unit), ("counter", "seconds"));
}
