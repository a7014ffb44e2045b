//! What became of the spans that were collected. Knows nothing of those that were not.

use std::sync::atomic::{AtomicU64, Ordering};

/// What became of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The sink took it.
    Exported,
    /// The sink will never take it.
    Refused,
    /// The tracer ended before the sink took it.
    ShutDown,
}

/// Spans by what became of them.
#[derive(Debug, Default)]
pub(in crate::trace) struct Counts {
    exported: AtomicU64,
    refused: AtomicU64,
    shut_down: AtomicU64,
}

impl Counts {
    pub(super) fn add(&self, outcome: Outcome, spans: u64) {
        let count = match outcome {
            Outcome::Exported => &self.exported,
            Outcome::Refused => &self.refused,
            Outcome::ShutDown => &self.shut_down,
        };
        count.fetch_add(spans, Ordering::Relaxed);
    }

    /// Spans that the sink took.
    pub(in crate::trace) fn exported(&self) -> u64 {
        self.exported.load(Ordering::Relaxed)
    }

    /// Spans that the sink will never take.
    pub(in crate::trace) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Spans that the sink had not taken when the tracer ended.
    pub(in crate::trace) fn shut_down(&self) -> u64 {
        self.shut_down.load(Ordering::Relaxed)
    }
}
