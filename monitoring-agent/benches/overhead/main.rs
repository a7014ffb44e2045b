//! What watching costs: the node's system calls, CPU time and memory, beside peers that do the
//! same work, in one run. Needs root and what `cargo xtask setup` installs.
//!
//! `cargo xtask bench`; with names behind `--`, only those. `cargo bench overhead` names all
//! benchmarks of this name, and runs the library's: this one only says how it is run.

mod agent;
mod calls;
mod cuda;
mod formats;
mod idle;
mod load;
mod messages;
mod process;
mod processes;
mod profile;
mod requests;
mod switches;
mod symbols;
mod trace;
mod traced_calls;
mod turns;

use std::env;

/// The measurements, by the names that the command line may choose them by.
const MEASUREMENTS: [(&str, fn()); 14] = [
    ("calls", calls::measure),
    ("cuda", cuda::measure),
    ("switches", switches::measure),
    ("processes", processes::measure),
    ("requests", requests::measure),
    ("messages", messages::measure),
    ("load", load::measure),
    ("trace", trace::measure),
    ("traced-calls", traced_calls::measure),
    ("profile", profile::measure),
    ("slices", profile::slices::measure),
    ("symbols", symbols::measure),
    ("formats", formats::measure),
    ("idle", idle::measure),
];

/// The name of this benchmark, which cargo hands to it when it was asked for by that.
const OWN_NAME: &str = "overhead";

fn main() {
    if cuda::is_workload() {
        return cuda::work();
    }
    if symbols::is_workload() {
        return symbols::work();
    }
    // Cargo adds an option of its own.
    let chosen: Vec<String> = env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with("--"))
        .collect();
    if chosen == [OWN_NAME] {
        println!("What the agent costs is measured by `cargo xtask bench`, as root.");
        return;
    }
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
