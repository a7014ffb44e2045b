//! Which share of outermost scopes is recorded, decided one by one.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A share, and the numbers that are drawn for it.
#[derive(Debug)]
pub(super) struct Sampling {
    /// Below this a drawn number is a yes; `None` for always.
    threshold: Option<u64>,
    state: AtomicU64,
}

impl Sampling {
    /// A share below 0 or not a number is taken for 0, one above 1 for 1.
    pub(super) fn new(share: f64, seed: u64) -> Self {
        // 2^64, which has no place in a u64: a share next to 1 stays below it.
        let scale = 18_446_744_073_709_551_616.0;
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a cast to integers saturates, and takes what is no number for 0"
        )]
        let threshold = (share < 1.0).then_some((share * scale) as u64);
        Self {
            threshold: if share.is_nan() { Some(0) } else { threshold },
            state: AtomicU64::new(seed),
        }
    }

    #[inline]
    pub(super) fn is_always(&self) -> bool {
        self.threshold.is_none()
    }

    /// For one thread at a time: of two, both may get the same answer.
    pub(super) fn draw(&self) -> bool {
        // SplitMix64 by Steele, Lea and Flood: no state is a bad one.
        let state = self.state.load(Relaxed).wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.state.store(state, Relaxed);
        let mut number = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        number ^= number >> 31;
        self.threshold.is_none_or(|threshold| number < threshold)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_kept() {
        let check = |share: f64, want: f64| {
            let sampling = Sampling::new(share, 7);
            let drawn = (0..100_000).filter(|_| sampling.draw()).count() as f64;
            // Six standard deviations of the binomial distribution.
            let allowed = 6.0 * (100_000.0 * want * (1.0 - want)).sqrt();
            assert!(
                (drawn - 100_000.0 * want).abs() <= allowed,
                "{share}: {drawn}"
            );
        };
        check(0.0, 0.0);
        check(-1.0, 0.0);
        check(f64::NAN, 0.0);
        check(0.01, 0.01);
        check(0.1, 0.1);
        check(0.5, 0.5);
        check(1.0, 1.0);
        check(2.0, 1.0);
        assert!(Sampling::new(1.0, 0).is_always());
        assert!(!Sampling::new(1.0 - f64::EPSILON, 0).is_always());
    }
}
