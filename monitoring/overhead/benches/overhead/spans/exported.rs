//! Where all exporters end: a counter, which can be as slow as a collector may be.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    thread,
    time::Duration,
};

/// Counts what was exported, and takes its time for it.
#[derive(Debug, Default)]
pub(crate) struct Exported {
    spans: AtomicU64,
    ns_per_span: AtomicU64,
}

impl Exported {
    /// As a collector that takes so long for each span.
    pub(crate) fn slow(per_span: Duration) -> Self {
        let ns = u64::try_from(per_span.as_nanos()).expect("less than centuries");
        Self {
            spans: AtomicU64::new(0),
            ns_per_span: AtomicU64::new(ns),
        }
    }

    /// From now on it takes no time.
    pub(crate) fn recover(&self) {
        self.ns_per_span.store(0, Relaxed);
    }

    pub(crate) fn spans(&self) -> u64 {
        self.spans.load(Relaxed)
    }

    /// Takes these spans.
    pub(crate) fn take(&self, spans: usize) {
        let spans = spans as u64;
        let mut left = spans * self.ns_per_span.load(Relaxed);
        // In pieces, so that it recovers in the middle of a batch, too.
        while left > 0 && self.ns_per_span.load(Relaxed) > 0 {
            let piece = left.min(PIECE_NS);
            thread::sleep(Duration::from_nanos(piece));
            left -= piece;
        }
        self.spans.fetch_add(spans, Relaxed);
    }
}

const PIECE_NS: u64 = 20_000_000;
