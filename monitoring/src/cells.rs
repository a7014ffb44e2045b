//! Numbers that every thread counts for itself, and what they come to together.
//!
//! A number has a slot: an index that is the same in all threads. Each thread has a cell of its own
//! for it, in pages of [`CELLS`] cells, and is the only one that writes there; so it adds with a
//! load and a store, and no other thread's cache holds what it writes. A reader adds up the cells of
//! all threads, and what threads that have ended left behind.
//!
//! | File | What it owns |
//! |---|---|
//! | `page.rs` | a page of cells, and the list of one thread's pages |
//! | `threads.rs` | all threads' pages, and what ended threads have counted |
//! | `slots.rs` | which slots are taken |
//! | `level.rs` | the value of a gauge that was set |
//! | `local.rs` | the calling thread's pages, found without a lock |
//!
//! All but `local.rs` are also compiled against `loom`, by `tests/metrics_model`. None of them knows
//! what a metric is.

mod level;
mod local;
mod page;
mod slots;
#[cfg(test)]
mod tests;
mod threads;

/// What `tests/metrics_model` replaces by the types of `loom`.
mod sync {
    pub(super) use std::sync::{
        Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering::Relaxed},
    };
}

pub(crate) use level::Level;
pub(crate) use local::{Range, Totals, add_count, add_sum, allocate, observe, totals};

/// Cells of one page: 1 KiB. A thread has a page as soon as it writes to one of its cells. No metric
/// is spread over two pages.
pub(crate) const CELLS: usize = 128;
