//! Nanoseconds of an increment of a counter that is at hand.

use std::{
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use metrics_exporter_prometheus::PrometheusBuilder;

use crate::{
    Measurement,
    load::{Load, Subject},
    rounds::{Comparison, Expects},
};

const OPERATIONS: usize = 1_000_000;
const CHUNKS: u64 = 10;

const COMPARISON: Comparison = Comparison {
    name: "counters",
    title: "ns per increment of a counter",
    subjects: &[
        Subject {
            name: "nothing: the loop alone",
            begin: nothing,
        },
        Subject {
            name: "monitoring: Counter",
            begin: library,
        },
        Subject {
            name: "monitoring: FloatCounter",
            begin: library_float,
        },
        Subject {
            name: "monitoring: Gauge, inc",
            begin: library_gauge,
        },
        Subject {
            name: "an AtomicU64",
            begin: atomic,
        },
        Subject {
            name: "prometheus: IntCounter",
            begin: prometheus_integer,
        },
        Subject {
            name: "prometheus: Counter",
            begin: prometheus_float,
        },
        Subject {
            name: "prometheus-client: Counter",
            begin: prometheus_client,
        },
        Subject {
            name: "metrics: Counter",
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

/// An operation on something that all threads share.
fn load<T: Send + Sync + 'static>(
    shared: T,
    increment: impl Fn(&T) + Send + Sync + 'static,
    value: impl Fn(&T) -> u64 + 'static,
) -> Load {
    let shared = Arc::new(shared);
    let of_loop = Arc::clone(&shared);
    // The optimiser must not know from one time to the next what it is that is incremented.
    let increment = move |_| increment(black_box(&of_loop));
    Load::of_loop(OPERATIONS, CHUNKS, increment, move || value(&shared))
}

fn nothing() -> Load {
    load((), |()| {}, |()| 0).recorded_by_nobody()
}

fn library() -> Load {
    let counter = monitoring::Counter::new("events_total", "Events");
    load(counter, monitoring::Counter::inc, monitoring::Counter::get)
}

fn library_float() -> Load {
    let counter = monitoring::FloatCounter::new("events_total", "Events");
    load(counter, monitoring::FloatCounter::inc, |counter| {
        whole(counter.get())
    })
}

fn library_gauge() -> Load {
    let gauge = monitoring::Gauge::new("events", "Events");
    load(gauge, monitoring::Gauge::inc, |gauge| whole(gauge.get()))
}

fn atomic() -> Load {
    let increment = |counter: &AtomicU64| {
        counter.fetch_add(1, Relaxed);
    };
    load(AtomicU64::new(0), increment, |counter| {
        counter.load(Relaxed)
    })
}

fn prometheus_integer() -> Load {
    let counter = prometheus::IntCounter::new("events_total", "Events").expect("a valid name");
    load(
        counter,
        prometheus::IntCounter::inc,
        prometheus::IntCounter::get,
    )
}

fn prometheus_float() -> Load {
    let counter = prometheus::Counter::new("events_total", "Events").expect("a valid name");
    load(counter, prometheus::Counter::inc, |counter| {
        whole(counter.get())
    })
}

fn prometheus_client() -> Load {
    use prometheus_client::metrics::counter::Counter;
    let increment = |counter: &Counter| {
        counter.inc();
    };
    load(Counter::default(), increment, |counter: &Counter| {
        counter.get()
    })
}

fn metrics() -> Load {
    let recorder = PrometheusBuilder::new().build_recorder();
    let rendering = recorder.handle();
    metrics::set_global_recorder(recorder).expect("the first one");
    let counter = metrics::counter!("events_total");
    let increment = |counter: &metrics::Counter| counter.increment(1);
    load(counter, increment, move |_| {
        sum_of("events_total", &rendering.render())
    })
}

/// A number of increments.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it is a whole one, and small"
)]
fn whole(number: f64) -> u64 {
    number as u64
}

/// The sum over all series of a metric in the text format.
pub(crate) fn sum_of(metric: &str, text: &str) -> u64 {
    let lines = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(metric)?;
        rest.starts_with([' ', '{'])
            .then(|| rest.rsplit(' ').next())?
    });
    let values = lines.map(|value| value.parse::<u64>().expect("a whole number"));
    values.sum()
}
