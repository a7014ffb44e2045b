//! Nanoseconds of a profile scope, beside what else there is to time a piece of code by.

use std::{hint::black_box, time::Instant};

use monitoring::{ProfileScope, Profiler};

use crate::{
    Measurement,
    load::{Load, Subject},
    rounds::{Comparison, Expects},
};

const OPERATIONS: usize = 100_000;
const CHUNKS: u64 = 20;

const COMPARISON: Comparison = Comparison {
    name: "scopes",
    title: "ns per timed scope, entered and left",
    subjects: &[
        Subject {
            name: "nothing but the clock, twice",
            begin: clock,
        },
        Subject {
            name: "monitoring: ProfileScope",
            begin: scope,
        },
        Subject {
            name: "monitoring: ProfileScope within another",
            begin: nested,
        },
        Subject {
            name: "monitoring: ProfileScope of a profiler that is off",
            begin: off,
        },
        Subject {
            name: "prometheus: HistogramTimer",
            begin: prometheus,
        },
    ],
    expects: Expects::Counted,
};

pub(crate) const MEASUREMENT: Measurement = Measurement {
    name: COMPARISON.name,
    measure: || COMPARISON.measure(),
    work: |words| COMPARISON.work(words),
};

const OUTER: &str = "request";
const INNER: &str = "critical_section";

/// The profiler is never freed: its scopes borrow it on all threads.
fn profiler() -> &'static Profiler {
    Box::leak(Box::new(Profiler::new()))
}

fn clock() -> Load {
    let operation = |_| {
        black_box(Instant::now());
        black_box(Instant::now());
    };
    Load::of_loop(OPERATIONS, CHUNKS, operation, || 0).recorded_by_nobody()
}

fn scope() -> Load {
    scope_of(profiler())
}

fn scope_of(profiler: &'static Profiler) -> Load {
    let operation = move |_| drop(black_box(ProfileScope::new(profiler, INNER)));
    Load::of_loop(OPERATIONS, CHUNKS, operation, || {
        profiler.report().count(INNER)
    })
}

fn nested() -> Load {
    let profiler = profiler();
    let load = scope_of(profiler);
    let chunk = load.chunk;
    Load {
        chunk: Box::new(move || {
            let _outer = ProfileScope::new(profiler, OUTER);
            chunk();
        }),
        ..load
    }
}

fn off() -> Load {
    let profiler = Box::leak(Box::new(Profiler::with_sample_rate(0.0)));
    scope_of(profiler).recorded_by_nobody()
}

fn prometheus() -> Load {
    let options = prometheus::HistogramOpts::new("latency_seconds", "Latency");
    let histogram = prometheus::Histogram::with_opts(options).expect("a valid name");
    let of_loop = histogram.clone();
    let operation = move |_| drop(black_box(of_loop.start_timer()));
    Load::of_loop(OPERATIONS, CHUNKS, operation, move || {
        histogram.get_sample_count()
    })
}
