//! The value of a gauge that was set.
//!
//! A gauge that is only added to needs no shared number: its value is the sum of the threads' cells.
//! Setting it replaces what all threads have added, which no thread can do to the cells of another;
//! so from then on the value is one number that all share, and what lies in the cells is over.
//!
//! Knows nothing of cells.

use super::sync::{AtomicU64, Relaxed};

/// Stands for a gauge that was never set: one of the bit patterns of a NaN, which no arithmetic
/// produces.
const UNSET: u64 = 0x7ff8_7365_7420_6e6f;

/// The shared number of a gauge, if it was ever set.
///
/// One word says both whether the cells count and what the number is. So an addition that finds no
/// number, and goes to its thread's cell while another thread sets the gauge, comes before the
/// setting, as a whole.
pub(crate) struct Level(AtomicU64);

impl Level {
    /// A gauge that was never set.
    pub(crate) fn new() -> Self {
        Self(AtomicU64::new(UNSET))
    }

    /// Replaces the value.
    #[inline]
    pub(crate) fn set(&self, value: f64) {
        let bits = value.to_bits();
        let bits = if bits == UNSET {
            f64::NAN.to_bits()
        } else {
            bits
        };
        self.0.store(bits, Relaxed);
    }

    /// Adds to the value, or says `false` where there is none: then the thread's cell counts.
    #[inline]
    pub(crate) fn add(&self, increment: f64) -> bool {
        self.0.load(Relaxed) != UNSET && self.add_shared(increment)
    }

    /// The value, if the gauge was ever set.
    pub(crate) fn get(&self) -> Option<f64> {
        let bits = self.0.load(Relaxed);
        (bits != UNSET).then(|| f64::from_bits(bits))
    }

    fn add_shared(&self, increment: f64) -> bool {
        let sum = |bits| Some((f64::from_bits(bits) + increment).to_bits());
        // It stays set, so that this always adds.
        self.0.fetch_update(Relaxed, Relaxed, sum).is_ok()
    }
}
