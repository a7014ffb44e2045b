//! How long is waited between tries. Knows nothing of what is tried.

use std::time::Duration;

/// The first wait after a failure: most are over soon.
const FIRST: Duration = Duration::from_millis(250);

/// The longest wait that nobody asked for: a collector that is back is found within that time.
const LONGEST: Duration = Duration::from_secs(30);

/// Waits that get longer, each a random part of twice the one before, so that many nodes that lost
/// the same collector at the same moment do not come back to it at the same moment.
#[derive(Clone, Debug)]
pub struct Backoff {
    next: Duration,
    longest: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self::up_to(LONGEST)
    }
}

impl Backoff {
    /// The longest wait that a collector can ask for.
    pub const LONGEST_ASKED: Duration = Duration::from_mins(5);

    /// One whose waits are never longer than this, unless the collector asks for it.
    pub fn up_to(longest: Duration) -> Self {
        Self {
            next: FIRST.min(longest),
            longest,
        }
    }

    /// How long is waited now: at least as long as the collector asked for.
    pub fn wait(&mut self, asked: Option<Duration>) -> Duration {
        let random = getrandom::u32().unwrap_or(u32::MAX / 2);
        self.wait_by(asked, f64::from(random) / f64::from(u32::MAX))
    }

    /// Begins anew, after a success.
    pub fn reset(&mut self) {
        self.next = FIRST.min(self.longest);
    }

    /// `share`, from 0 to 1, is what chance says.
    fn wait_by(&mut self, asked: Option<Duration>, share: f64) -> Duration {
        let whole = self.next;
        self.next = (whole * 2).min(self.longest);
        // A half is certain: chance must not make a thousand tries of a thousand waits.
        let wait = whole.mul_f64(0.5 + share / 2.0);
        match asked {
            None => wait,
            // A collector that names a moment names it to all, so chance comes on top of it.
            Some(asked) => asked.min(Self::LONGEST_ASKED) + wait.mul_f64(share),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..9).map(|_| backoff.wait_by(None, 1.0)).collect();
        assert_eq!(waits[..3], [250, 500, 1000].map(Duration::from_millis));
        assert_eq!(waits[7..], [LONGEST, LONGEST]);
        backoff.reset();
        assert_eq!(backoff.wait_by(None, 0.0), FIRST / 2);
    }

    #[test]
    fn a_collector_is_asked_no_sooner_than_it_wants() {
        let asked = Duration::from_secs(7);
        for share in [0.0, 0.5, 1.0] {
            let wait = Backoff::default().wait_by(Some(asked), share);
            assert!(wait >= asked && wait <= asked + FIRST, "{wait:?}");
        }
        let wait = Backoff::default().wait_by(Some(Duration::MAX), 1.0);
        assert!(wait <= Backoff::LONGEST_ASKED + FIRST, "{wait:?}");
    }

    #[test]
    fn chance_stays_within_its_half() {
        let mut backoff = Backoff::up_to(FIRST);
        for _ in 0..1000 {
            let wait = backoff.wait(None);
            assert!(wait >= FIRST / 2 && wait <= FIRST, "{wait:?}");
        }
    }
}
