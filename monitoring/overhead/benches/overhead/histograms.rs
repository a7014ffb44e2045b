//! Nanoseconds of an observation in a histogram of the eleven buckets that clients of Prometheus
//! have by default.

use std::{hint::black_box, sync::Arc};

use metrics_exporter_prometheus::PrometheusBuilder;

use crate::{
    Measurement,
    counters::sum_of,
    load::{Load, Subject},
    rounds::{Comparison, Expects},
};

const OPERATIONS: usize = 100_000;
const CHUNKS: u64 = 50;

/// Upper bounds, in seconds.
pub(crate) const BUCKETS: [f64; 11] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// As many values are observed again and again: they fit into the first cache, and their order is
/// longer than what a branch predictor remembers.
const VALUES: usize = 1024;

const COMPARISON: Comparison = Comparison {
    name: "histograms",
    title: "ns per observation in a histogram of 11 buckets",
    subjects: &[
        Subject {
            name: "nothing: the loop and its values alone",
            begin: nothing,
        },
        Subject {
            name: "monitoring: Histogram",
            begin: library,
        },
        Subject {
            name: "prometheus: Histogram",
            begin: prometheus,
        },
        Subject {
            name: "prometheus-client: Histogram",
            begin: prometheus_client,
        },
        Subject {
            name: "metrics: Histogram",
            begin: metrics,
        },
    ],
    expects: Expects::Counted,
};

pub(crate) const MEASUREMENT: Measurement = Measurement {
    name: COMPARISON.name,
    measure: || COMPARISON.measure(),
    work: |words| COMPARISON.work(words),
};

/// Values from 1 ms to 20 s, in no order, as many in each octave.
fn values() -> Vec<f64> {
    let octaves = (20.0_f64 / 0.001).log2();
    // A step without a common divisor goes through all of them.
    let places = (0..VALUES).map(|at| at * 389 % VALUES);
    let share = |place: usize| place as f64 / VALUES as f64;
    places
        .map(|place| 0.001 * (octaves * share(place)).exp2())
        .collect()
}

/// An observation in something that all threads share.
fn load<T: Send + Sync + 'static>(
    shared: T,
    observe: impl Fn(&T, f64) + Send + Sync + 'static,
    count: impl Fn(&T) -> u64 + 'static,
) -> Load {
    let shared = Arc::new(shared);
    let of_loop = Arc::clone(&shared);
    let values: [f64; VALUES] = values().try_into().expect("as many as there are");
    let observe = move |at: usize| {
        let value = values[at % VALUES];
        observe(black_box(&of_loop), black_box(value));
    };
    Load::of_loop(OPERATIONS, CHUNKS, observe, move || count(&shared))
}

fn nothing() -> Load {
    load((), |(), _| {}, |()| 0).recorded_by_nobody()
}

fn library() -> Load {
    let histogram = monitoring::Histogram::with_buckets("latency_seconds", "Latency", &BUCKETS);
    load(histogram, monitoring::Histogram::observe, |histogram| {
        histogram.snapshot().count()
    })
}

fn prometheus() -> Load {
    let options = prometheus::HistogramOpts::new("latency_seconds", "Latency");
    let histogram = prometheus::Histogram::with_opts(options.buckets(BUCKETS.to_vec()));
    load(
        histogram.expect("a valid name"),
        prometheus::Histogram::observe,
        prometheus::Histogram::get_sample_count,
    )
}

fn prometheus_client() -> Load {
    use prometheus_client::{
        encoding::text::encode, metrics::histogram::Histogram, registry::Registry,
    };
    let histogram = Histogram::new(BUCKETS);
    let mut registry = Registry::default();
    registry.register("latency_seconds", "Latency", histogram.clone());
    load(histogram, Histogram::observe, move |_| {
        let mut text = String::new();
        encode(&mut text, &registry).expect("a text has room");
        sum_of("latency_seconds_count", &text)
    })
}

fn metrics() -> Load {
    let builder = PrometheusBuilder::new().set_buckets(&BUCKETS);
    let recorder = builder.expect("there are buckets").build_recorder();
    let rendering = recorder.handle();
    let upkeep = rendering.clone();
    metrics::set_global_recorder(recorder).expect("the first one");
    let histogram = metrics::histogram!("latency_seconds");
    let observe = |histogram: &metrics::Histogram, value| histogram.record(value);
    let count = move |_: &_| sum_of("latency_seconds_count", &rendering.render());
    // Values are kept one by one until somebody puts them into their buckets.
    load(histogram, observe, count).settled_by(move || upkeep.run_upkeep())
}
