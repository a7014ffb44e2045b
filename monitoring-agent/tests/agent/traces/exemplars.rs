//! From a bucket to a trace: the exemplars beside slow events are the spans that the collector has.

use std::time::Duration;

use monitoring::otlp::Protocol;

use super::{
    disk,
    traced::Traced,
    tree::{Tree, lasted},
};
use crate::{poll::poll_until, process::Agent, rotel::shown::Shown};

/// A line's exemplar: `… # {trace_id="…",span_id="…"} seconds when`.
struct Exemplar {
    trace_id: String,
    span_id: String,
    seconds: f64,
    /// Since 1970.
    at: f64,
    /// The bucket's upper bound.
    le: f64,
}

impl Exemplar {
    fn of(line: &str) -> Option<Self> {
        let (sample, exemplar) = line.split_once(" # {")?;
        let (labels, numbers) = exemplar.split_once("} ").unwrap();
        let (seconds, at) = numbers.split_once(' ').unwrap();
        Some(Self {
            trace_id: quoted(labels, "trace_id").to_owned(),
            span_id: quoted(labels, "span_id").to_owned(),
            seconds: seconds.parse().unwrap(),
            at: at.parse().unwrap(),
            le: quoted(sample, "le").parse().unwrap(),
        })
    }

    /// Asserts that it is of one of these spans.
    fn check(&self, spans: &[&Shown]) {
        let span = spans.iter().find(|span| span.get("ID") == self.span_id);
        let span = span.unwrap_or_else(|| panic!("no span {} in {spans:#?}", self.span_id));
        assert_eq!(span.get("Trace ID"), self.trace_id);
        let lasted = lasted(span).as_secs_f64();
        // Of a span both ends are told in Unix time, whose clock may be slewed meanwhile.
        assert!(
            (self.seconds - lasted).abs() < 2e-6 + lasted / 1e3,
            "{} of {span:?}",
            self.seconds
        );
        assert!(self.seconds <= self.le);
        let [_, end] = span.times().map(|time| time as f64 / 1e9);
        assert!((self.at - end).abs() < 2e-3, "{} of {span:?}", self.at);
    }
}

/// The value of a label.
fn quoted<'a>(labels: &'a str, name: &str) -> &'a str {
    let (_, rest) = labels.split_once(&format!("{name}=\"")).unwrap();
    rest.split_once('"').unwrap().0
}

/// The exemplars of a histogram's series, once there are any.
fn exemplars(agent: &Agent, metric: &str, labels: &str) -> Vec<Exemplar> {
    let bucket = format!("{metric}_bucket{{");
    poll_until(&format!("an exemplar of {metric}"), || {
        let text = agent.openmetrics();
        let lines = text.lines().filter(|line| line.starts_with(&bucket));
        let of_series = lines.filter(|line| line.contains(labels));
        let found: Vec<_> = of_series.filter_map(Exemplar::of).collect();
        (!found.is_empty()).then_some(found)
    })
}

fn named<'a>(spans: &'a Tree, family: &str, name: &str) -> Vec<&'a Shown> {
    let spans = spans.of(disk::SERVICE, family);
    spans.filter(|span| span.get("Name") == name).collect()
}

#[test]
fn a_bucket_leads_to_the_span_of_a_slow_event() {
    let traced = Traced::start(Protocol::HttpProtobuf, &disk::rule());
    let reads = disk::Work::run(&traced.agent);
    let labels = format!("agent=\"{}\",syscall=\"pread64\"", disk::SERVICE);
    let calls = exemplars(&traced.agent, "syscall_duration_seconds", &labels);
    let labels = format!("device=\"{}\",operation=\"read\"", reads.disk());
    let requests = exemplars(&traced.agent, "block_io_duration_seconds", &labels);
    let spans = traced.spans();
    reads.check(&spans);
    for (exemplars, family, name) in [
        (calls, "syscalls", "pread64"),
        (requests, "block", "disk read"),
    ] {
        let spans = named(&spans, family, name);
        for exemplar in &exemplars {
            exemplar.check(&spans);
        }
        let slowest = exemplars.iter().map(|exemplar| exemplar.seconds);
        let slowest = Duration::from_secs_f64(slowest.fold(0.0, f64::max));
        assert!(
            slowest > Duration::from_micros(10),
            "{name} took {slowest:?}"
        );
    }
}
