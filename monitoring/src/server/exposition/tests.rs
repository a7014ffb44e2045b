//! What families become in both syntaxes.

use ::prometheus::{
    TextEncoder,
    proto::{Bucket, Counter, Gauge, Metric, MetricType, Quantile, Summary},
};
use proptest::prelude::*;

use super::*;

fn metric(labels: &[(&str, &str)]) -> Metric {
    let labels = labels.iter().map(|(name, value)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    });
    Metric::from_label(labels.collect())
}

fn family(name: &str, help: &str, kind: MetricType, metrics: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(metrics);
    family
}

fn counter(name: &str, labels: &[(&str, &str)], value: f64) -> MetricFamily {
    let mut counter = Counter::default();
    counter.set_value(value);
    let mut metric = metric(labels);
    metric.set_counter(counter);
    family(name, "", MetricType::COUNTER, vec![metric])
}

fn gauge(name: &str, help: &str, labels: &[(&str, &str)], value: f64) -> MetricFamily {
    let mut gauge = Gauge::default();
    gauge.set_value(value);
    let mut metric = metric(labels);
    metric.set_gauge(gauge);
    family(name, help, MetricType::GAUGE, vec![metric])
}

fn histogram(
    name: &str,
    labels: &[(&str, &str)],
    bounds: &[(f64, u64)],
    count: u64,
) -> MetricFamily {
    let buckets = bounds.iter().map(|(bound, count)| {
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(*bound);
        bucket.set_cumulative_count(*count);
        bucket
    });
    let mut histogram = Histogram::default();
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_count(count);
    histogram.set_sample_sum(7.25);
    let mut metric = metric(labels);
    metric.set_histogram(histogram);
    family(name, "", MetricType::HISTOGRAM, vec![metric])
}

fn written(families: &[MetricFamily], syntax: Syntax, knowledge: &impl Knowledge) -> String {
    let mut text = String::new();
    write(families.iter(), syntax, knowledge, &mut text);
    text
}

fn check(families: &[MetricFamily], want: &str) {
    assert_eq!(written(families, Syntax::OpenMetrics, &Nothing), want);
}

#[test]
fn counters_are_called_without_their_ending() {
    check(
        &[counter("a_total", &[("b", "c")], 1.5)],
        "# TYPE a counter\na_total{b=\"c\"} 1.5\n",
    );
    check(
        &[counter("worked_seconds_total", &[], 3.0)],
        "# TYPE worked_seconds counter\n# UNIT worked_seconds seconds\nworked_seconds_total 3\n",
    );
    // The samples keep their names, whatever that makes of the type.
    check(&[counter("a", &[], 1.0)], "# TYPE a unknown\na 1\n");
    check(
        &[counter("_total", &[], 1.0)],
        "# TYPE _total unknown\n_total 1\n",
    );
    check(
        &[counter("a_total", &[], 1.0), gauge("a", "", &[], 2.0)],
        "# TYPE a_total unknown\na_total 1\n# TYPE a gauge\na 2\n",
    );
}

#[test]
fn what_is_always_one_is_information() {
    check(
        &[gauge("gpu_info", "G.", &[("name", "x")], 1.0)],
        "# HELP gpu G.\n# TYPE gpu info\ngpu_info{name=\"x\"} 1\n",
    );
    check(
        &[gauge("gpu_info", "", &[], 2.0)],
        "# TYPE gpu_info gauge\ngpu_info 2\n",
    );
    check(
        &[gauge("_info", "", &[], 1.0)],
        "# TYPE _info gauge\n_info 1\n",
    );
    check(
        &[gauge("a_info", "", &[], 1.0), counter("a_total", &[], 1.0)],
        "# TYPE a_info gauge\na_info 1\n# TYPE a counter\na_total 1\n",
    );
    check(
        &[gauge("x_seconds_info", "", &[], 1.0)],
        "# TYPE x_seconds info\nx_seconds_info 1\n",
    );
}

#[test]
fn histograms_have_canonical_bounds() {
    check(
        &[histogram(
            "h_seconds",
            &[("x", "y")],
            &[(2_f64.powi(-20), 0), (0.25, 1), (1.0, 3)],
            4,
        )],
        "# TYPE h_seconds histogram\n\
         # UNIT h_seconds seconds\n\
         h_seconds_bucket{x=\"y\",le=\"9.5367431640625e-07\"} 0\n\
         h_seconds_bucket{x=\"y\",le=\"0.25\"} 1\n\
         h_seconds_bucket{x=\"y\",le=\"1.0\"} 3\n\
         h_seconds_bucket{x=\"y\",le=\"+Inf\"} 4\n\
         h_seconds_sum{x=\"y\"} 7.25\n\
         h_seconds_count{x=\"y\"} 4\n",
    );
    // One that has the last bucket has it once.
    check(
        &[histogram("h", &[], &[(f64::INFINITY, 4)], 4)],
        "# TYPE h histogram\nh_bucket{le=\"+Inf\"} 4\nh_sum 7.25\nh_count 4\n",
    );
}

#[test]
fn series_of_one_family_may_have_other_bounds() {
    let mut family = histogram("h", &[("n", "1")], &[(1.0, 0), (2.0, 0)], 0);
    let mut second = histogram("h", &[("n", "2")], &[(1.0, 0), (3.0, 0), (4.0, 0)], 0);
    let mut third = histogram("h", &[("n", "3")], &[(1.0, 0)], 0);
    let others = second.take_metric().into_iter().chain(third.take_metric());
    let metrics = family.take_metric().into_iter().chain(others);
    family.set_metric(metrics.collect());
    let text = written(&[family], Syntax::OpenMetrics, &Nothing);
    let bounds: Vec<_> = text
        .split("le=\"")
        .skip(1)
        .map(|rest| rest.split('"').next())
        .collect();
    let want = [
        "1.0", "2.0", "+Inf", "1.0", "3.0", "4.0", "+Inf", "1.0", "+Inf",
    ];
    assert_eq!(bounds, want.map(Some));
}

fn check_canonical(bound: f64, want: &str) {
    assert_eq!(numbers::canonical(bound), want);
}

#[test]
fn canonical_numbers() {
    for (bound, want) in [
        (0.0, "0.0"),
        (0.001, "0.001"),
        (0.25, "0.25"),
        (1.0, "1.0"),
        (10.0, "10.0"),
        (100_000.0, "100000.0"),
        (1e6, "1e+06"),
        (1.5e10, "1.5e+10"),
        (0.0001, "0.0001"),
        (1e-5, "1e-05"),
        (2.5e-10, "2.5e-10"),
        (1e100, "1e+100"),
        (-3.0, "-3.0"),
        (f64::INFINITY, "+Inf"),
        (f64::NEG_INFINITY, "-Inf"),
        (f64::NAN, "NaN"),
    ] {
        check_canonical(bound, want);
    }
}

#[test]
fn values_that_are_not_finite_have_their_words() {
    let gauges =
        [f64::INFINITY, f64::NEG_INFINITY, f64::NAN].map(|value| gauge("g", "", &[], value));
    check(&gauges[..1], "# TYPE g gauge\ng +Inf\n");
    check(&gauges[1..2], "# TYPE g gauge\ng -Inf\n");
    check(&gauges[2..], "# TYPE g gauge\ng NaN\n");
}

#[test]
fn help_is_escaped_more_in_openmetrics() {
    let family = [gauge(
        "g",
        "a \"b\" \\ c\nd",
        &[("l", "a \"b\" \\ c\nd")],
        0.0,
    )];
    check(
        &family,
        "# HELP g a \\\"b\\\" \\\\ c\\nd\n# TYPE g gauge\ng{l=\"a \\\"b\\\" \\\\ c\\nd\"} 0\n",
    );
    let classic = written(&family, Syntax::Classic, &Nothing);
    assert!(
        classic.starts_with("# HELP g a \"b\" \\\\ c\\nd\n"),
        "{classic}"
    );
}

#[test]
fn summaries_and_times() {
    let mut quantile = Quantile::default();
    quantile.set_quantile(1.0);
    quantile.set_value(2.5);
    let mut summary = Summary::default();
    summary.set_quantile(vec![quantile]);
    summary.set_sample_count(3);
    summary.set_sample_sum(4.5);
    let mut metric = metric(&[]);
    metric.set_summary(summary);
    metric.set_timestamp_ms(-1_234);
    check(
        &[family("s", "", MetricType::SUMMARY, vec![metric])],
        "# TYPE s summary\n\
         s{quantile=\"1.0\"} 2.5 -1.234\ns_sum 4.5 -1.234\ns_count 3 -1.234\n",
    );
}

#[test]
fn what_has_no_type_is_left_out() {
    let untyped = family("u", "", MetricType::UNTYPED, vec![metric(&[])]);
    check(&[untyped], "");
}

/// Every second bucket, and three exemplars for every series.
struct Slow;

impl Knowledge for Slow {
    fn buckets(&self, _: &Histogram) -> (usize, usize) {
        (1, 2)
    }

    fn exemplars(&self, family: &str, labels: &[LabelPair]) -> Vec<Exemplar> {
        assert!(family != "g", "gauges have none");
        assert_eq!(labels.len(), 1);
        let exemplar = |seconds, trace_id, unix_ns| Exemplar {
            seconds,
            trace_id,
            span_id: 0xab,
            unix_ns,
        };
        vec![
            exemplar(0.75, 1, 1_700_000_000_000_000_001),
            exemplar(1.0, 2, 1_700_000_000_123_456_789),
            exemplar(1e9, 3, 1_600_000_000_000_000_000),
        ]
    }
}

#[test]
fn exemplars_stand_where_something_was_counted() {
    let newest = "# {trace_id=\"00000000000000000000000000000002\",\
                  span_id=\"00000000000000ab\"} 1 1700000000.123456789";
    let oldest = "# {trace_id=\"00000000000000000000000000000003\",\
                  span_id=\"00000000000000ab\"} 1000000000 1600000000.000000000";
    let bounds = [(0.25, 0), (0.5, 2), (1.0, 3), (2.0, 4), (4.0, 4), (8.0, 4)];
    let text = |count, syntax| {
        let labels = [("x", "y")];
        let families = [
            histogram("h", &labels, &bounds, count),
            counter("c_total", &labels, 1.0),
            counter("d_total", &labels, 0.0),
            counter("e", &labels, 1.0),
            gauge("g", "", &labels, 1.0),
        ];
        written(&families, syntax, &Slow)
    };
    let histogram = |last: &str| {
        format!(
            "# TYPE h histogram\n\
             h_bucket{{x=\"y\",le=\"0.5\"}} 2\n\
             h_bucket{{x=\"y\",le=\"2.0\"}} 4 {newest}\n\
             h_bucket{{x=\"y\",le=\"8.0\"}} 4\n\
             h_bucket{{x=\"y\",le=\"+Inf\"}} {last}\n\
             h_sum{{x=\"y\"}} 7.25\n"
        )
    };
    let rest = format!(
        "# TYPE c counter\nc_total{{x=\"y\"}} 1 {newest}\n\
         # TYPE d counter\nd_total{{x=\"y\"}} 0\n\
         # TYPE e unknown\ne{{x=\"y\"}} 1\n\
         # TYPE g gauge\ng{{x=\"y\"}} 1\n"
    );
    let want = histogram("4") + "h_count{x=\"y\"} 4\n" + &rest;
    assert_eq!(text(4, Syntax::OpenMetrics), want);
    let want = histogram(&format!("5 {oldest}")) + "h_count{x=\"y\"} 5\n" + &rest;
    assert_eq!(text(5, Syntax::OpenMetrics), want);
    assert!(!text(5, Syntax::Classic).contains("trace_id"));
}

fn label() -> impl Strategy<Value = (String, String)> {
    ("[a-z_]{1,8}", "[a\"\\\\\nü{},=# ]{0,8}")
}

fn any_family() -> impl Strategy<Value = MetricFamily> {
    let value = prop_oneof![
        any::<f64>(),
        any::<i32>().prop_map(f64::from),
        Just(-0.0),
        Just(9_007_199_254_740_993.0)
    ];
    let labels = prop::collection::vec(label(), 0..3);
    let counts = prop::collection::vec(any::<u32>().prop_map(u64::from), 0..4);
    (
        "[a-z]{1,5}(_total|_info|_seconds)?",
        "[a\"\\\\\n ]{0,8}",
        labels,
        value,
        counts,
        0..3,
    )
        .prop_map(|(name, help, labels, value, counts, kind)| {
            let labels: Vec<_> = labels
                .iter()
                .map(|(n, v)| (n.as_str(), v.as_str()))
                .collect();
            let bounds: Vec<_> = counts
                .iter()
                .zip(1..)
                .map(|(n, at)| (f64::from(at) / 8.0, *n))
                .collect();
            let mut family = match kind {
                0 => counter(&name, &labels, value),
                1 => gauge(&name, "", &labels, value),
                _ => histogram(&name, &labels, &bounds, u64::MAX),
            };
            family.set_help(help);
            family
        })
}

proptest! {
    /// The crate's own encoder is there to compare with.
    #[test]
    fn the_text_format_is_the_one_of_the_crate(families in prop::collection::vec(any_family(), 0..5)) {
        let mut want = String::new();
        TextEncoder::new().encode_utf8(&families, &mut want).unwrap();
        prop_assert_eq!(written(&families, Syntax::Classic, &Nothing), want);
    }

    /// Every name of a family is there once, and every line is a sample or says something.
    #[test]
    fn names_are_there_once(families in prop::collection::vec(any_family(), 0..8)) {
        let mut families = families;
        families.sort_by(|one, other| one.name().cmp(other.name()));
        families.dedup_by(|one, other| one.name() == other.name());
        let text = written(&families, Syntax::OpenMetrics, &Nothing);
        let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        let names: Vec<_> = types.map(|line| line.split(' ').next().unwrap()).collect();
        let unique: HashSet<_> = names.iter().collect();
        prop_assert_eq!(unique.len(), families.len());
        prop_assert_eq!(names.len(), families.len());
    }

    #[test]
    fn canonical_numbers_are_the_same_numbers(bound: f64) {
        let back: f64 = numbers::canonical(bound).parse().unwrap();
        prop_assert!(back.to_bits() == bound.to_bits() || bound.is_nan());
    }
}
