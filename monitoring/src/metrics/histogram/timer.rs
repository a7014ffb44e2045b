//! How long something takes, counted when it ends.

use std::time::{Duration, Instant};

use super::Histogram;

/// Counts in a histogram how long it has lived, in seconds, when it is dropped. Made by
/// [`Histogram::start_timer`].
#[must_use = "a timer measures until it is dropped: keep it in a variable, such as `_timer`"]
#[derive(Debug)]
pub struct HistogramTimer {
    /// Nothing once the timer was stopped or discarded.
    histogram: Option<Histogram>,
    start: Instant,
}

impl HistogramTimer {
    pub(super) fn new(histogram: Histogram) -> Self {
        Self {
            histogram: Some(histogram),
            start: Instant::now(),
        }
    }

    /// Counts now, and says what.
    pub fn stop(mut self) -> Duration {
        self.count()
    }

    /// Counts nothing; says how long it was.
    pub fn discard(mut self) -> Duration {
        self.histogram = None;
        self.start.elapsed()
    }

    fn count(&mut self) -> Duration {
        let elapsed = self.start.elapsed();
        if let Some(histogram) = self.histogram.take() {
            histogram.observe_duration(elapsed);
        }
        elapsed
    }
}

impl Drop for HistogramTimer {
    fn drop(&mut self) {
        self.count();
    }
}
