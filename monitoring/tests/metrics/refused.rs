//! What a metric cannot take changes nothing, and is counted.

use monitoring::{MetricBuilder, MetricType, MetricsCollector};

use super::own_count;

const REFUSED: &str = "monitoring_refused_observations_total";

#[test]
fn metrics_refuse_what_is_no_number() {
    let collector = MetricsCollector::isolated();
    let seconds = collector.float_counter("refused_seconds_total", "");
    seconds.inc_by(1.5);
    for wrong in [f64::NAN, -0.1, f64::INFINITY, f64::NEG_INFINITY] {
        seconds.inc_by(wrong);
    }
    assert_eq!(seconds.get(), 1.5);
    assert_eq!(own_count(REFUSED, "refused_seconds_total"), 4.0);

    let gauge = collector.gauge("refused_gauge", "");
    gauge.add(2);
    gauge.add(f64::NAN);
    gauge.sub(f64::INFINITY);
    assert_eq!(gauge.get(), 2.0);
    assert_eq!(own_count(REFUSED, "refused_gauge"), 2.0);

    let histogram = collector.histogram("refused_histogram", "");
    histogram.observe(0.5);
    histogram.observe(f64::NAN);
    assert_eq!(histogram.snapshot().count(), 1);
    assert_eq!(histogram.snapshot().sum(), 0.5);
    assert_eq!(own_count(REFUSED, "refused_histogram"), 1.0);
}

#[test]
fn metrics_refuse_what_their_type_does_not_have() {
    let collector = MetricsCollector::isolated();
    let build = |name: &str, kind| {
        let builder = MetricBuilder::new().name(name).metric_type(kind);
        builder.collector(&collector).build().with_labels(&[])
    };
    let counter = build("refused_counter_total", MetricType::Counter);
    counter.inc();
    counter.dec();
    counter.set(7);
    counter.sub(1);
    counter.add(0.5);
    counter.observe(1.0);
    assert_eq!(own_count(REFUSED, "refused_counter_total"), 5.0);

    let seconds = build("refused_float_total", MetricType::FloatCounter);
    seconds.add(0.5);
    seconds.dec();
    seconds.set(7);
    seconds.observe(1.0);
    assert_eq!(own_count(REFUSED, "refused_float_total"), 3.0);

    let gauge = build("refused_kind_gauge", MetricType::Gauge);
    gauge.inc_by(4);
    gauge.observe(1.0);
    assert_eq!(own_count(REFUSED, "refused_kind_gauge"), 1.0);

    let histogram = build("refused_kind_histogram", MetricType::Histogram);
    histogram.observe(1.0);
    histogram.inc();
    histogram.inc_by(2);
    histogram.dec();
    histogram.add(1);
    histogram.sub(1);
    histogram.set(1);
    assert_eq!(own_count(REFUSED, "refused_kind_histogram"), 6.0);

    let text = collector.encode();
    for line in [
        "refused_counter_total 1",
        "refused_float_total 0.5",
        "refused_kind_gauge 4",
        "refused_kind_histogram_count 1",
    ] {
        assert!(text.lines().any(|other| other == line), "{line} in {text}");
    }
}

#[test]
fn metrics_time_what_a_timer_lives() {
    let histogram = MetricsCollector::isolated().histogram("h_seconds", "");
    drop(histogram.start_timer());
    let timer = histogram.start_timer();
    let stopped = timer.stop();
    assert_eq!(histogram.snapshot().count(), 2);
    assert!(histogram.snapshot().sum() >= stopped.as_secs_f64());
    histogram.start_timer().discard();
    let before = histogram.snapshot();
    assert_eq!(before.count(), 2);
    histogram.observe_duration(std::time::Duration::from_millis(1500));
    for ((bound, count), (_, before)) in histogram.snapshot().buckets().zip(before.buckets()) {
        assert_eq!(count - before, u64::from(bound >= 2.5), "up to {bound}");
    }
}
