//! What the library costs the program that uses it, beside other libraries that do the same work,
//! in one run. Needs no privilege and no tools.
//!
//! `cargo bench overhead`, or `cargo bench -p monitoring-overhead`; with names behind `--`, only
//! those. Each subject has a process of its own, because most of them are global to theirs.

mod child;
mod clocks;
mod counters;
mod histograms;
mod hooks;
mod labels;
mod load;
mod memory;
mod rounds;
mod scopes;
mod series;
mod spans;
mod sustained;
mod worker;

use std::env;

/// Something that is measured of several subjects.
struct Measurement {
    /// What the command line may choose it by.
    name: &'static str,
    /// Asks the subjects' processes, and prints what they say.
    measure: fn(),
    /// What the process of one subject does, with the words that it was given.
    work: fn(&[&str]),
}

const MEASUREMENTS: [Measurement; 10] = [
    counters::MEASUREMENT,
    histograms::MEASUREMENT,
    labels::MEASUREMENT,
    hooks::MEASUREMENT,
    scopes::MEASUREMENT,
    spans::CHILDREN,
    spans::ROOTS,
    spans::UNSAMPLED,
    series::MEASUREMENT,
    sustained::MEASUREMENT,
];

/// The name of this benchmark, which cargo hands to it when it was asked for by that.
const OWN_NAME: &str = "overhead";

fn main() {
    if let Some(words) = child::words() {
        let words: Vec<&str> = words.split(' ').collect();
        let of_that_name = |measurement: &&Measurement| measurement.name == words[0];
        let measurement = MEASUREMENTS.iter().find(of_that_name);
        return (measurement.expect("a measurement's name").work)(&words[1..]);
    }
    // Cargo adds an option of its own.
    let chosen: Vec<String> = env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with("--") && argument != OWN_NAME)
        .collect();
    println!("monitoring {}: what it costs\n", env!("CARGO_PKG_VERSION"));
    for Measurement { name, measure, .. } in MEASUREMENTS {
        if chosen.is_empty() || chosen.iter().any(|chosen| chosen == name) {
            measure();
        }
    }
}
