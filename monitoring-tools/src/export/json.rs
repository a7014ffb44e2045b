//! Snapshots as JSON, for scripts: what `/metrics.json` of an agent answers.
//!
//! An array of families, in the order in which the node tells them:
//!
//! ```json
//! [
//!   {"name": "node_load1", "help": "…", "type": "gauge",
//!    "metrics": [{"labels": {}, "value": 0.25}]},
//!   {"name": "syscall_duration_seconds", "help": "…", "type": "histogram",
//!    "metrics": [{"labels": {"syscall": "read", "agent": "other"},
//!                 "histogram": {"count": 3, "sum": 0.5,
//!                               "buckets": [{"le": 0.1, "count": 1}, {"le": "+Inf", "count": 3}]}}]}
//! ]
//! ```
//!
//! `type` is `counter`, `gauge`, `histogram`, `summary` or `untyped`. Summaries, which no agent
//! tells, are `"summary": {"count": 3, "sum": 0.5, "quantiles": [{"quantile": 0.5, "value": 1}]}`.
//! What was not told, `sum` or `count`, is absent, and so is `timestamp_ms` beside `labels`. Numbers
//! that JSON cannot express are the strings `"NaN"`, `"+Inf"` and `"-Inf"`. Bucket counts are
//! cumulative, and the last bucket is `+Inf`. More keys may come; none goes, or changes its meaning.

use serde_json::{Map, Value as Json, json};

use crate::scrape::family::{Families, Metric, Value};

/// All families, one a line.
pub(super) fn write(families: &Families) -> String {
    let lines: Vec<String> = families
        .iter()
        .map(|family| {
            let metrics: Vec<Json> = family.metrics.iter().map(metric).collect();
            let family = json!({
                "name": family.name,
                "help": family.help,
                "type": family.kind.name(),
                "metrics": metrics,
            });
            family.to_string()
        })
        .collect();
    format!("[\n{}\n]\n", lines.join(",\n"))
}

fn metric(metric: &Metric) -> Json {
    let labels = metric.labels.iter();
    let labels: Map<String, Json> = labels
        .map(|(name, value)| (name.clone(), value.as_str().into()))
        .collect();
    let mut object = Map::new();
    object.insert("labels".to_owned(), labels.into());
    let (key, value) = match &metric.value {
        Value::Number(value) => ("value", number(*value)),
        Value::Histogram(histogram) => {
            let last = [(f64::INFINITY, histogram.count)];
            let buckets = histogram.buckets.iter().chain(&last);
            let buckets = buckets.map(|(end, count)| json!({"le": number(*end), "count": count}));
            let buckets: Vec<Json> = buckets.collect();
            let mut told = told(Some(histogram.count), histogram.sum);
            told.insert("buckets".to_owned(), buckets.into());
            ("histogram", told.into())
        }
        Value::Summary(summary) => {
            let quantiles = summary.quantiles.iter();
            let quantiles: Vec<Json> = quantiles
                .map(|(at, value)| json!({"quantile": number(*at), "value": number(*value)}))
                .collect();
            let mut told = told(summary.count, summary.sum);
            told.insert("quantiles".to_owned(), quantiles.into());
            ("summary", told.into())
        }
    };
    object.insert(key.to_owned(), value);
    if let Some(time) = metric.timestamp_ms {
        object.insert("timestamp_ms".to_owned(), time.into());
    }
    object.into()
}

fn told(count: Option<u64>, sum: Option<f64>) -> Map<String, Json> {
    let count = count.map(|count| ("count".to_owned(), count.into()));
    let sum = sum.map(|sum| ("sum".to_owned(), number(sum)));
    count.into_iter().chain(sum).collect()
}

/// A number, or the word for what JSON has no number for.
fn number(value: f64) -> Json {
    match value {
        f64::INFINITY => "+Inf".into(),
        f64::NEG_INFINITY => "-Inf".into(),
        value if value.is_nan() => "NaN".into(),
        value => value.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scrape::text::{Limits, read};

    #[test]
    fn what_agents_do_not_tell() {
        let text = "# TYPE s summary\ns{quantile=\"0.5\"} NaN\ns_count 3\nu{a=\"\\u\"} -Inf 17\n";
        let json = write(&read(text, Limits::default()).unwrap());
        let got: Json = serde_json::from_str(&json).unwrap();
        let want = json!([
            {"name": "s", "help": "", "type": "summary", "metrics": [
                {"labels": {}, "summary": {"count": 3, "quantiles": [
                    {"quantile": 0.5, "value": "NaN"}]}}]},
            {"name": "u", "help": "", "type": "untyped", "metrics": [
                {"labels": {"a": "\\u"}, "value": "-Inf", "timestamp_ms": 17}]},
        ]);
        assert_eq!(got, want);
    }

    /// An agent's two answers for one snapshot.
    #[test]
    fn what_agents_tell_is_what_they_call_json() {
        let text = include_str!("../../tests/node/first.txt");
        let got = write(&read(text, Limits::default()).unwrap());
        let mut got: Vec<Json> = serde_json::from_str(&got).unwrap();
        let json = include_str!("../../tests/node/first.json");
        let mut want: Vec<Json> = serde_json::from_str(json).unwrap();
        // The age belongs to each answer.
        for families in [&mut got, &mut want] {
            let age = families.pop().unwrap();
            assert_eq!(age["name"], "monitoring_agent_snapshot_age_seconds");
            // The agent counts its answers when they are made.
            families.retain(|family| family["name"] != "monitoring_agent_http_responses_total");
        }
        assert_eq!(got.len(), want.len());
        for (got, want) in got.iter().zip(&want) {
            assert_eq!(got, want);
        }
    }
}
