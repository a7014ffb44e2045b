//! How many lines the log gets of one kind: it is others' as well. Knows no line.

use std::time::{Duration, Instant};

/// Most lines in a window of time.
pub(super) const MOST_LINES: u32 = 32;

/// The window.
pub(super) const WINDOW: Duration = Duration::from_secs(10);

/// What was let through, and what was not.
#[derive(Debug, Default)]
pub(super) struct Limit {
    since: Option<Instant>,
    said: u32,
    kept_back: u64,
}

impl Limit {
    /// Begins a new window if the last is over: how many lines were kept back until then.
    pub(super) fn renew(&mut self, now: Instant) -> u64 {
        let is_over = |since| now.saturating_duration_since(since) >= WINDOW;
        if !self.since.is_none_or(is_over) {
            return 0;
        }
        self.since = Some(now);
        self.said = 0;
        std::mem::take(&mut self.kept_back)
    }

    /// Whether one more line fits into this window. If not, it is counted.
    pub(super) fn allows(&mut self) -> bool {
        let fits = self.said < MOST_LINES;
        if fits {
            self.said += 1;
        } else {
            self.keep_back(1);
        }
        fits
    }

    /// Counts lines that could not be written for another reason.
    pub(super) fn keep_back(&mut self, lines: u64) {
        self.kept_back = self.kept_back.saturating_add(lines);
    }
}
