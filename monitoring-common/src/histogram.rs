//! The duration histogram that kernel programs fill and the agent exports.
//!
//! One slot per power of two **of seconds**, from 2⁻²² s (238 ns) to 2⁴ s (16 s), and one slot for
//! everything longer. Powers of two of seconds, and not of nanoseconds, because those are exactly
//! the bounds of a Prometheus native histogram of schema 0; a slot holds the interval
//! `(lower, upper]`, as a Prometheus bucket does.

/// Slots of a histogram: 27 finite ones and one for longer durations.
pub const SLOTS: usize = 28;

/// The first slot ends at 2^`FIRST_EXPONENT` seconds.
pub const FIRST_EXPONENT: i32 = -22;

/// One second is 2³⁰ ticks of the scale in which slot bounds are whole powers of two.
const TICKS_PER_SECOND_LOG2: u32 = 30;

/// The first slot's bound is 2⁸ ticks.
const FIRST_SLOT_LOG2: u32 = 8;

/// The last finite slot's bound is 2³⁴ ticks, the most for which [`bound_ns`] fits in 64 bits.
const LAST_SLOT_LOG2: u32 = 34;

/// Durations by power of two, and their sum.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Histogram {
    /// Sum of all durations, in nanoseconds.
    pub sum_ns: u64,
    /// Number of durations in each slot. See the module for the bounds.
    pub slots: [u64; SLOTS],
}

const _: () = assert!(size_of::<Histogram>() == 8 + 8 * SLOTS);
crate::plain_data!(Histogram);

impl Histogram {
    /// A histogram without observations.
    pub const EMPTY: Self = Self {
        sum_ns: 0,
        slots: [0; SLOTS],
    };

    /// Adds one duration. The sum wraps after 584 years of summed time.
    ///
    /// # Example
    ///
    /// ```
    /// use monitoring_common::histogram::{Histogram, slot_of};
    ///
    /// let mut histogram = Histogram::EMPTY;
    /// histogram.observe(1_000);
    /// assert_eq!(histogram.slots[slot_of(1_000)], 1);
    /// assert_eq!(histogram.sum_ns, 1_000);
    /// ```
    #[inline(always)]
    pub fn observe(&mut self, duration_ns: u64) {
        self.sum_ns = self.sum_ns.wrapping_add(duration_ns);
        if let Some(slot) = self.slots.get_mut(slot_of(duration_ns)) {
            *slot = slot.wrapping_add(1);
        }
    }

    /// Adds what another CPU observed.
    pub fn merge(&mut self, other: &Self) {
        self.sum_ns = self.sum_ns.wrapping_add(other.sum_ns);
        for (slot, more) in self.slots.iter_mut().zip(other.slots) {
            *slot = slot.wrapping_add(more);
        }
    }

    /// Number of durations observed.
    pub fn count(&self) -> u64 {
        self.slots.iter().fold(0, |sum, n| sum.wrapping_add(*n))
    }
}

/// The longest duration, in nanoseconds, that does not exceed 2^`log2` ticks.
#[inline(always)]
const fn bound_ns(log2: u32) -> u64 {
    (1_000_000_000 << log2) >> TICKS_PER_SECOND_LOG2
}

/// The slot of a duration: the number of finite slot bounds that it exceeds.
///
/// The bound of slot `i` is 2^(`i` + [`FIRST_EXPONENT`]) seconds and belongs to the slot.
///
/// # Example
///
/// ```
/// use monitoring_common::histogram::slot_of;
///
/// assert_eq!(slot_of(1_000_000_000), 22); // one second is the bound 2⁰ of slot 22
/// assert_eq!(slot_of(1_000_000_001), 23);
/// ```
#[inline(always)]
pub const fn slot_of(duration_ns: u64) -> usize {
    if duration_ns <= bound_ns(FIRST_SLOT_LOG2) {
        return 0;
    }
    if duration_ns > bound_ns(LAST_SLOT_LOG2) {
        return SLOTS - 1;
    }
    // The bound in nanoseconds lies within 7 % below a power of two, so the slot is the one of
    // that power or the next.
    let log2 = ceil_log2(duration_ns);
    let above = (duration_ns > bound_ns(log2)) as u32;
    (log2 + above - FIRST_SLOT_LOG2) as usize
}

/// The least `n` with `value` ≤ 2^`n`, for `value` from 2 to 2³⁴.
///
/// Spelled out because BPF has no instruction that counts leading zeros.
#[inline(always)]
const fn ceil_log2(value: u64) -> u32 {
    let mut rest = value - 1;
    let mut log2 = 1;
    if rest >= 1 << 32 {
        rest >>= 32;
        log2 += 32;
    }
    if rest >= 1 << 16 {
        rest >>= 16;
        log2 += 16;
    }
    if rest >= 1 << 8 {
        rest >>= 8;
        log2 += 8;
    }
    if rest >= 1 << 4 {
        rest >>= 4;
        log2 += 4;
    }
    if rest >= 1 << 2 {
        rest >>= 2;
        log2 += 2;
    }
    if rest >= 1 << 1 {
        log2 += 1;
    }
    log2
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    /// The definition, in exact integer arithmetic: a duration exceeds 2^e seconds.
    fn exceeds(duration_ns: u64, exponent: i32) -> bool {
        let nanoseconds = u128::from(duration_ns);
        let second = 1_000_000_000_u128;
        match u32::try_from(exponent) {
            Ok(up) => nanoseconds > second << up,
            Err(_) => nanoseconds << exponent.unsigned_abs() > second,
        }
    }

    fn slot_by_definition(duration_ns: u64) -> usize {
        (0..SLOTS - 1)
            .filter(|&slot| exceeds(duration_ns, FIRST_EXPONENT + i32::try_from(slot).unwrap()))
            .count()
    }

    #[test]
    fn every_bound_and_its_neighbours() {
        for log2 in FIRST_SLOT_LOG2..=LAST_SLOT_LOG2 {
            for duration_ns in bound_ns(log2) - 1..=bound_ns(log2) + 1 {
                assert_eq!(slot_of(duration_ns), slot_by_definition(duration_ns));
            }
        }
        for duration_ns in [0, 1, 2, u64::MAX - 1, u64::MAX] {
            assert_eq!(slot_of(duration_ns), slot_by_definition(duration_ns));
        }
    }

    proptest! {
        #[test]
        fn slots_follow_the_definition(bits in 0_u32..64, noise: u64) {
            let duration_ns = noise >> bits;
            prop_assert_eq!(slot_of(duration_ns), slot_by_definition(duration_ns));
        }

        #[test]
        fn merging_adds_counts_and_sums(left: Vec<u32>, right: Vec<u32>) {
            let fill = |durations: &[u32]| {
                let mut histogram = Histogram::EMPTY;
                for &duration in durations {
                    histogram.observe(u64::from(duration));
                }
                histogram
            };
            let mut merged = fill(&left);
            merged.merge(&fill(&right));
            let all = fill(&[left, right].concat());
            prop_assert_eq!(merged.slots, all.slots);
            prop_assert_eq!(merged.sum_ns, all.sum_ns);
        }
    }
}
