//! What became of the spans of all tracers of the process, as a metric. Knows nothing of the
//! collector that shows it.

use ::prometheus::proto::{Counter, LabelPair, Metric, MetricFamily, MetricType};

use super::tracer::{Core, TraceStats};

const NAME: &str = "monitoring_spans_total";

/// The metric as it is now; none in a process without a tracer.
pub(crate) fn families() -> Vec<MetricFamily> {
    let stats: Vec<TraceStats> = Core::all().map(Core::stats).collect();
    if stats.is_empty() {
        return Vec::new();
    }
    let sum = |of: fn(&TraceStats) -> u64| stats.iter().map(of).sum();
    // Sorted, as those of the other metrics are.
    let metrics = [
        metric("buffer_full", sum(|stats| stats.dropped_buffer_full)),
        metric("exported", sum(|stats| stats.exported)),
        metric("refused", sum(|stats| stats.dropped_refused)),
        metric("sampled_out", sum(|stats| stats.sampled_out)),
        metric("shut_down", sum(|stats| stats.dropped_shut_down)),
        metric("without_sink", sum(|stats| stats.without_sink)),
    ];
    let mut family = MetricFamily::default();
    family.set_name(NAME.to_owned());
    family.set_help(
        "Spans that have ended, by what became of them. Those that are still to be sent are in none."
            .to_owned(),
    );
    family.set_field_type(MetricType::COUNTER);
    family.set_metric(metrics.into());
    vec![family]
}

fn metric(outcome: &str, spans: u64) -> Metric {
    let mut label = LabelPair::default();
    label.set_name("outcome".to_owned());
    label.set_value(outcome.to_owned());
    let mut metric = Metric::from_label(vec![label]);
    let mut counter = Counter::default();
    counter.set_value(spans as f64);
    metric.set_counter(counter);
    metric
}
