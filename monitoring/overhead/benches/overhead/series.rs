//! Bytes of a series of a metric, and what it takes to render all of them.
//!
//! A library that has cells for each thread needs more of them where more threads count, so the
//! threads are a part of the question.

use std::{sync::Arc, thread, time::Instant};

use metrics_exporter_prometheus::PrometheusBuilder;
use monitoring::{MetricBuilder, MetricsCollector};
use prometheus::{Encoder as _, TextEncoder};

use crate::{Measurement, child, histograms::BUCKETS, memory};

const SERIES: usize = 10_000;

/// Threads that have counted in all series.
const THREADS: [usize; 2] = [1, 8];

/// Series that are made, touched and rendered in a process of their own.
struct Subject {
    name: &'static str,
    begin: fn() -> Family,
}

/// A metric with [`SERIES`] series, once each of them was touched.
struct Family {
    /// Counts once in the series of this number.
    touch: Box<dyn Fn(usize) + Send + Sync>,
    render: Box<dyn Fn() -> String>,
}

const SUBJECTS: [Subject; 8] = [
    Subject {
        name: "monitoring: Family of Counter",
        begin: library_counters,
    },
    Subject {
        name: "prometheus: IntCounterVec",
        begin: prometheus_counters,
    },
    Subject {
        name: "prometheus-client: Family of Counter",
        begin: prometheus_client_counters,
    },
    Subject {
        name: "metrics: counter!",
        begin: metrics_counters,
    },
    Subject {
        name: "monitoring: Family of Histogram",
        begin: library_histograms,
    },
    Subject {
        name: "prometheus: HistogramVec",
        begin: prometheus_histograms,
    },
    Subject {
        name: "prometheus-client: Family of Histogram",
        begin: prometheus_client_histograms,
    },
    Subject {
        name: "metrics: histogram!",
        begin: metrics_histograms,
    },
];

pub(crate) const MEASUREMENT: Measurement = Measurement {
    name: "series",
    measure,
    work,
};

fn measure() {
    println!("bytes per series of {SERIES}, memory of the process, ms to render all series");
    println!(
        "  {:<44}{:>10}{:>12}{:>12}{:>12}{:>11}",
        "", "1 thread", "8 threads", "1 thread", "8 threads", "rendering"
    );
    for (at, subject) in SUBJECTS.iter().enumerate() {
        let rows = THREADS.map(|threads| {
            let figures = child::Subject::start(&format!("series {at} {threads}")).finish();
            let [heap, resident, render_ms] = figures[..] else {
                panic!("three numbers, not {figures:?}");
            };
            (heap, resident / (1024.0 * 1024.0), render_ms)
        });
        let [one, eight] = rows;
        println!(
            "  {:<44}{:>10.0}{:>12.0}{:>8.1} MiB{:>8.1} MiB{:>11.1}",
            subject.name, one.0, eight.0, one.1, eight.1, one.2
        );
    }
    println!();
}

fn work(words: &[&str]) {
    let [at, threads] = words else {
        panic!("a place in the list, and a number of threads, not {words:?}");
    };
    let at: usize = at.parse().expect("a place in the list");
    let threads: usize = threads.parse().expect("a number of threads");
    let base_bytes = memory::heap_bytes();
    let base_resident = memory::resident_bytes();
    let family = (SUBJECTS[at].begin)();
    let touch = &family.touch;
    // All at the same time: none ends before the memory is looked at.
    let (heap, resident) = thread::scope(|scope| {
        let touched = Arc::new(std::sync::Barrier::new(threads + 1));
        let looked = Arc::new(std::sync::Barrier::new(threads + 1));
        for _ in 0..threads {
            let (touched, looked) = (Arc::clone(&touched), Arc::clone(&looked));
            scope.spawn(move || {
                (0..SERIES).for_each(touch);
                touched.wait();
                looked.wait();
            });
        }
        touched.wait();
        let memory = (memory::heap_bytes(), memory::resident_bytes());
        looked.wait();
        memory
    });
    let begun = Instant::now();
    let text = (family.render)();
    let render_ms = begun.elapsed().as_secs_f64() * 1000.0;
    assert_all_touched(&text, threads);
    child::answer(&[
        (heap as f64 - base_bytes as f64) / SERIES as f64,
        (resident - base_resident) as f64,
        render_ms,
    ]);
}

/// Each series has one of each thread, or its memory would say nothing.
fn assert_all_touched(text: &str, threads: usize) {
    let want = threads.to_string();
    let counted = text.lines().filter(|line| {
        let is_sample =
            line.starts_with("events_total{") || line.starts_with("latency_seconds_count{");
        is_sample && line.rsplit(' ').next() == Some(&want)
    });
    assert_eq!(
        counted.count(),
        SERIES,
        "{}",
        text.lines().take(5).collect::<String>()
    );
}

/// The values of the two labels, by the series' number.
fn labels(at: usize) -> (String, String) {
    // One after the other they are different texts, too: `prometheus` takes them for the same series
    // otherwise.
    (
        format!("worker-{}", at / 100),
        format!("shard-{}", at % 100),
    )
}

const NAMES: [&str; 2] = ["worker", "shard"];

/// A metric of the library, in a collector of its own.
fn library(name: &str) -> (MetricBuilder, Box<dyn Fn() -> String>) {
    let collector = MetricsCollector::isolated();
    let builder = MetricBuilder::new().name(name).help("Help");
    let builder = builder.label(NAMES[0]).label(NAMES[1]);
    let builder = builder.series_limit(SERIES).collector(&collector);
    (builder, Box::new(move || collector.encode()))
}

fn library_counters() -> Family {
    let (builder, render) = library("events_total");
    let family = builder.build_counter();
    Family {
        touch: Box::new(move |at| {
            let (worker, shard) = labels(at);
            family.at(&[&worker, &shard]).inc();
        }),
        render,
    }
}

fn library_histograms() -> Family {
    let (builder, render) = library("latency_seconds");
    let family = builder.buckets(&BUCKETS).build_histogram();
    Family {
        touch: Box::new(move |at| {
            let (worker, shard) = labels(at);
            family.at(&[&worker, &shard]).observe(0.3);
        }),
        render,
    }
}

fn prometheus_counters() -> Family {
    let options = prometheus::Opts::new("events_total", "Events");
    let family = prometheus::IntCounterVec::new(options, &NAMES).expect("valid names");
    let registry = prometheus::Registry::new();
    registry
        .register(Box::new(family.clone()))
        .expect("the first one");
    Family {
        touch: Box::new(move |at| {
            let (worker, shard) = labels(at);
            family.with_label_values(&[&worker, &shard]).inc();
        }),
        render: rendered(registry),
    }
}

fn prometheus_histograms() -> Family {
    let options = prometheus::HistogramOpts::new("latency_seconds", "Latency");
    let options = options.buckets(BUCKETS.to_vec());
    let family = prometheus::HistogramVec::new(options, &NAMES).expect("valid names");
    let registry = prometheus::Registry::new();
    registry
        .register(Box::new(family.clone()))
        .expect("the first one");
    Family {
        touch: Box::new(move |at| {
            let (worker, shard) = labels(at);
            family.with_label_values(&[&worker, &shard]).observe(0.3);
        }),
        render: rendered(registry),
    }
}

fn rendered(registry: prometheus::Registry) -> Box<dyn Fn() -> String> {
    Box::new(move || {
        let mut text = Vec::new();
        let families = registry.gather();
        TextEncoder::new()
            .encode(&families, &mut text)
            .expect("a buffer has room");
        String::from_utf8(text).expect("the text format is UTF-8")
    })
}

type Labels = Vec<(&'static str, String)>;

fn owned(at: usize) -> Labels {
    let (worker, shard) = labels(at);
    vec![(NAMES[0], worker), (NAMES[1], shard)]
}

fn prometheus_client_counters() -> Family {
    use prometheus_client::metrics::{counter::Counter, family};
    let family = family::Family::<Labels, Counter>::default();
    Family {
        render: rendered_by_client("events", family.clone()),
        touch: Box::new(move |at| {
            family.get_or_create(&owned(at)).inc();
        }),
    }
}

fn prometheus_client_histograms() -> Family {
    use prometheus_client::metrics::{family, histogram::Histogram};
    let make: fn() -> Histogram = || Histogram::new(BUCKETS);
    let family = family::Family::<Labels, Histogram, _>::new_with_constructor(make);
    Family {
        render: rendered_by_client("latency_seconds", family.clone()),
        touch: Box::new(move |at| family.get_or_create(&owned(at)).observe(0.3)),
    }
}

fn rendered_by_client(
    name: &str,
    family: impl prometheus_client::registry::Metric,
) -> Box<dyn Fn() -> String> {
    let mut registry = prometheus_client::registry::Registry::default();
    registry.register(name, "Help", family);
    Box::new(move || {
        let mut text = String::new();
        let encoded = prometheus_client::encoding::text::encode(&mut text, &registry);
        encoded.expect("a text has room");
        text
    })
}

fn metrics_counters() -> Family {
    Family {
        render: recorded(),
        touch: Box::new(|at| {
            let (worker, shard) = labels(at);
            metrics::counter!("events_total", "worker" => worker, "shard" => shard).increment(1);
        }),
    }
}

fn metrics_histograms() -> Family {
    Family {
        render: recorded(),
        touch: Box::new(|at| {
            let (worker, shard) = labels(at);
            metrics::histogram!("latency_seconds", "worker" => worker, "shard" => shard)
                .record(0.3);
        }),
    }
}

fn recorded() -> Box<dyn Fn() -> String> {
    let builder = PrometheusBuilder::new().set_buckets(&BUCKETS);
    let recorder = builder.expect("there are buckets").build_recorder();
    let rendering = recorder.handle();
    metrics::set_global_recorder(recorder).expect("the first one");
    Box::new(move || rendering.render())
}
