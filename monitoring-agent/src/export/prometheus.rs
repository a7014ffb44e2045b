//! The text format of Prometheus, and OpenMetrics.
//!
//! Knows families, and which traces there are of slow events; nothing of how they travel.

use monitoring::server::exposition::{self, Knowledge, Syntax};
use prometheus::proto::MetricFamily;

use super::render::{AGE_HELP, AGE_NAME, AGE_UNIT, exportable};

/// Everything up to the value of the last sample's line, which [`tail`] completes.
pub(super) fn shared(
    families: &[MetricFamily],
    syntax: Syntax,
    knowledge: &impl Knowledge,
) -> Vec<u8> {
    let mut text = String::new();
    let families = families.iter().filter(|family| exportable(family));
    exposition::write(families, syntax, knowledge, &mut text);
    let lines = [("HELP", AGE_HELP), ("TYPE", "gauge"), ("UNIT", AGE_UNIT)];
    for (keyword, what) in lines {
        if keyword != "UNIT" || syntax == Syntax::OpenMetrics {
            for part in ["# ", keyword, " ", AGE_NAME, " ", what, "\n"] {
                text.push_str(part);
            }
        }
    }
    text.into_bytes()
}

/// The last sample of a scrape, and what ends it.
pub(super) fn tail(age_seconds: f64, syntax: Syntax) -> Vec<u8> {
    let end = match syntax {
        Syntax::Classic => "",
        Syntax::OpenMetrics => exposition::END,
    };
    format!("{AGE_NAME} {age_seconds:.3}\n{end}").into_bytes()
}

#[cfg(test)]
mod tests {
    use monitoring::server::exposition::Nothing;

    use super::*;
    use crate::families::Family;

    fn check(families: &[MetricFamily], want: &str) {
        let text = String::from_utf8(shared(families, Syntax::Classic, &Nothing)).unwrap();
        let age = format!("# HELP {AGE_NAME} {AGE_HELP}\n# TYPE {AGE_NAME} gauge\n");
        assert_eq!(text.strip_suffix(&age), Some(want));
    }

    #[test]
    fn families_become_text() {
        check(&[], "");
        check(
            &[Family::counter("a_total", "A.")
                .with(&[], 1.0)
                .with(&[("b", "c")], 2.5)
                .build()],
            "# HELP a_total A.\n# TYPE a_total counter\na_total 1\na_total{b=\"c\"} 2.5\n",
        );
        let mut histogram = Family::histogram("h_seconds", "");
        histogram.push_histogram(&[("x", "y")], [(0.5, 1), (1.0, 3)], 4, 7.25);
        check(
            &[histogram.build()],
            "# TYPE h_seconds histogram\n\
             h_seconds_bucket{x=\"y\",le=\"0.5\"} 1\n\
             h_seconds_bucket{x=\"y\",le=\"1\"} 3\n\
             h_seconds_bucket{x=\"y\",le=\"+Inf\"} 4\n\
             h_seconds_sum{x=\"y\"} 7.25\n\
             h_seconds_count{x=\"y\"} 4\n",
        );
    }

    fn check_label(value: &str, want: &str) {
        check(
            &[Family::gauge("g", "").with(&[("l", value)], 0.0).build()],
            &format!("# TYPE g gauge\ng{{l=\"{want}\"}} 0\n"),
        );
    }

    #[test]
    fn label_values_are_escaped() {
        check_label("", "");
        check_label("a\nb", "a\\nb");
        check_label("a\"b", "a\\\"b");
        check_label("a\\b", "a\\\\b");
        check_label("\\n", "\\\\n");
        check_label("\"} 1\ng{l=\"", "\\\"} 1\\ng{l=\\\"");
        check_label("trailing\\", "trailing\\\\");
        check_label("\u{fffd}\r\t{,=}#", "\u{fffd}\r\t{,=}#");
        check_label("Größe 测试", "Größe 测试");
    }

    fn check_help(help: &str, want: &str) {
        check(
            &[Family::gauge("g", help).with(&[], 0.0).build()],
            &format!("# HELP g {want}\n# TYPE g gauge\ng 0\n"),
        );
    }

    #[test]
    fn help_is_escaped() {
        check_help("One \"line\".", "One \"line\".");
        check_help("Two\nlines.", "Two\\nlines.");
        check_help("C:\\new", "C:\\\\new");
        check_help("x\n# TYPE g counter\ng 1", "x\\n# TYPE g counter\\ng 1");
    }

    fn check_value(value: f64, want: &str) {
        check(
            &[Family::gauge("g", "").with(&[], value).build()],
            &format!("# TYPE g gauge\ng {want}\n"),
        );
    }

    #[test]
    fn values() {
        check_value(0.1, "0.1");
        check_value(-3.0, "-3");
        check_value(9_007_199_254_740_993_f64, "9007199254740992");
        check_value(1e21, "1000000000000000000000");
        check_value(f64::NAN, "NaN");
        // Prometheus reads infinity in any case and with or without a sign.
        check_value(f64::INFINITY, "inf");
        check_value(f64::NEG_INFINITY, "-inf");
    }

    #[test]
    fn what_cannot_be_written_is_left_out() {
        let mut untyped = Family::gauge("u", "").with(&[], 0.0).build();
        untyped.set_field_type(prometheus::proto::MetricType::UNTYPED);
        let nameless = Family::gauge("", "").with(&[], 0.0).build();
        let empty = Family::gauge("e", "").build();
        let age = Family::gauge(AGE_NAME, "").with(&[], 0.0).build();
        check(&[untyped, nameless, empty, age], "");
    }

    #[test]
    fn tails() {
        let tail = |age, syntax| String::from_utf8(tail(age, syntax)).unwrap();
        let line = format!("{AGE_NAME} 12.346\n");
        assert_eq!(tail(0.0, Syntax::Classic), format!("{AGE_NAME} 0.000\n"));
        assert_eq!(tail(12.3456, Syntax::Classic), line);
        assert_eq!(tail(12.3456, Syntax::OpenMetrics), line + "# EOF\n");
    }
}
