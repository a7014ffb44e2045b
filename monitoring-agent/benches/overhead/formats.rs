//! What a scrape of a large node takes in each format: time to render, bytes, and the memory of the
//! snapshot. Beside it the encoder of the crate `prometheus`, for the same text.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use monitoring_agent::{
    exemplars::Exemplars,
    export::render::{Form, Renders},
    families::{Family, shown},
    snapshot::Snapshot,
};
use monitoring_common::histogram::Histogram;
use prometheus::{TextEncoder, proto::MetricFamily};
use tokio::sync::watch;

/// Names of agents, and of system calls of each: as many histograms, and two counters for each.
const AGENTS: usize = 40;
const CALLS: usize = 60;

/// Gauges of 8 GPUs and of what is on them.
const GAUGES: usize = 3_000;

/// Rounds of which the median counts.
const ROUNDS: usize = 15;

const METRIC: &str = "syscall_duration_seconds";

pub(crate) fn measure() {
    let (_, base) = (families(true), resident_bytes());
    let held: Vec<_> = (0..4).map(|_| families(true)).collect();
    let bytes = resident_bytes().saturating_sub(base) / held.len();
    drop(held);
    let (histograms, others) = (AGENTS * CALLS, 2 * AGENTS * CALLS + GAUGES);
    println!("a scrape of {histograms} histograms and {others} other series");
    let megabytes = bytes as f64 / 1e6;
    println!(
        "  the snapshot takes {megabytes:.1} MB, and {} to make",
        ms(median(|| {
            families(true);
        }))
    );
    println!(
        "  {:<34}{:>12}{:>12}{:>12}{:>12}",
        "", "render", "compress", "bytes", "gzip"
    );
    for (name, form) in [
        ("text 0.0.4", Form::Text),
        ("OpenMetrics", Form::OpenMetrics),
        ("protobuf", Form::Protobuf),
        ("JSON", Form::Json),
    ] {
        print_form(name, form, &Arc::default());
    }
    let traced = Arc::new(exemplars());
    print_form("OpenMetrics with exemplars", Form::OpenMetrics, &traced);
    print_form("protobuf with exemplars", Form::Protobuf, &traced);
    // It writes all buckets that there are, so that it gets those that the text has.
    let families = families(false);
    let encode = || TextEncoder::new().encode_to_string(&families).unwrap();
    let time = median(|| drop(encode()));
    let (time, bytes) = (ms(time), encode().len());
    println!(
        "  {:<34}{time:>12}{:>12}{bytes:>12}",
        "text 0.0.4 by the crate prometheus", ""
    );
}

fn print_form(name: &str, form: Form, exemplars: &Arc<Exemplars>) {
    let snapshot = || {
        Arc::new(Snapshot {
            number: 1,
            families: families(true),
            ready: true,
            ..Snapshot::empty()
        })
    };
    let (publish, latest) = watch::channel(snapshot());
    let renders = Renders::new(latest, Arc::clone(exemplars));
    let sizes = [false, true].map(|gzip| renders.scrape(form, gzip).map(|piece| piece.len()));
    let [plain, gzip] = sizes.map(|pieces| pieces.iter().sum::<usize>());
    let (mut render, mut compress) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        publish.send_replace(snapshot());
        render.push(timed(|| drop(renders.scrape(form, false))));
        compress.push(timed(|| drop(renders.scrape(form, true))));
    }
    let [render, compress] = [render, compress].map(|times| ms(middle(times)));
    println!("  {name:<34}{render:>12}{compress:>12}{plain:>12}{gzip:>12}");
}

/// Families as the sources deliver them, with all slots or with those of the text alone.
fn families(all: bool) -> Vec<MetricFamily> {
    let mut durations = Family::histogram(METRIC, "Duration of system calls.");
    let mut calls = Family::counter("syscall_total", "System calls.");
    let mut errors = Family::counter("syscall_errors_total", "System calls that failed.");
    let mut gauges = Family::gauge("gpu_clock_hertz", "Clocks.");
    for (agent, call) in (0..AGENTS).flat_map(|agent| (0..CALLS).map(move |call| (agent, call))) {
        let names = [format!("worker-{agent}"), format!("call_{call}")];
        let labels = [("syscall", names[1].as_str()), ("agent", names[0].as_str())];
        let (durations_of, count) = histogram((agent * CALLS + call) as u64);
        if all {
            durations.push_durations(&labels, &durations_of);
        } else {
            let mut family = Family::histogram(METRIC, "");
            family.push_durations(&labels, &durations_of);
            let family = family.build();
            let histogram = family.get_metric()[0].get_histogram();
            let (first, step) = shown(histogram);
            let buckets = histogram.get_bucket().iter().skip(first).step_by(step);
            let buckets = buckets.map(|bucket| (bucket.upper_bound(), bucket.cumulative_count()));
            durations.push_histogram(&labels, buckets, count, histogram.get_sample_sum());
        }
        calls.push(&labels, count as f64);
        errors.push(&labels, (count / 100) as f64);
    }
    for gauge in 0..GAUGES {
        let gpu = format!("GPU-{:08x}", gauge % 8);
        let clock = format!("clock-{gauge}");
        gauges.push(&[("gpu", &gpu), ("clock", &clock)], gauge as f64 * 1.5e6);
    }
    [durations, calls, errors, gauges].map(Family::build).into()
}

/// As a system call's: many short ones, and a tail.
fn histogram(seed: u64) -> (Histogram, u64) {
    let mut histogram = Histogram::EMPTY;
    for (slot, count) in histogram.slots[2..22].iter_mut().enumerate() {
        *count = ((seed + 1) * 1_000_000) >> (slot.abs_diff(4) * 2);
    }
    histogram.sum_ns = seed * 123_456_789;
    let count = histogram.count();
    (histogram, count)
}

/// One in 10 of the histograms has one, up to what is held.
fn exemplars() -> Exemplars {
    let exemplars = Exemplars::default();
    for (number, (agent, call)) in (0..AGENTS)
        .flat_map(|agent| (0..CALLS).map(move |call| (agent, call)))
        .enumerate()
        .step_by(10)
    {
        let names = [format!("worker-{agent}"), format!("call_{call}")];
        let labels = [("syscall", names[1].as_str()), ("agent", names[0].as_str())];
        let at = 1_700_000_000_000_000_000 + number as u64;
        for seconds in [1e-4, 1e-5] {
            exemplars.observe(METRIC, &labels, seconds, number as u128 + 1, 7, at);
        }
    }
    exemplars
}

fn timed(work: impl FnOnce()) -> Duration {
    let begun = Instant::now();
    work();
    begun.elapsed()
}

fn median(mut work: impl FnMut()) -> Duration {
    middle((0..ROUNDS).map(|_| timed(&mut work)).collect())
}

fn middle(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn ms(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}

fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("it is always there");
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok());
    4096 * pages.unwrap_or(0_usize)
}
