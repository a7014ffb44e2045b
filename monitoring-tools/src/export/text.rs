//! Snapshots as text: in Prometheus' format, and in that of `OpenMetrics`.

use std::{
    collections::HashSet,
    fmt::{self, Write as _},
};

use super::samples::{self, Number, Sample};
use crate::scrape::family::{Families, Family, Kind, Metric};

/// Prometheus' text format, version 0.0.4.
pub(super) fn prometheus(families: &Families) -> String {
    let mut text = String::new();
    for family in families {
        let name = &family.name;
        if !family.help.is_empty() {
            let _ = writeln!(text, "# HELP {name} {}", escaped(&family.help, false));
        }
        let _ = writeln!(text, "# TYPE {name} {}", family.kind.name());
        for metric in &family.metrics {
            for sample in samples::of(metric) {
                line(&mut text, name, &sample, |end| {
                    Number::Real(end).to_string()
                });
                if let Some(time) = metric.timestamp_ms {
                    let _ = write!(text, " {time}");
                }
                text.push('\n');
            }
        }
    }
    text
}

/// `OpenMetrics`' text format, version 1.0.0.
///
/// There a counter's family has no `_total` in its name. One whose values have none, or whose name
/// is taken without it, is of an unknown type, so that no name changes.
pub(super) fn openmetrics(families: &Families) -> String {
    let taken: HashSet<&str> = families.iter().map(|family| family.name.as_str()).collect();
    let mut text = String::new();
    for family in families {
        let (name, kind, suffix) = open_name(family, &taken);
        let _ = writeln!(text, "# TYPE {name} {kind}");
        if !family.help.is_empty() {
            let _ = writeln!(text, "# HELP {name} {}", escaped(&family.help, true));
        }
        for metric in &family.metrics {
            for sample in samples::of(metric) {
                line(&mut text, &format!("{name}{suffix}"), &sample, canonical);
                let _ = writeln!(text, "{}", Time(metric));
            }
        }
    }
    text.push_str("# EOF\n");
    text
}

/// The family's name, its type, and what its values have behind the name.
fn open_name<'a>(
    family: &'a Family,
    taken: &HashSet<&str>,
) -> (&'a str, &'static str, &'static str) {
    let name = family.name.as_str();
    match family.kind {
        Kind::Counter => match name.strip_suffix("_total") {
            Some(short) if !short.is_empty() && !taken.contains(short) => {
                (short, "counter", "_total")
            }
            _ => (name, "unknown", ""),
        },
        Kind::Untyped => (name, "unknown", ""),
        kind => (name, kind.name(), ""),
    }
}

/// A time in seconds, if there is one.
struct Time<'a>(&'a Metric);

impl fmt::Display for Time<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(time) = self.0.timestamp_ms else {
            return Ok(());
        };
        let sign = if time < 0 { "-" } else { "" };
        let time = time.unsigned_abs();
        write!(out, " {sign}{}.{:03}", time / 1000, time % 1000)
    }
}

/// Name, labels and value.
fn line(text: &mut String, name: &str, sample: &Sample<'_>, shown: fn(f64) -> String) {
    let Sample {
        suffix,
        labels,
        bound,
        value,
    } = sample;
    text.push_str(name);
    text.push_str(suffix);
    let mut before = '{';
    for (label, value) in *labels {
        let _ = write!(text, "{before}{label}=\"{}\"", escaped(value, true));
        before = ',';
    }
    if let Some((label, end)) = bound {
        let _ = write!(text, "{before}{label}=\"{}\"", shown(*end));
        before = ',';
    }
    if before == ',' {
        text.push('}');
    }
    let _ = write!(text, " {value}");
}

/// A bound as `OpenMetrics` wants it: whole numbers have a point.
fn canonical(end: f64) -> String {
    if end.fract() == 0.0 && end.abs() < 1e15 {
        format!("{end:.1}")
    } else {
        Number::Real(end).to_string()
    }
}

fn escaped(text: &str, quotes: bool) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\\' => escaped.push_str("\\\\"),
            '\n' => escaped.push_str("\\n"),
            '"' if quotes => escaped.push_str("\\\""),
            _ => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::scrape::text::{Limits, read};

    const TEXT: &str = "\
# HELP a_total One \"a\".\\n
# TYPE a_total counter
a_total{x=\"\\\"\\\\\\n\"} 3
# TYPE h histogram
h_bucket{x=\"y\",le=\"1\"} 1
h_bucket{x=\"y\",le=\"+Inf\"} 2
h_sum{x=\"y\"} 0.75
h_count{x=\"y\"} 2
# TYPE b_total counter
b_total 1 -1500
# TYPE b gauge
b -Inf
# TYPE s summary
s{quantile=\"0.5\"} 1
# TYPE odd counter
odd 1
# TYPE u untyped
u NaN
";

    fn families() -> Families {
        read(TEXT, Limits::default()).unwrap()
    }

    #[test]
    fn prometheus_text_comes_back_as_it_was() {
        assert_eq!(prometheus(&families()), TEXT);
    }

    #[test]
    fn openmetrics_keeps_every_name() {
        let want = "\
# TYPE a counter
# HELP a One \\\"a\\\".\\n
a_total{x=\"\\\"\\\\\\n\"} 3
# TYPE h histogram
h_bucket{x=\"y\",le=\"1.0\"} 1
h_bucket{x=\"y\",le=\"+Inf\"} 2
h_sum{x=\"y\"} 0.75
h_count{x=\"y\"} 2
# TYPE b_total unknown
b_total 1 -1.500
# TYPE b gauge
b -Inf
# TYPE s summary
s{quantile=\"0.5\"} 1
# TYPE odd unknown
odd 1
# TYPE u unknown
u NaN
# EOF
";
        assert_eq!(openmetrics(&families()), want);
    }

    proptest! {
        #[test]
        fn any_value_and_label_comes_back(value: f64, label in "\\PC{0,20}|[\\\\\"\n]{0,9}") {
            let mut families = families();
            families[0].metrics[0].value = crate::scrape::family::Value::Number(value);
            families[0].metrics[0].labels[0].1 = label;
            let again = prometheus(&read(&prometheus(&families), Limits::default()).unwrap());
            prop_assert_eq!(again, prometheus(&families));
        }
    }
}
