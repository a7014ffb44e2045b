//! The cells of metrics under all orders in which threads can run, as far as `loom` tries them: the
//! very files of the library, with atomics and locks of `loom` in place of the standard ones.
//!
//! A model runs its threads again and again, each time in another order, with stores that become
//! visible as late as the memory model allows. Pages are small here, as each of their cells costs
//! the model time.

#![allow(clippy::float_cmp, reason = "a metric is exactly what it was given")]

#[path = "../../src/cells/level.rs"]
mod level;
#[path = "../../src/cells/page.rs"]
mod page;
#[path = "../../src/cells/slots.rs"]
mod slots;
#[path = "../../src/cells/threads.rs"]
mod threads;

mod counts;
mod gauges;
mod slots_again;

/// What the library takes from the standard library.
mod sync {
    pub(super) use loom::sync::{
        Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering::Relaxed},
    };
}

/// Cells of one page, in place of the library's 128.
const CELLS: usize = 2;

use loom::sync::{Arc, Mutex};
use threads::{Owner, State, Threads};

/// All threads of a process that has just begun.
fn process() -> Arc<Threads> {
    Arc::new(Threads(Mutex::new(State::new())))
}

/// Tries all orders with up to three changes of thread where none has to wait: enough to find what
/// goes wrong between two accesses, and few enough to be done in seconds.
fn model(run: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(run);
}

/// What the library's `local.rs` does, with an owner in the place of thread-local storage.
fn count(threads: &Threads, owner: &Owner, slot: u32, increment: u64) {
    let slot = slot as usize;
    match owner.page(slot) {
        Some(page) => page.add_count(slot, increment),
        None => threads.admit(owner, slot).add_count(slot, increment),
    }
}

/// As [`count`], for sums.
fn add(threads: &Threads, owner: &Owner, slot: u32, increment: f64) {
    let slot = slot as usize;
    match owner.page(slot) {
        Some(page) => page.add_sum(slot, increment),
        None => threads.admit(owner, slot).add_sum(slot, increment),
    }
}
