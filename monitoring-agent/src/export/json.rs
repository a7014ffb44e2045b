//! Snapshots as JSON, for tools and scripts.
//!
//! An array of families, in the order of their names, the snapshot's age last:
//!
//! ```json
//! [
//!   {"name": "node_load1", "help": "…", "type": "gauge",
//!    "metrics": [{"labels": {}, "value": 0.25}]},
//!   {"name": "syscall_duration_seconds", "help": "…", "type": "histogram",
//!    "metrics": [{"labels": {"syscall": "read", "agent": "other"},
//!                 "histogram": {"count": 3, "sum": 0.5,
//!                               "buckets": [{"le": 0.1, "count": 1}, {"le": "+Inf", "count": 3}]}}]},
//!   {"name": "monitoring_agent_snapshot_age_seconds", "help": "…", "type": "gauge",
//!    "metrics": [{"labels": {}, "value": 1.234}]}
//! ]
//! ```
//!
//! `type` is `counter`, `gauge` or `histogram`. Numbers that JSON cannot express are the strings
//! `"NaN"`, `"+Inf"` and `"-Inf"`. Bucket counts are cumulative, and the last bucket is `+Inf`.
//! Knows families and nothing of how they travel.

use prometheus::proto::{Histogram, LabelPair, Metric, MetricFamily, MetricType};
use serde::{
    Serialize, Serializer,
    ser::{SerializeMap as _, SerializeSeq as _},
};

use super::render::{AGE_HELP, AGE_NAME, exportable};
use crate::families::shown;

/// Everything up to the age, which [`tail`] completes.
pub(super) fn shared(families: &[MetricFamily]) -> Vec<u8> {
    let mut json = vec![b'['];
    for family in families.iter().filter(|family| exportable(family)) {
        serde_json::to_writer(&mut json, &FamilyJson(family))
            .expect("keys are strings, and a Vec takes every write");
        json.push(b',');
    }
    json.extend(br#"{"name":""#);
    json.extend(AGE_NAME.as_bytes());
    json.extend(br#"","help":""#);
    json.extend(AGE_HELP.as_bytes());
    json.extend(br#"","type":"gauge","metrics":[{"labels":{},"value":"#);
    json
}

/// The age and what closes the array.
pub(super) fn tail(age_seconds: f64) -> Vec<u8> {
    format!("{age_seconds:.3}}}]}}]\n").into_bytes()
}

struct FamilyJson<'a>(&'a MetricFamily);

impl Serialize for FamilyJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let kind = self.0.get_field_type();
        let mut map = serializer.serialize_map(Some(4))?;
        map.serialize_entry("name", self.0.name())?;
        map.serialize_entry("help", self.0.help())?;
        map.serialize_entry(
            "type",
            match kind {
                MetricType::COUNTER => "counter",
                MetricType::HISTOGRAM => "histogram",
                _ => "gauge",
            },
        )?;
        map.serialize_entry("metrics", &Metrics(kind, self.0.get_metric()))?;
        map.end()
    }
}

struct Metrics<'a>(MetricType, &'a [Metric]);

impl Serialize for Metrics<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.1.iter().map(|metric| MetricJson(self.0, metric)))
    }
}

struct MetricJson<'a>(MetricType, &'a Metric);

impl Serialize for MetricJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("labels", &Labels(self.1.get_label()))?;
        match self.0 {
            MetricType::COUNTER => {
                map.serialize_entry("value", &Number(self.1.get_counter().get_value()))?;
            }
            MetricType::HISTOGRAM => {
                map.serialize_entry("histogram", &HistogramJson(self.1.get_histogram()))?;
            }
            _ => map.serialize_entry("value", &Number(self.1.get_gauge().get_value()))?,
        }
        map.end()
    }
}

struct Labels<'a>(&'a [LabelPair]);

impl Serialize for Labels<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|pair| (pair.name(), pair.value())))
    }
}

struct HistogramJson<'a>(&'a Histogram);

impl Serialize for HistogramJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(3))?;
        map.serialize_entry("count", &self.0.get_sample_count())?;
        map.serialize_entry("sum", &Number(self.0.get_sample_sum()))?;
        map.serialize_entry("buckets", &Buckets(self.0))?;
        map.end()
    }
}

struct Buckets<'a>(&'a Histogram);

impl Serialize for Buckets<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut buckets = serializer.serialize_seq(None)?;
        let (first, step) = shown(self.0);
        let all = self.0.get_bucket().iter();
        for bucket in all
            .skip(first)
            .step_by(step)
            .filter(|bucket| bucket.upper_bound().is_finite())
        {
            let (le, count) = (Number(bucket.upper_bound()), bucket.cumulative_count());
            buckets.serialize_element(&BucketJson { le, count })?;
        }
        let (le, count) = (Number(f64::INFINITY), self.0.get_sample_count());
        buckets.serialize_element(&BucketJson { le, count })?;
        buckets.end()
    }
}

#[derive(Serialize)]
struct BucketJson {
    le: Number,
    count: u64,
}

/// A number, or the word for what JSON has no number for.
struct Number(f64);

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            value if value.is_finite() => serializer.serialize_f64(value),
            value if value.is_nan() => serializer.serialize_str("NaN"),
            value if value > 0.0 => serializer.serialize_str("+Inf"),
            _ => serializer.serialize_str("-Inf"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::families::Family;

    #[allow(clippy::needless_pass_by_value, reason = "json!() makes values")]
    fn check(families: &[MetricFamily], want: Value) {
        let mut text = shared(families);
        text.extend(tail(1.5));
        let mut got: Value = serde_json::from_slice(&text).unwrap();
        let age = got.as_array_mut().unwrap().pop().unwrap();
        assert_eq!(
            age,
            json!({"name": AGE_NAME, "help": AGE_HELP, "type": "gauge",
                   "metrics": [{"labels": {}, "value": 1.5}]})
        );
        assert_eq!(got, want);
    }

    #[test]
    fn families_become_json() {
        check(&[], json!([]));
        check(
            &[
                Family::counter("a_total", "A \"b\"\n.")
                    .with(&[("x", "y\\\u{1}")], 3.0)
                    .build(),
                Family::gauge("g", "")
                    .with(&[], -0.5)
                    .with(&[("a", "1"), ("b", "2")], 1e300)
                    .build(),
            ],
            json!([
                {"name": "a_total", "help": "A \"b\"\n.", "type": "counter",
                 "metrics": [{"labels": {"x": "y\\\u{1}"}, "value": 3.0}]},
                {"name": "g", "help": "", "type": "gauge",
                 "metrics": [{"labels": {}, "value": -0.5},
                             {"labels": {"a": "1", "b": "2"}, "value": 1e300}]},
            ]),
        );
    }

    #[test]
    fn histograms() {
        let mut family = Family::histogram("h_seconds", "H.");
        family.push_histogram(&[], [(0.1, 1), (f64::INFINITY, 3)], 3, f64::INFINITY);
        check(
            &[family.build()],
            json!([{"name": "h_seconds", "help": "H.", "type": "histogram", "metrics": [
                {"labels": {}, "histogram": {"count": 3, "sum": "+Inf", "buckets": [
                    {"le": 0.1, "count": 1}, {"le": "+Inf", "count": 3}]}}]}]),
        );
    }

    #[allow(clippy::needless_pass_by_value, reason = "json!() makes values")]
    fn check_number(value: f64, want: Value) {
        assert_eq!(serde_json::to_value(Number(value)).unwrap(), want);
    }

    #[test]
    fn numbers() {
        check_number(0.25, json!(0.25));
        check_number(f64::NAN, json!("NaN"));
        check_number(f64::INFINITY, json!("+Inf"));
        check_number(f64::NEG_INFINITY, json!("-Inf"));
    }

    #[test]
    fn what_cannot_be_written_is_left_out() {
        let empty = Family::gauge("e", "").build();
        let age = Family::gauge(AGE_NAME, "").with(&[], 0.0).build();
        check(&[empty, age], json!([]));
    }
}
