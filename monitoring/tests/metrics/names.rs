//! Which definitions can be, and which cannot be side by side.

use monitoring::{Counter, Gauge, Histogram, MetricBuilder, MetricType, MetricsCollector};

#[test]
fn metrics_have_names_by_the_rules_of_prometheus() {
    let collector = MetricsCollector::isolated();
    for name in ["a", "A_total", "_a", "a:b:c", ":a", "a9"] {
        assert!(collector.try_counter(name, "").is_ok(), "{name}");
    }
    for name in ["", "9a", "a-b", "a b", "ä", "a\n", "a{b=\"c\"}"] {
        let error = collector.try_counter(name, "").unwrap_err().to_string();
        assert!(error.contains("name"), "{name}: {error}");
    }
}

#[test]
fn metrics_have_labels_by_the_rules_of_prometheus() {
    let collector = MetricsCollector::isolated();
    let build = |labels: &[&str], kind| {
        let builder = MetricBuilder::new()
            .name("m")
            .metric_type(kind)
            .collector(&collector);
        let builder = labels
            .iter()
            .fold(builder, |builder, label| builder.label(label));
        builder.try_build().map_err(|error| error.to_string())
    };
    let check = |labels: &[&str], kind, want: &str| {
        let error = build(labels, kind).unwrap_err();
        assert!(error.contains(want), "{error}");
    };
    check(&[""], MetricType::Gauge, "cannot be");
    check(&["1a"], MetricType::Gauge, "cannot be");
    check(&["a:b"], MetricType::Gauge, "cannot be");
    check(&["a-b"], MetricType::Gauge, "cannot be");
    check(&["__a"], MetricType::Gauge, "Prometheus keeps for itself");
    check(&["a", "b", "a"], MetricType::Gauge, "twice");
    check(&["le"], MetricType::Histogram, "bounds");
    assert!(build(&["le", "_a", "A9"], MetricType::Gauge).is_ok());
}

#[test]
fn metrics_lack_nothing() {
    let check = |builder: MetricBuilder, want: &str| {
        let builder = builder.collector(&MetricsCollector::isolated());
        let error = builder.try_build().unwrap_err().to_string();
        assert!(error.contains(want), "{error}");
    };
    let counter = MetricBuilder::new().metric_type(MetricType::Counter);
    check(counter.clone(), "no name");
    check(MetricBuilder::new().name("m"), "no type");
    check(
        counter.clone().name("m").buckets(&[1.0]),
        "only a histogram",
    );
    check(counter.clone().name("m").series_limit(0), "between 1 and");
    check(counter.name("m").series_limit(1_000_001), "between 1 and");
    let histogram = MetricBuilder::new()
        .name("m")
        .metric_type(MetricType::Histogram);
    check(histogram.clone().buckets(&[]), "no buckets");
    assert!(histogram.try_build_counter().is_err());
}

#[test]
fn metrics_of_the_same_definition_are_the_same() {
    let first = Counter::new("names_same_total", "Help.");
    first.inc();
    Counter::try_new("names_same_total", "Help.").unwrap().inc();
    MetricsCollector::new()
        .counter("names_same_total", "Help.")
        .inc();
    assert_eq!(first.get(), 3);
    // A private collector has its own.
    assert_eq!(
        MetricsCollector::isolated()
            .counter("names_same_total", "Help.")
            .get(),
        0
    );
}

#[test]
fn metrics_of_other_definitions_are_refused() {
    let collector = MetricsCollector::isolated();
    collector.counter("m_total", "Help.");
    collector.histogram("h", "Help.");
    let check = |result: Result<(), monitoring::MetricError>, want: &str| {
        let error = result.unwrap_err().to_string();
        assert!(error.contains(want), "{error}");
    };
    check(
        collector.try_gauge("m_total", "Help.").map(drop),
        "another type",
    );
    check(
        collector.try_counter("m_total", "Other.").map(drop),
        "another help text",
    );
    let bounds = collector.try_histogram_with_buckets("h", "Help.", &[1.0]);
    check(bounds.map(drop), "another set of buckets");
    let labelled = MetricBuilder::new()
        .name("m_total")
        .help("Help.")
        .label("l");
    check(
        labelled.collector(&collector).try_build_counter().map(drop),
        "another set of labels",
    );
    let exact = MetricBuilder::new()
        .name("m_total")
        .help("Help.")
        .exact_name();
    check(
        exact.collector(&collector).try_build_counter().map(drop),
        "another way to be named",
    );
    // All of them are still what they were.
    assert_eq!(collector.counter("m_total", "Help.").get(), 0);
}

#[test]
fn metrics_of_this_crate_keep_their_names() {
    for name in [
        "monitoring_refused_observations_total",
        "monitoring_series_limited_total",
        "monitoring_conflicting_series_total",
    ] {
        assert!(Gauge::try_new(name, "").is_err(), "{name}");
    }
}

#[test]
fn metrics_are_not_called_like_a_histograms_samples() {
    let collector = MetricsCollector::isolated();
    collector.histogram("h", "");
    for name in ["h_bucket", "h_count", "h_sum"] {
        assert!(collector.try_gauge(name, "").is_err(), "{name}");
    }
    collector.gauge("g_count", "");
    assert!(collector.try_histogram("g", "").is_err());
    // Without a histogram these are names like any others.
    collector.gauge("g", "");
    collector.gauge("g_sum", "");
}

#[test]
#[should_panic(expected = "metric `names 1`: a name is made of")]
fn metrics_of_wrong_names_panic_with_what_is_wrong() {
    Gauge::new("names 1", "");
}

#[test]
#[should_panic(expected = "comes after")]
fn metrics_of_wrong_buckets_panic_with_what_is_wrong() {
    Histogram::with_buckets("names_buckets", "", &[2.0, 1.0]);
}
