//! What scrapes are read as, and what is refused.

use proptest::prelude::*;

use super::*;

fn read_all(text: &str) -> Families {
    read(text, Limits::default()).unwrap()
}

fn labels(pairs: &[(&str, &str)]) -> Vec<Label> {
    let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    pairs.iter().map(own).collect()
}

#[test]
fn values_and_types() {
    let families = read_all(
        "# HELP a_total Some.\n# TYPE a_total counter\na_total{x=\"1\"} 3\n\
         g -1e3 1700000000000\na_total{x=\"2\"} NaN\n# TYPE late gauge\n",
    );
    assert_eq!(families.len(), 2, "a type without values is no family");
    assert_eq!(
        (
            families[0].name.as_str(),
            families[0].help.as_str(),
            families[0].kind
        ),
        ("a_total", "Some.", Kind::Counter)
    );
    assert_eq!(families[0].metrics.len(), 2, "lines may stand apart");
    assert_eq!(families[1].kind, Kind::Untyped);
    assert_eq!(families[1].metrics[0].value, Value::Number(-1000.0));
    assert_eq!(families[1].metrics[0].timestamp_ms, Some(1_700_000_000_000));
}

fn histogram(text: &str) -> Histogram {
    let families = read_all(&format!("# TYPE h histogram\n{text}"));
    match &families[0].metrics[0].value {
        Value::Histogram(histogram) => histogram.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn histograms() {
    let whole = histogram(
        "h_bucket{le=\"+Inf\",a=\"b\"} 9\nh_bucket{a=\"b\",le=\"0.5\"} 1\n\
         h_bucket{a=\"b\",le=\"0.25\"} 0\nh_sum{a=\"b\"} 2.5\nh_count{a=\"b\"} 9\n",
    );
    assert_eq!(whole.buckets, [(0.25, 0), (0.5, 1)]);
    assert_eq!((whole.count, whole.sum), (9, Some(2.5)));
    // More than an `f64` counts, and as Go writes large ones.
    let large = histogram("h_bucket{le=\"1\"} 18446744073709551615\nh_count 1e+06\n");
    assert_eq!((large.buckets[0].1, large.count), (u64::MAX, 1_000_000));
    assert_eq!(histogram("h_bucket{le=\"+Inf\"} 7\n").count, 7);
    assert_eq!(histogram("h_bucket{le=\"1\"} 7\n").count, 7);
}

#[test]
fn the_order_of_labels_does_not_matter() {
    let families = read_all(
        "# TYPE h histogram\nh_sum{a=\"1\",b=\"2\"} 5\nh_count{b=\"2\",a=\"1\"} 3\n\
         h_count{a=\"2\",b=\"1\"} 4\n",
    );
    assert_eq!(families[0].metrics.len(), 2);
    assert_eq!(
        families[0].metrics[0].labels,
        labels(&[("a", "1"), ("b", "2")])
    );
}

#[test]
fn names_that_only_look_like_parts() {
    let families = read_all(
        "# TYPE a counter\na 1\na_count 2\na_bucket 3\n# TYPE s summary\n\
         s{quantile=\"0.5\"} 4\ns_sum 5\ns_count 6\ns_bucket 7\n",
    );
    let names: Vec<&str> = families.iter().map(|family| family.name.as_str()).collect();
    assert_eq!(names, ["a", "a_count", "a_bucket", "s", "s_bucket"]);
    let summary = Summary {
        quantiles: vec![(0.5, 4.0)],
        count: Some(6),
        sum: Some(5.0),
    };
    assert_eq!(families[3].metrics[0].value, Value::Summary(summary));
}

#[test]
fn what_is_wrong_is_said_with_its_line() {
    let check = |text: &str, want: &str| {
        let got = read(text, Limits::default()).unwrap_err().to_string();
        assert_eq!(got, want, "{text:?}");
    };
    check("", "it has no metrics");
    check("# TYPE a counter\n", "it has no metrics");
    check("a 1\n<p>no</p>\n", "line 2 has no value: <p>no</p>");
    check("a 1\na 1\n", "line 2 is there twice: a 1");
    check("a one\n", "line 1 has a value that is no number: a one");
    check(
        "a \x1b]0;x\x07 1",
        r"line 1 has a value that is no number: a \u{1b}]0;x\u{7} 1",
    );
    check(
        "# TYPE a what\n",
        "line 1 names a type that there is not: # TYPE a what",
    );
    check(
        "a 1\n# TYPE a gauge\n",
        "line 2 names a type after the first value: # TYPE a gauge",
    );
    let of_histogram = |line: &str, want: &str| {
        check(
            &format!("# TYPE h histogram\n{line}\n"),
            &format!("line 2 {want}: {line}"),
        );
    };
    of_histogram("h 1", "gives a histogram a value of its own");
    of_histogram("h_bucket 1", "lacks its label le or quantile");
    of_histogram("h_bucket{le=\"x\"} 1", "has a value that is no number");
    of_histogram("h_bucket{le=\"NaN\"} 1", "has a bound that is none");
    of_histogram("h_count -1", "has a count that is none");
    of_histogram("h_count 1.5", "has a count that is none");
    check(
        "# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"1.0\"} 1\n",
        "h has a bucket twice",
    );
    check(
        &format!("x{}", "y".repeat(500)),
        &format!("line 1 has no value: x{}", "y".repeat(59)),
    );
}

#[test]
fn there_is_an_end_to_what_is_read() {
    let limits = Limits {
        samples: 3,
        labels: 4,
        families: 2,
    };
    let check = |text: &str, want: Option<&str>| {
        let got = read(text, limits).err().map(|error| error.to_string());
        assert_eq!(got.as_deref(), want, "{text:?}");
    };
    check("a{x=\"1\"} 1\na{x=\"2\"} 1\nb 1\n", None);
    let more = "a{x=\"1\"} 1\na{x=\"2\"} 1\na{x=\"3\"} 1\na{x=\"4\"} 1\n";
    check(more, Some("it has more than 3 values"));
    let wide = "a{v=\"\",w=\"\",x=\"\",y=\"\",z=\"\"} 1\n";
    check(wide, Some("it has more than 4 labels"));
    check(
        "a 1\nb 1\n# HELP c C.\n",
        Some("it has more than 2 families"),
    );
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "[\\PC\\n\\t\\x00-\\x1f]{0,300}") {
        let _ = read(&text, Limits::default());
    }

    /// Pieces of the format in any order come nearer to what could go wrong.
    #[test]
    fn any_pieces_are_read_or_refused(
        pieces in prop::collection::vec(
            prop::sample::select(vec![
                "# TYPE ", "# HELP ", "a", "_bucket", "_sum", "_count", "{", "}", "le=", "\"", "\\",
                "1", "+Inf", "NaN", "-1", "1e308", " ", "\n", ",", "=", "quantile=\"0.5\"",
                "histogram", "summary", "counter", "\u{0}", "ü", "18446744073709551616",
            ]),
            0..60,
        )
    ) {
        let text = pieces.concat();
        if let Ok(families) = read(&text, Limits::default()) {
            prop_assert!(families.iter().all(|family| !family.metrics.is_empty()));
        }
    }

    /// What a label says is what was written into it, whatever it is.
    #[test]
    fn labels_come_back(value in "\\PC{0,40}|[\\\\\"\\n{}=, ]{0,20}") {
        let escaped = value.replace('\\', "\\\\").replace('\n', "\\n").replace('"', "\\\"");
        let families = read_all(&format!("a{{b=\"{escaped}\"}} 1\n"));
        prop_assert_eq!(families[0].metrics[0].label("b"), value);
    }
}
