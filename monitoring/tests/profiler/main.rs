//! The profiler: what is counted, by which thread, and what a report makes of it.

#[path = "../../../monitoring-agent/tests/poll/mod.rs"]
mod poll;

mod futures;
mod limits;
mod nesting;
mod threads;

use std::{
    hint,
    time::{Duration, Instant},
};

/// Keeps this thread busy for at least this long.
fn work(time: Duration) {
    let begun = Instant::now();
    while begun.elapsed() < time {
        hint::spin_loop();
    }
}
