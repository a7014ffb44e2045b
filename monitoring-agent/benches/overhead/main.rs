//! What watching costs: the node's system calls, CPU time and memory, beside peers that do the
//! same work, in one run. Needs root and what `cargo xtask setup` installs.
//!
//! `cargo bench overhead`, or `cargo xtask bench`; with names behind `--`, only those.

mod agent;
mod calls;
mod cuda;
mod idle;
mod load;
mod messages;
mod process;
mod processes;
mod requests;
mod switches;
mod turns;

use std::env;

/// The measurements, by the names that the command line may choose them by.
const MEASUREMENTS: [(&str, fn()); 8] = [
    ("calls", calls::measure),
    ("cuda", cuda::measure),
    ("switches", switches::measure),
    ("processes", processes::measure),
    ("requests", requests::measure),
    ("messages", messages::measure),
    ("load", load::measure),
    ("idle", idle::measure),
];

fn main() {
    if cuda::is_workload() {
        return cuda::work();
    }
    // Cargo adds an option of its own.
    let chosen: Vec<String> = env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with("--"))
        .collect();
    println!(
        "monitoring-agent {}: what it costs\n",
        env!("CARGO_PKG_VERSION")
    );
    for (name, measure) in MEASUREMENTS {
        if chosen.is_empty() || chosen.iter().any(|chosen| chosen == name) {
            measure();
        }
    }
}
