//! How busy the listener may be. Knows nothing of what it does.

use std::time::{Duration, Instant};

/// How long the rings are left alone after they were read, even when one is getting full.
pub(crate) const REST: Duration = Duration::from_millis(5);

/// The listener may take one part of so many of one CPU's time: whoever maps files or asks for
/// functions without end must not keep the agent busy. What runs over meanwhile is counted.
const SHARE_OF_TIME: u32 = 50;

/// What it may take at once, for which it then rests: for a program that begins, and asks for
/// thousands of functions.
const MOST_AT_ONCE: Duration = Duration::from_millis(100);

/// The time that the listener may still take.
#[derive(Debug)]
pub(crate) struct Pace {
    left: Duration,
    /// What it has taken too much.
    owed: Duration,
    since: Instant,
}

impl Pace {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            left: MOST_AT_ONCE,
            owed: Duration::ZERO,
            since: now,
        }
    }

    /// How long to rest now that so much of a CPU was taken.
    pub(crate) fn rest(&mut self, now: Instant, spent: Duration) -> Duration {
        let earned = now.saturating_duration_since(self.since) / SHARE_OF_TIME;
        self.since = now;
        let has = self.left + earned;
        let left = has.saturating_sub(self.owed).min(MOST_AT_ONCE);
        let owed = self.owed.saturating_sub(has) + spent;
        self.left = left.saturating_sub(owed);
        self.owed = owed.saturating_sub(left);
        REST.max(self.owed * SHARE_OF_TIME)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn much_at_once_and_little_for_long() {
        let begin = Instant::now();
        let (mut now, mut spent, mut pace) = (begin, Duration::ZERO, Pace::new(begin));
        let work = Duration::from_millis(10);
        while spent < MOST_AT_ONCE {
            spent += work;
            now += work;
            let rest = pace.rest(now, work);
            assert_eq!(rest, REST);
            now += rest;
        }
        for _ in 0..1_000 {
            spent += work;
            now += work;
            now += pace.rest(now, work);
        }
        let allowed = (now - begin) / SHARE_OF_TIME + MOST_AT_ONCE + work;
        assert!(spent <= allowed, "{spent:?} of {:?}", now - begin);
        assert!(spent * 2 > allowed, "{spent:?} of {:?}", now - begin);
        // Whoever has rested may do much again.
        now += MOST_AT_ONCE * SHARE_OF_TIME * 2;
        assert_eq!(pace.rest(now, MOST_AT_ONCE), REST);
        assert!(pace.rest(now, work) > REST);
    }
}
