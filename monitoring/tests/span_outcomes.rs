//! What became of spans, among the metrics of the process. One test, because its numbers are those
//! of the whole process.

use std::time::Duration;

use monitoring::{
    MetricsCollector, Tracer,
    trace::{FinishedSpan, SinkError, SpanSink},
};

const DEADLINE: Duration = Duration::from_secs(20);

/// Takes spans that are called `good`.
struct Picky;

impl SpanSink for Picky {
    fn export(&mut self, batch: &[FinishedSpan]) -> Result<(), SinkError> {
        if batch.iter().all(|span| span.name() == "good") {
            return Ok(());
        }
        Err(SinkError::Refused("not these".into()))
    }
}

fn tracer(rate: f64) -> Tracer {
    let builder = Tracer::builder("outcomes").sample_rate(rate).sink(Picky);
    builder.build().unwrap()
}

/// The metric's lines, without its name.
fn shown() -> Vec<String> {
    let text = MetricsCollector::new().encode();
    let lines = text.lines();
    let lines = lines.filter_map(|line| line.strip_prefix("monitoring_spans_total"));
    lines.map(str::to_owned).collect()
}

fn want(numbers: [u64; 6]) -> Vec<String> {
    let outcomes = [
        "buffer_full",
        "exported",
        "refused",
        "sampled_out",
        "shut_down",
        "without_sink",
    ];
    let lines = outcomes.iter().zip(numbers);
    lines
        .map(|(outcome, spans)| format!("{{outcome=\"{outcome}\"}} {spans}"))
        .collect()
}

#[test]
fn every_span_is_counted_by_what_became_of_it() {
    // A prefix is not for it.
    let _collector = MetricsCollector::new().with_prefix("app");
    assert!(shown().is_empty());
    let (all, none, second) = (tracer(1.0), tracer(0.0), tracer(1.0));
    assert_eq!(shown(), want([0; 6]));

    for _ in 0..3 {
        all.start_span("good").end();
        none.start_span("good").end();
    }
    assert!(all.flush(DEADLINE));
    assert_eq!(shown(), want([0, 3, 0, 3, 0, 0]));

    for _ in 0..2 {
        second.start_span("bad").end();
    }
    assert!(second.flush(DEADLINE));
    assert_eq!(shown(), want([0, 3, 2, 3, 0, 0]));

    // A tracer that is gone still counts, and so does a span that outlives it.
    let late = second.start_span("late");
    drop(second);
    late.end();
    assert_eq!(shown(), want([0, 3, 2, 3, 0, 1]));
}
