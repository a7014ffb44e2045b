//! Durations in buckets whose width grows with what they hold, so that the error of a quantile is
//! a share of its value: at most 1/64.
//!
//! Durations are in ticks of the clock. Knows no scope and no time.

use std::{
    ptr,
    sync::atomic::{
        AtomicPtr, AtomicU64,
        Ordering::{Acquire, Relaxed, Release},
    },
};

/// Buckets of one octave, from a power of two to the next. The middle of a bucket is then at most
/// half a bucket, 1/64 of the octave's lower end, away from anything in it.
const BUCKETS: usize = 1 << BUCKET_BITS;
const BUCKET_BITS: u32 = 5;

/// The first octave holds 0 to 31, each by itself; one octave follows for each further bit.
const OCTAVES: usize = 64 - BUCKET_BITS as usize + 1;

/// Adds to a cell whose only writer is this thread, without the price of a locked instruction.
#[inline]
pub(super) fn add(cell: &AtomicU64, amount: u64) {
    cell.store(cell.load(Relaxed).wrapping_add(amount), Relaxed);
}

/// The octave of a duration, and its bucket within it.
#[inline]
fn place(ticks: u64) -> (usize, usize) {
    let top_bit = (ticks | (BUCKETS as u64 - 1)).ilog2();
    let octave = top_bit - (BUCKET_BITS - 1);
    let bucket = (ticks >> octave.saturating_sub(1)) & (BUCKETS as u64 - 1);
    #[allow(clippy::cast_possible_truncation, reason = "masked to 31")]
    let bucket = bucket as usize;
    (octave as usize, bucket)
}

/// What stands for everything in a bucket: its middle.
fn middle(octave: usize, bucket: usize) -> u64 {
    let Some(shift) = octave.checked_sub(1) else {
        return bucket as u64;
    };
    ((BUCKETS as u64 + bucket as u64) << shift) + ((1 << shift) >> 1)
}

type Octave<T> = [T; BUCKETS];

/// What one thread records, and any other may read meanwhile. An octave takes memory from the first
/// duration in it on.
#[derive(Debug)]
pub(super) struct Histogram {
    octaves: [AtomicPtr<Octave<AtomicU64>>; OCTAVES],
    sum: AtomicU64,
    least: AtomicU64,
    most: AtomicU64,
}

impl Histogram {
    pub(super) fn new() -> Self {
        Self {
            octaves: [const { AtomicPtr::new(ptr::null_mut()) }; OCTAVES],
            sum: AtomicU64::new(0),
            least: AtomicU64::new(u64::MAX),
            most: AtomicU64::new(0),
        }
    }

    /// Counts a duration. For the histogram's own thread alone: of two that record at a time, one
    /// may be lost.
    #[inline]
    pub(super) fn record(&self, ticks: u64) {
        add(&self.sum, ticks);
        if ticks > self.most.load(Relaxed) {
            self.most.store(ticks, Relaxed);
        }
        if ticks < self.least.load(Relaxed) {
            self.least.store(ticks, Relaxed);
        }
        let (octave, bucket) = place(ticks);
        add(&self.octave(octave)[bucket], 1);
    }

    #[inline]
    fn octave(&self, octave: usize) -> &Octave<AtomicU64> {
        let cells = self.octaves[octave].load(Relaxed);
        if cells.is_null() {
            return self.touch(octave);
        }
        // SAFETY: a pointer that is not null came from `Box::into_raw` in `touch`, is never
        // replaced, and is freed only with the histogram.
        unsafe { &*cells }
    }

    #[cold]
    fn touch(&self, octave: usize) -> &Octave<AtomicU64> {
        let cells = Box::into_raw(Box::new([const { AtomicU64::new(0) }; BUCKETS]));
        // Zeros must be there before others can look at them.
        let swapped =
            self.octaves[octave].compare_exchange(ptr::null_mut(), cells, Release, Acquire);
        let cells = match swapped {
            Ok(_) => cells,
            Err(theirs) => {
                // SAFETY: the box was made above, and nobody else has seen it.
                drop(unsafe { Box::from_raw(cells) });
                theirs
            }
        };
        // SAFETY: as in `octave`.
        unsafe { &*cells }
    }
}

impl Drop for Histogram {
    fn drop(&mut self) {
        for cells in &mut self.octaves {
            let cells = *cells.get_mut();
            if !cells.is_null() {
                // SAFETY: it came from `Box::into_raw`, and nobody else has the histogram any more.
                drop(unsafe { Box::from_raw(cells) });
            }
        }
    }
}

/// Histograms of any number of threads, added up.
#[derive(Clone, Debug)]
pub(super) struct Durations {
    octaves: [Option<Box<Octave<u64>>>; OCTAVES],
    pub(super) sum: u64,
    least: u64,
    most: u64,
}

impl Default for Durations {
    fn default() -> Self {
        Self {
            octaves: [const { None }; OCTAVES],
            sum: 0,
            least: u64::MAX,
            most: 0,
        }
    }
}

impl Durations {
    /// Adds what a thread has recorded so far.
    pub(super) fn add(&mut self, histogram: &Histogram) {
        for (total, cells) in self.octaves.iter_mut().zip(&histogram.octaves) {
            let cells = cells.load(Acquire);
            if cells.is_null() {
                continue;
            }
            // SAFETY: as in `Histogram::octave`; the borrow keeps the histogram alive.
            let cells = unsafe { &*cells };
            let total = total.get_or_insert_default();
            for (total, cell) in total.iter_mut().zip(cells) {
                *total += cell.load(Relaxed);
            }
        }
        self.sum = self.sum.wrapping_add(histogram.sum.load(Relaxed));
        self.least = self.least.min(histogram.least.load(Relaxed));
        self.most = self.most.max(histogram.most.load(Relaxed));
    }

    fn buckets(&self) -> impl Iterator<Item = (u64, u64)> {
        let octaves = self.octaves.iter().enumerate();
        octaves.flat_map(|(octave, buckets)| {
            let counts = buckets.iter().flat_map(|counts| counts.iter().enumerate());
            counts.map(move |(bucket, count)| (middle(octave, bucket), *count))
        })
    }

    pub(super) fn count(&self) -> u64 {
        self.buckets().map(|(_, count)| count).sum()
    }

    /// The shortest duration, exactly. `None` where there is none.
    pub(super) fn least(&self) -> Option<u64> {
        (self.count() > 0).then_some(self.least.min(self.most))
    }

    /// The longest duration, exactly. `None` where there is none.
    pub(super) fn most(&self) -> Option<u64> {
        (self.count() > 0).then_some(self.most)
    }

    /// The duration that a share of all does not exceed, by nearest rank: of 100 durations, 0.99 is
    /// the 99th. A share below 0 or above 1 is taken for 0 or 1; `None` where there is none.
    pub(super) fn quantile(&self, share: f64) -> Option<u64> {
        let count = self.count();
        // What the product is rounded up by must not become a whole rank.
        let rank = share.clamp(0.0, 1.0) * count as f64 * (1.0 - 2.0 * f64::EPSILON);
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of a count is at least 0, and a cast to integers saturates"
        )]
        let rank = (rank.ceil() as u64).clamp(1, count.max(1));
        // The ends are known exactly, and the middle of their bucket may lie beyond them.
        let (least, most) = (self.least()?, self.most()?);
        if rank == 1 || rank == count {
            return Some(if rank == count { most } else { least });
        }
        let mut seen = 0;
        let found = self.buckets().find(|(_, count)| {
            seen += count;
            seen >= rank
        });
        Some(found?.0.clamp(least, most))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(all: impl IntoIterator<Item = u64>) -> Durations {
        let histogram = Histogram::new();
        for ticks in all {
            histogram.record(ticks);
        }
        let mut durations = Durations::default();
        durations.add(&histogram);
        durations
    }

    #[test]
    fn every_duration_is_within_a_64th_of_its_bucket() {
        let check = |ticks: u64| {
            let (octave, bucket) = place(ticks);
            let middle = middle(octave, bucket);
            assert!(
                middle.abs_diff(ticks) <= ticks / 64,
                "{ticks} is taken for {middle}"
            );
        };
        (0..100_000).for_each(check);
        for bit in 0..64 {
            for near in [0, 1, 2, 63] {
                check((1_u64 << bit).saturating_add(near));
                check((1_u64 << bit).saturating_sub(near));
            }
        }
        check(u64::MAX);
    }

    #[test]
    fn buckets_follow_each_other() {
        let mut last = None;
        for octave in 0..OCTAVES {
            for bucket in 0..BUCKETS {
                let middle = middle(octave, bucket);
                assert!(last < Some(middle), "{octave} {bucket}");
                assert_eq!(place(middle), (octave, bucket));
                last = Some(middle);
            }
        }
    }

    #[test]
    fn quantiles_are_of_nearest_rank() {
        let durations = of(1..=31);
        assert_eq!(durations.count(), 31);
        assert_eq!(durations.sum, 31 * 16);
        let check = |share, want| assert_eq!(durations.quantile(share), Some(want), "{share}");
        check(0.0, 1);
        check(0.5, 16);
        check(0.99, 31);
        check(1.0, 31);
        check(-1.0, 1);
        check(7.0, 31);
        check(f64::NAN, 1);
    }

    #[test]
    fn the_ends_are_exact() {
        let durations = of([1_000_003, 5_000_017, 9_000_011]);
        assert_eq!(durations.least(), Some(1_000_003));
        assert_eq!(durations.most(), Some(9_000_011));
        assert_eq!(durations.quantile(0.0), Some(1_000_003));
        assert_eq!(durations.quantile(1.0), Some(9_000_011));
        let median = durations.quantile(0.5).unwrap();
        assert!(median.abs_diff(5_000_017) <= 5_000_017 / 64, "{median}");
    }

    #[test]
    fn nothing_has_no_quantile() {
        let durations = of([]);
        assert_eq!(durations.count(), 0);
        assert_eq!(durations.quantile(0.5), None);
        assert_eq!(durations.least(), None);
        assert_eq!(durations.most(), None);
    }
}
