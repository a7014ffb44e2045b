//! When to try again what has a price: soon at first, then less and less often.
//!
//! Knows nothing of what is tried.

use std::time::{Duration, Instant};

/// The longest wait, in first waits.
const MOST: u32 = 64;

/// Waits that double with each attempt.
#[derive(Debug)]
pub(super) struct Backoff {
    first: Duration,
    wait: Duration,
    /// Since when there is something to try.
    since: Option<Instant>,
    tried: Option<Instant>,
}

impl Backoff {
    pub(super) fn new(first: Duration) -> Self {
        Self {
            first,
            wait: first,
            since: None,
            tried: None,
        }
    }

    /// There is something to try. The wait for it begins, unless it has begun.
    pub(super) fn begin(&mut self, now: Instant) {
        if self.since.is_some() {
            return;
        }
        let longest = self.first.saturating_mul(MOST);
        let is_old = |tried: Instant| now.duration_since(tried) > longest;
        // What was long ago has nothing to do with this.
        if self.tried.is_some_and(is_old) {
            self.wait = self.first;
        }
        self.since = Some(now);
    }

    /// Whether it is time for an attempt.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        let is_over = |since: Instant| now.duration_since(since) >= self.wait;
        self.since.is_some_and(is_over)
    }

    /// An attempt is made now. The next wait is longer than the one for this attempt.
    pub(super) fn tried(&mut self, now: Instant) {
        if self.since.take().is_some() {
            let longest = self.first.saturating_mul(MOST);
            self.wait = self.wait.saturating_mul(2).min(longest);
        }
        self.tried = Some(now);
    }

    /// An attempt has failed: there is still something to try.
    pub(super) fn failed(&mut self, now: Instant) {
        self.tried(now);
        self.begin(now);
    }

    /// There is nothing to try.
    pub(super) fn rest(&mut self) {
        self.since = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_mins(1);

    /// How long it takes until it is due, in whole minutes.
    fn wait(backoff: &Backoff, from: Instant) -> u64 {
        let at = |minutes| from + Duration::from_mins(minutes);
        (0..1000)
            .find(|minutes| backoff.is_due(at(*minutes)))
            .unwrap()
    }

    #[test]
    fn waits_double_up_to_the_longest() {
        let mut backoff = Backoff::new(FIRST);
        let mut now = Instant::now();
        assert!(!backoff.is_due(now + FIRST), "there is nothing to try");
        for want in [1, 2, 4, 8, 16, 32, 64, 64, 64] {
            backoff.failed(now);
            assert_eq!(wait(&backoff, now), want);
            now += Duration::from_mins(want);
        }
    }

    #[test]
    fn a_long_calm_ends_it_and_a_short_one_does_not() {
        let mut backoff = Backoff::new(FIRST);
        let begin = Instant::now();
        for _ in 0..3 {
            backoff.failed(begin);
        }
        backoff.rest();
        assert!(!backoff.is_due(begin + FIRST * 1000));
        backoff.begin(begin + FIRST);
        assert_eq!(wait(&backoff, begin + FIRST), 4);
        backoff.rest();
        let later = begin + FIRST * (MOST + 1);
        backoff.begin(later);
        assert_eq!(wait(&backoff, later), 1);
    }
}
