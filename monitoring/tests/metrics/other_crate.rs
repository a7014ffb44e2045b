//! Together with the crate `prometheus`: its registries here, this crate's metrics there.

use std::{
    sync::{
        atomic::{AtomicBool, Ordering::SeqCst},
        mpsc,
    },
    thread,
    time::Duration,
};

use monitoring::{MetricBuilder, MetricsCollector};
use prometheus::{
    IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder,
    core::{Collector, Desc},
    proto::MetricFamily,
};

use super::own_count;

const CONFLICTS: &str = "monitoring_conflicting_series_total";

fn text(registry: &Registry) -> String {
    TextEncoder::new()
        .encode_to_string(&registry.gather())
        .unwrap()
}

#[test]
fn metrics_of_their_registry_are_shown_here() {
    let registry = Registry::new();
    let theirs = IntCounter::new("theirs_total", "Theirs.").unwrap();
    registry.register(Box::new(theirs.clone())).unwrap();
    let collector = MetricsCollector::isolated().with_prefix("p");
    collector.counter("ours_total", "Ours.").inc();
    collector.include(registry);
    theirs.inc_by(4);
    assert_eq!(
        collector.encode(),
        "# HELP p_ours_total Ours.\n# TYPE p_ours_total counter\np_ours_total 1\n\
         # HELP theirs_total Theirs.\n# TYPE theirs_total counter\ntheirs_total 4\n"
    );
}

#[test]
fn metrics_of_the_same_name_are_shown_once() {
    let registry = Registry::new();
    let options = Opts::new("other_crate_shared_total", "Shared.");
    let theirs = IntCounterVec::new(options, &["origin"]).unwrap();
    theirs.with_label_values(&["theirs"]).inc();
    theirs.with_label_values(&["both"]).inc_by(1000);
    registry.register(Box::new(theirs)).unwrap();
    let gauge = IntGauge::new("other_crate_type", "Theirs.").unwrap();
    registry.register(Box::new(gauge)).unwrap();

    let collector = MetricsCollector::isolated();
    let builder = MetricBuilder::new()
        .name("other_crate_shared_total")
        .help("Shared.");
    let ours = builder
        .label("origin")
        .collector(&collector)
        .build_counter();
    ours.with_values(&["ours"]).inc();
    ours.with_values(&["both"]).inc_by(2);
    collector.counter("other_crate_type", "").inc();
    collector.include(registry);
    assert_eq!(
        collector.encode(),
        "# HELP other_crate_shared_total Shared.\n# TYPE other_crate_shared_total counter\n\
         other_crate_shared_total{origin=\"both\"} 2\n\
         other_crate_shared_total{origin=\"ours\"} 1\n\
         other_crate_shared_total{origin=\"theirs\"} 1\n\
         # TYPE other_crate_type counter\nother_crate_type 1\n"
    );
    assert_eq!(own_count(CONFLICTS, "other_crate_shared_total"), 1.0);
    assert_eq!(own_count(CONFLICTS, "other_crate_type"), 1.0);
}

#[test]
fn metrics_of_two_collectors_are_shown_in_their_registry() {
    let registry = Registry::new();
    let [one, other] = ["one", "other"].map(|prefix| {
        let collector = MetricsCollector::isolated().with_prefix(prefix);
        collector.register_in(&registry).unwrap();
        collector
    });
    // Metrics may come later than the registration.
    one.counter("c_total", "Help.").inc();
    other.gauge("g", "Help.").set(2);
    let want = "# HELP one_c_total Help.\n# TYPE one_c_total counter\none_c_total 1\n\
                # HELP other_g Help.\n# TYPE other_g gauge\nother_g 2\n";
    assert_eq!(text(&registry), want);
    let error = one.register_in(&registry).unwrap_err().to_string();
    assert!(error.contains("registering in a registry"), "{error}");
}

#[test]
fn metrics_do_not_go_round_in_circles() {
    let registry = Registry::new();
    let collector = MetricsCollector::isolated();
    collector.counter("c_total", "Help.").inc();
    collector.register_in(&registry).unwrap();
    collector.include(registry.clone());
    let want = "# HELP c_total Help.\n# TYPE c_total counter\nc_total 1\n";
    assert_eq!(text(&registry), want);
    assert_eq!(collector.encode(), want);
}

/// A collector that asks for all metrics itself, once, and has more of them shown.
struct Asking {
    all: MetricsCollector,
    has_asked: AtomicBool,
    asked: IntGauge,
}

impl Collector for Asking {
    fn desc(&self) -> Vec<&Desc> {
        self.asked.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        if !self.has_asked.swap(true, SeqCst) {
            let more = Registry::new();
            let late = IntGauge::new("late", "Shown from the next time on.").unwrap();
            more.register(Box::new(late)).unwrap();
            self.all.include(more);
            self.asked.set(self.all.gather().len().try_into().unwrap());
        }
        self.asked.collect()
    }
}

#[test]
fn metrics_of_others_are_asked_for_without_a_lock() {
    let all = MetricsCollector::isolated();
    all.counter("c_total", "").inc();
    let registry = Registry::new();
    let asking = Asking {
        all: all.clone(),
        has_asked: AtomicBool::new(false),
        asked: IntGauge::new("asked", "How many families it saw.").unwrap(),
    };
    registry.register(Box::new(asking)).unwrap();
    all.include(registry);
    // On another thread, so that one that waits for itself fails the test instead of stopping it.
    let (done, gathered) = mpsc::channel();
    thread::spawn(move || done.send([(); 2].map(|()| all.gather())));
    let [first, second] = gathered.recv_timeout(Duration::from_secs(30)).unwrap();
    let names = |families: &[MetricFamily]| -> Vec<String> {
        families.iter().map(|f| f.name().to_owned()).collect()
    };
    assert_eq!(names(&first), ["asked", "c_total"]);
    // It saw itself, the counter, and what it has just had included.
    assert_eq!(first[0].get_metric()[0].get_gauge().get_value(), 3.0);
    assert_eq!(names(&second), ["asked", "c_total", "late"]);
}

#[test]
fn metrics_can_be_registered_one_by_one() {
    let registry = Registry::new_custom(Some("app".to_owned()), None).unwrap();
    let collector = MetricsCollector::isolated().with_prefix("not_used");
    let builder = || MetricBuilder::new().help("").collector(&collector);
    let family = builder().name("c_total").label("l").build_counter();
    let histogram = builder().name("h").buckets(&[1.0]).build_histogram();
    assert_eq!(family.desc()[0].variable_labels, ["l"]);
    registry.register(Box::new(family.clone())).unwrap();
    registry.register(Box::new(histogram.clone())).unwrap();
    assert!(registry.register(Box::new(family.clone())).is_err());
    family.with_values(&["v"]).inc_by(3);
    histogram.with_values(&[]).observe(2.0);
    assert_eq!(
        text(&registry),
        "# TYPE app_c_total counter\napp_c_total{l=\"v\"} 3\n\
         # TYPE app_h histogram\napp_h_bucket{le=\"1\"} 0\napp_h_bucket{le=\"+Inf\"} 1\n\
         app_h_sum 2\napp_h_count 1\n"
    );
}
