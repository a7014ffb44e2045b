//! Root spans for as long as it takes to overrun a collector: what each costs then, how much
//! memory it takes, and what is lost.
//!
//! Each span is timed by itself, so the figures have the clock's own time in them.

use std::{hint::black_box, sync::Arc, time::Duration, time::Instant};

use hdrhistogram::Histogram;

use crate::{
    Measurement, child, memory,
    spans::{Exported, SUSTAINED},
};

const ROOTS: u64 = 10_000_000;

/// A collector that takes 50,000 spans in a second.
const PER_SPAN: Duration = Duration::from_micros(20);

/// Who needs as much memory would need ever more.
const MOST_BYTES: u64 = 2 << 30;

/// Roots between two looks at the memory.
const LOOK: u64 = 10_000;

/// A span that takes longer is taken for one that takes as long.
const LONGEST_NS: u64 = 60_000_000_000;

pub(crate) const MEASUREMENT: Measurement = Measurement {
    name: "sustained",
    measure,
    work,
};

fn measure() {
    let clock_ns = clock_ns();
    println!(
        "{ROOTS} roots on one thread, a collector that takes {} a second: ns per span, each timed \
         by itself ({clock_ns:.0} of them are the clock's)",
        Duration::from_secs(1).as_nanos() / PER_SPAN.as_nanos()
    );
    let columns = [
        "roots", "mean", "p50", "p99", "p99.9", "max µs", "exported", "lost", "said", "peak",
    ];
    print!("  {:<24}", "");
    for column in columns {
        print!("{column:>11}");
    }
    println!();
    for (at, peer) in SUSTAINED.iter().enumerate() {
        let figures = child::Subject::start(&format!("sustained {at}")).finish();
        let [roots, mean, p50, p99, p999, max, exported, said_lost, peak] = figures[..] else {
            panic!("nine numbers, not {figures:?}");
        };
        print!("  {:<24}{roots:>11}", peer.name);
        for ns in [mean, p50, p99, p999] {
            print!("{ns:>11.0}");
        }
        let said_lost = match said_lost {
            ..0.0 => "nothing".to_owned(),
            said_lost => said_lost.to_string(),
        };
        let lost = roots - exported;
        let peak = format!("{:.1} MiB", peak / (1024.0 * 1024.0));
        let max = max / 1000.0;
        print!("{max:>11.0}{exported:>11}{lost:>11}{said_lost:>11}{peak:>11}");
        let ended = if roots < ROOTS as f64 {
            "  (ended early: its memory grows)"
        } else {
            ""
        };
        println!("{ended}");
    }
    println!();
}

fn work(words: &[&str]) {
    let [at] = words else {
        panic!("a place in the list, not {words:?}");
    };
    let at: usize = at.parse().expect("a place in the list");
    let peer = &SUSTAINED[at];
    let mut durations = Histogram::<u64>::new_with_max(LONGEST_NS, 3).expect("valid bounds");
    let base_bytes = memory::resident_bytes();
    let pipeline = (peer.begin)(Arc::new(Exported::slow(PER_SPAN)));
    let root = peer.root;
    let mut roots = 0;
    while roots < ROOTS && memory::resident_bytes() < MOST_BYTES {
        for _ in 0..LOOK {
            let begun = Instant::now();
            root();
            let ns = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
            durations.saturating_record(ns);
        }
        roots += LOOK;
    }
    let peak = memory::peak_bytes().saturating_sub(base_bytes);
    pipeline.exported.recover();
    // Some keep what overflows with the thread, and send it when that ends the next span.
    loop {
        let before = pipeline.exported.spans();
        root();
        roots += 1;
        (pipeline.flush)();
        if pipeline.exported.spans() - before <= 1 {
            break;
        }
    }
    let said_lost = (pipeline.said_lost)();
    let quantile = |share| durations.value_at_quantile(share) as f64;
    child::answer(&[
        roots as f64,
        durations.mean(),
        quantile(0.5),
        quantile(0.99),
        quantile(0.999),
        durations.max() as f64,
        pipeline.exported.spans() as f64,
        said_lost.map_or(-1.0, |lost| lost as f64),
        peak as f64,
    ]);
}

/// What the clock adds to each figure.
fn clock_ns() -> f64 {
    let begun = Instant::now();
    for _ in 0..LOOK {
        black_box(Instant::now());
    }
    begun.elapsed().as_nanos() as f64 / LOOK as f64
}
