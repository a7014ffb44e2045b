//! How old a scrape may be, and who gathers for whom.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use monitoring::MetricsCollector;
use prometheus::{
    Registry,
    core::{Collector, Desc},
    proto::MetricFamily,
};

use crate::{Exporter, at_loopback, poll::poll_until, value};

fn age(text: &str) -> f64 {
    let age = value(text, "monitoring_exporter_metrics_age_seconds");
    age.parse().unwrap()
}

#[test]
fn scrapes_within_the_interval_show_the_same() {
    let collector = MetricsCollector::isolated();
    let counter = collector.counter("steps_total", "Steps taken.");
    let config = at_loopback(&collector).refresh_interval(Duration::from_hours(1));
    let exporter = Exporter::start(config);
    counter.inc();
    let first = exporter.metrics();
    counter.inc();
    let age = age(&first);
    let later = poll_until("the same metrics are older", || {
        let later = exporter.metrics();
        (self::age(&later) > age).then_some(later)
    });
    assert_eq!(value(&first, "steps_total"), "1");
    assert_eq!(value(&later, "steps_total"), "1");
}

#[test]
fn scrapes_beyond_the_interval_show_what_is_now() {
    let collector = MetricsCollector::isolated();
    let counter = collector.counter("steps_total", "Steps taken.");
    let always = Exporter::start(at_loopback(&collector).refresh_interval(Duration::ZERO));
    let often =
        Exporter::start(at_loopback(&collector).refresh_interval(Duration::from_millis(50)));
    often.metrics();
    for step in 1..=10 {
        counter.inc();
        assert_eq!(value(&always.metrics(), "steps_total"), step.to_string());
    }
    poll_until("the interval has passed", || {
        (value(&often.metrics(), "steps_total") == "10").then_some(())
    });
}

/// Counts how often it is gathered, and panics when told to.
struct Foreign {
    description: Desc,
    gathered: Arc<AtomicU64>,
    panics_at: u64,
}

impl Collector for Foreign {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.description]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let times = self.gathered.fetch_add(1, SeqCst) + 1;
        assert!(
            times != self.panics_at,
            "a collector of the application's own"
        );
        Vec::new()
    }
}

fn with_foreign(panics_at: u64) -> (MetricsCollector, Arc<AtomicU64>) {
    let gathered = Arc::new(AtomicU64::new(0));
    let description = Desc::new(
        "foreign".into(),
        "Foreign.".into(),
        Vec::new(),
        HashMap::default(),
    );
    let foreign = Foreign {
        description: description.unwrap(),
        gathered: Arc::clone(&gathered),
        panics_at,
    };
    let registry = Registry::new();
    registry.register(Box::new(foreign)).unwrap();
    let collector = MetricsCollector::isolated();
    collector.include(registry);
    (collector, gathered)
}

#[test]
fn one_gathers_for_all() {
    let (collector, gathered) = with_foreign(0);
    let config = at_loopback(&collector).refresh_interval(Duration::from_hours(1));
    let exporter = Exporter::start(config);
    thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| exporter.metrics());
        }
    });
    assert_eq!(gathered.load(SeqCst), 1);
}

#[test]
fn a_panic_of_a_foreign_collector_costs_one_scrape() {
    let (collector, gathered) = with_foreign(2);
    collector.counter("steps_total", "Steps taken.").inc();
    let exporter = Exporter::start(at_loopback(&collector).refresh_interval(Duration::ZERO));
    exporter.metrics();
    let answer = exporter.ask("GET", "/metrics", "");
    assert_eq!(answer.status, 500);
    assert!(String::from_utf8(answer.body).unwrap().contains("panicked"));
    let text = exporter.metrics();
    assert_eq!(value(&text, "steps_total"), "1");
    assert_eq!(
        value(&text, "monitoring_exporter_responses_total{class=\"5xx\"}"),
        "1"
    );
    assert_eq!(gathered.load(SeqCst), 3);
}
