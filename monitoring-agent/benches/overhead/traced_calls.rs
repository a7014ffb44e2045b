//! Nanoseconds that tracing adds to a system call: one that is too short for a span, and one that is
//! a candidate, of which one in a hundred becomes a span. In a loop of the cheapest call there is.

use monitoring_agent::sources::SOURCES;

use crate::{
    agent::agent_by,
    calls::{in_thread, warm_loop_ns},
    process::{Running, free_port},
    turns::{Condition, NOBODY, medians, print_added},
};

const ROUNDS: usize = 7;

/// The family whose events these are, and the one that labels processes.
const FAMILIES: [&str; 2] = ["process", "syscalls"];

/// As many candidates a second as are spoken of.
const CANDIDATES: f64 = 50_000.0;

/// Nobody listens there.
const ENDPOINT: &str = "otlp_endpoint = \"http://127.0.0.1:9\"\n";

/// All processes, and every call a candidate.
const ALL: &str = "agents = \"all\"\nexclude_system_calls = []\nspans_per_second = 100000\n\
                   slow_system_call = \"0s\"\n";

/// All processes, and hardly any call.
const NONE: &str = "agents = \"all\"\nslow_system_call = \"1h\"\njoined_minimum = \"10us\"\n";

pub(crate) fn measure() {
    let conditions: [Condition<'_>; 4] = [
        NOBODY,
        ("monitoring-agent, nothing traced", &|| vec![traced("", "")]),
        ("tracing, no call lasts long enough", &|| {
            vec![traced(ENDPOINT, NONE)]
        }),
        ("tracing, each call a candidate, 1 % become spans", &|| {
            vec![traced(ENDPOINT, ALL)]
        }),
    ];
    let figures = medians(ROUNDS, &conditions, || [in_thread(warm_loop_ns)]);
    let figures = figures.map(|[figure]| figure);
    println!("ns per getppid, median of {ROUNDS} interleaved rounds");
    print_added(&conditions, figures);
    let [_, off, short, candidate] = figures;
    println!(
        "  a call that is no candidate takes {:.0} ns more",
        short - off
    );
    let each = candidate - off;
    println!(
        "  a candidate takes {each:.0} ns more: at {CANDIDATES} a second {:.2} % of one CPU",
        each * CANDIDATES / 1e9 * 100.0
    );
    println!();
}

fn traced(endpoint: &str, settings: &str) -> Running {
    let families = SOURCES.iter().filter(|source| source.name != "trace");
    let sections = families.map(|source| {
        let enabled = FAMILIES.contains(&source.name);
        format!("[sources.{}]\nenabled = {enabled}\n", source.name)
    });
    let sections: String = sections.collect();
    let config = format!(
        "[monitoring]\ncollection_interval = \"1s\"\n{endpoint}{sections}[sources.trace]\n{settings}"
    );
    agent_by(free_port(), &FAMILIES, &config)
}
