//! What the real Prometheus makes of each format: exemplars, native histograms, types and units.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use monitoring_agent::{
    exemplars::Exemplars, export::http::HttpOptions, families::Family, snapshot::Snapshot,
};
use monitoring_common::histogram::{FIRST_EXPONENT, Histogram, SLOTS};
use serde_json::Value;

use crate::{
    poll::poll_until,
    scraper::{EXEMPLARS, NATIVE, Scraper},
    server::Server,
};

const LABELS: [(&str, &str); 2] = [("comm", "a\"b\\c\nd ü"), ("agent", "other")];

/// What a query calls those labels.
const OF: &str = "{comm=\"a\\\"b\\\\c\\nd ü\",agent=\"other\"}";

/// Durations in all slots, none at a slot's bound: two in the first, and one more in each that
/// follows.
fn durations() -> Histogram {
    let mut durations = Histogram::EMPTY;
    for slot in 0..SLOTS {
        // Three quarters of 2^-22 s are 179 ns, and every slot is twice as wide as the one before.
        let within_ns = 178_813 * (1_u64 << slot) / 1_000;
        for _ in 0..slot + 2 {
            durations.observe(within_ns);
        }
    }
    let mut counts = durations.slots.iter().zip(2..);
    assert!(counts.all(|(count, want)| *count == want));
    durations
}

/// An endpoint with a family of each type.
fn endpoint(exemplars: Exemplars) -> Server {
    let mut histogram = Family::histogram("slow_seconds", "A \"slow\" \\ one\nand more.");
    histogram.push_durations(&LABELS, &durations());
    histogram.push_durations(&[("comm", "idle"), ("agent", "other")], &Histogram::EMPTY);
    let families = vec![
        Family::gauge("node_info", "N.").with(&LABELS, 1.0).build(),
        Family::counter("odd", "O.").with(&[], 5.0).build(),
        histogram.build(),
        Family::counter("work_bytes_total", "W.")
            .with(&LABELS, 1e15)
            .build(),
        Family::gauge("odd_ratio", "R.")
            .with(&[], f64::NEG_INFINITY)
            .build(),
    ];
    let snapshot = Snapshot {
        number: 1,
        families,
        ready: true,
        ..Snapshot::empty()
    };
    let options = HttpOptions {
        exemplars: Arc::new(exemplars),
        ..HttpOptions::default()
    };
    Server::serving(options, snapshot)
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

/// In four slots of three buckets, and of the counter. Later ones took longer, so that they are in
/// order for a reader that takes those of all buckets to be one series.
fn observed(now: u64) -> Exemplars {
    let exemplars = Exemplars::default();
    let observe = |metric, seconds: f64, trace: u128| {
        let unix_ns = (now - 100 + u64::try_from(trace).unwrap()) * 1_000_000_000 + 123_456_789;
        exemplars.observe(metric, &LABELS, seconds, trace, 0xab, unix_ns);
    };
    observe("slow_seconds", 0.75, 1);
    observe("slow_seconds", 1.5, 2);
    observe("slow_seconds", 3.5, 3);
    observe("slow_seconds", 17.25, 4);
    observe("work_bytes_total", 0.5, 5);
    exemplars
}

/// Labels of a series, and its exemplars as trace and value.
fn found_in(data: &Value) -> BTreeMap<String, Vec<(String, String)>> {
    let series = data.as_array().unwrap().iter().map(|series| {
        let labels = &series["seriesLabels"];
        let name = labels["__name__"].as_str().unwrap();
        let le = labels["le"].as_str().unwrap_or_default();
        assert_eq!(labels["comm"], LABELS[0].1);
        let exemplars = series["exemplars"]
            .as_array()
            .unwrap()
            .iter()
            .map(|exemplar| {
                assert_eq!(exemplar["labels"]["span_id"], "00000000000000ab");
                let trace = exemplar["labels"]["trace_id"].as_str().unwrap();
                assert_eq!(trace.len(), 32);
                let value = exemplar["value"].as_str().unwrap();
                (trace.trim_start_matches('0').to_owned(), value.to_owned())
            });
        (format!("{name}{le}"), exemplars.collect())
    });
    series.collect()
}

/// Each series, and the traces and values that it has.
fn exemplars(of: &[(&str, &[(&str, &str)])]) -> BTreeMap<String, Vec<(String, String)>> {
    let of = of.iter().map(|(series, exemplars)| {
        let exemplars = exemplars
            .iter()
            .map(|(trace, value)| (trace.to_string(), value.to_string()));
        (series.to_string(), exemplars.collect())
    });
    of.collect()
}

#[test]
fn exemplars_arrive_by_openmetrics() {
    let now = now();
    let server = endpoint(observed(now));
    let prometheus = Scraper::start(&server.addr.to_string(), &[EXEMPLARS]);
    prometheus.wait_for("up", "1");
    let ask = |query: &str| {
        let data = prometheus.exemplars(query, now)?;
        Some(found_in(&data))
    };
    let buckets = poll_until("exemplars of buckets", || {
        ask("slow_seconds_bucket").filter(|found| !found.is_empty())
    });
    let want = exemplars(&[
        ("slow_seconds_bucket1.0", &[("1", "0.75")]),
        ("slow_seconds_bucket4.0", &[("3", "3.5")]),
        ("slow_seconds_bucket+Inf", &[("4", "17.25")]),
    ]);
    assert_eq!(buckets, want);
    let counters = ask("work_bytes_total").unwrap();
    assert_eq!(
        counters,
        exemplars(&[("work_bytes_total", &[("5", "0.5")])])
    );
    // The numbers beside them, by their labels in all their glory.
    prometheus.wait_for(&format!("work_bytes_total{OF}"), "1000000000000000");
    prometheus.wait_for(&format!("slow_seconds_count{OF}"), "434");
    prometheus.wait_for(
        &format!(
            "slow_seconds_bucket{{le=\"9.5367431640625e-07\",{}",
            &OF[1..]
        ),
        "9",
    );
    prometheus.wait_for("slow_seconds_sum{comm=\"idle\"}", "0");
    prometheus.wait_for("odd_ratio", "-Inf");
    // Nothing was added by what an exemplar or a unit could be mistaken for.
    prometheus.wait_for("scrape_samples_scraped", "37");
    assert!(
        !prometheus.log().contains("level=warn"),
        "{}",
        prometheus.log()
    );
}

#[test]
fn types_and_units_arrive_by_openmetrics_and_protobuf() {
    let server = endpoint(Exemplars::default());
    let target = server.addr.to_string();
    for (flags, want) in [
        (
            &[][..],
            [
                ("node", "info", "", "N."),
                ("odd", "unknown", "", "O."),
                ("odd_ratio", "gauge", "ratio", "R."),
                (
                    "slow_seconds",
                    "histogram",
                    "seconds",
                    "A \"slow\" \\ one\nand more.",
                ),
                ("work_bytes", "counter", "bytes", "W."),
            ],
        ),
        (
            // This version knows no unit in protobuf.
            &[NATIVE],
            [
                ("node_info", "gauge", "", "N."),
                ("odd", "counter", "", "O."),
                ("odd_ratio", "gauge", "", "R."),
                (
                    "slow_seconds",
                    "histogram",
                    "",
                    "A \"slow\" \\ one\nand more.",
                ),
                ("work_bytes_total", "counter", "", "W."),
            ],
        ),
    ] {
        let prometheus = Scraper::start(&target, flags);
        prometheus.wait_for("up", "1");
        for (name, kind, unit, help) in want {
            let path = format!("/api/v1/targets/metadata?metric={name}");
            let found = poll_until(name, || prometheus.ask(&path)?.get(0).cloned());
            let got = ["type", "unit", "help"].map(|key| found[key].as_str().unwrap().to_owned());
            assert_eq!(got, [kind, unit, help], "{name}");
        }
    }
}

/// The bounds of the kernel's slots as they are in a native histogram.
fn bounds(slot: usize) -> (f64, f64) {
    let end = |slot: usize| f64::from(FIRST_EXPONENT + i32::try_from(slot).unwrap()).exp2();
    match slot {
        0 => (-end(0), end(0)),
        27 => (f64::MAX, f64::INFINITY),
        _ => (end(slot - 1), end(slot)),
    }
}

#[test]
fn native_histograms_are_the_kernels_slots() {
    let now = now();
    let server = endpoint(observed(now));
    let prometheus = Scraper::start(&server.addr.to_string(), &[NATIVE]);
    let native = format!("slow_seconds{OF}");
    let found = poll_until("a native histogram", || prometheus.first(&native));
    let histogram = &found["histogram"][1];
    let number = |value: &Value| value.as_str().unwrap().parse::<f64>().unwrap();
    let durations = durations();
    let [count, sum] = ["count", "sum"].map(|key| number(&histogram[key]).to_bits());
    assert_eq!(count, 434_f64.to_bits());
    assert_eq!(sum, (durations.sum_ns as f64 / 1e9).to_bits());
    let buckets = histogram["buckets"].as_array().unwrap().iter();
    let buckets: Vec<_> = buckets
        .map(|bucket| [1, 2, 3].map(|at| number(&bucket[at])))
        .collect();
    let want: Vec<_> = (0..SLOTS)
        .map(|slot| {
            let (lower, upper) = bounds(slot);
            [lower, upper, durations.slots[slot] as f64]
        })
        .collect();
    assert_eq!(buckets, want);
    // A quantile at the end of each slot is the slot's bound.
    let mut counted = 0;
    for (slot, count) in durations.slots[..SLOTS - 1].iter().enumerate() {
        counted += count;
        let query = format!("histogram_quantile({counted} / 434, {native})");
        let quantile: f64 = prometheus.value(&query).unwrap().parse().unwrap();
        let (_, upper) = bounds(slot);
        assert!(
            (quantile / upper - 1.0).abs() < 1e-9,
            "slot {slot}: {quantile} is not {upper}"
        );
    }
    prometheus.wait_for(&format!("histogram_quantile(0.999, {native})"), "+Inf");
    let up_to_16 = format!("histogram_fraction(0, 16, {native}) * 434");
    let up_to_16: f64 = prometheus.value(&up_to_16).unwrap().parse().unwrap();
    assert!((up_to_16 - 405.0).abs() < 1e-9, "{up_to_16}");
    prometheus.wait_for("histogram_count(slow_seconds{comm=\"idle\"})", "0");
    let found = poll_until("exemplars", || {
        let found = prometheus
            .exemplars("slow_seconds", now)
            .map(|data| found_in(&data))?;
        (!found.is_empty()).then_some(found)
    });
    // This version takes the first one, of the classic buckets. Later ones take all of the slots'.
    assert_eq!(found, exemplars(&[("slow_seconds", &[("1", "0.75")])]));
    assert!(
        !prometheus.log().contains("level=warn"),
        "{}",
        prometheus.log()
    );
}
