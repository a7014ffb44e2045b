//! Nanoseconds of a hook that nobody watches, all of it: the counter that it finds by its labels, and
//! the place where it could be watched. Beside it such a counter without the place, and the place
//! without a counter: the library's own file, as it is.

#[expect(dead_code, reason = "one place is like the others")]
#[path = "../../../src/swarm/probe.rs"]
mod probe;

use std::hint::black_box;

use monitoring::{Family, MetricBuilder, MetricsCollector, swarm};

use crate::{
    Measurement,
    counters::sum_of,
    load::{Load, Subject},
    rounds::{Comparison, Expects},
};

const OPERATIONS: usize = 100_000;
const CHUNKS: u64 = 50;

const COMPARISON: Comparison = Comparison {
    name: "hooks",
    title: "ns per goal of an agent",
    subjects: &[
        Subject {
            name: "swarm::goal_completed, which nobody watches",
            begin: hook,
        },
        Subject {
            name: "a counter that is looked up by two labels",
            begin: counter,
        },
        Subject {
            name: "the place alone, which nobody watches",
            begin: place,
        },
        Subject {
            name: "nothing: the loop and the name alone",
            begin: nothing,
        },
    ],
    expects: Expects::Counted,
};

pub(crate) const MEASUREMENT: Measurement = Measurement {
    name: COMPARISON.name,
    measure: || COMPARISON.measure(),
    work: |words| COMPARISON.work(words),
};

const AGENT: &str = "scout-1";
const METRIC: &str = "agent_goals_total";

fn hook() -> Load {
    let operation = |_| swarm::goal_completed(black_box(AGENT));
    Load::of_loop(OPERATIONS, CHUNKS, operation, goals)
}

fn counter() -> Load {
    let family: Family<monitoring::Counter> = MetricBuilder::new()
        .name(METRIC)
        .help("Goals")
        .label("agent")
        .label("outcome")
        .build_counter();
    let operation = move |_| family.at(&[black_box(AGENT), "completed"]).inc();
    Load::of_loop(OPERATIONS, CHUNKS, operation, goals)
}

fn place() -> Load {
    let operation = |_| probe::goal_completed(black_box(AGENT));
    Load::of_loop(OPERATIONS, CHUNKS, operation, || 0).recorded_by_nobody()
}

fn nothing() -> Load {
    let operation = |_| {
        black_box(AGENT);
    };
    Load::of_loop(OPERATIONS, CHUNKS, operation, || 0).recorded_by_nobody()
}

fn goals() -> u64 {
    sum_of(METRIC, &MetricsCollector::new().encode())
}
