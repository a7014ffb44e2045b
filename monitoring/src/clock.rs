//! The clock of spans and scopes: a counter of the processor where it can be trusted, else the
//! operating system's clock.
//!
//! Reading the counter takes less than half the time of [`std::time::Instant::now`]. It counts ticks of
//! an unknown length, which only readers have to know: a [`Calibration`] compares it with the
//! operating system's clocks whenever a reader has something to convert. Nothing is calibrated in
//! advance, so that no program waits for it.
//!
//! Knows nothing of spans and scopes.
//!
//! # Example
//!
//! ```
//! use monitoring::clock;
//!
//! let begin = clock::now();
//! let end = clock::now();
//! let calibration = clock::Calibration::start();
//! println!("it took {} ns", calibration.nanoseconds(end.since(begin)));
//! ```

mod calibration;
mod counter;

pub use calibration::Calibration;

/// A moment, in ticks of the fastest clock that this machine has.
///
/// Ticks are comparable within a process only, whatever the threads and processors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticks(pub u64);

impl Ticks {
    /// The ticks from `earlier` until this moment; 0 where that is not earlier.
    #[inline]
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// This moment.
#[inline]
pub fn now() -> Ticks {
    Ticks(counter::read())
}

/// What a difference of ticks is in nanoseconds.
///
/// The clocks are compared anew at each call, which takes a few hundred nanoseconds: whoever has
/// much to convert keeps a [`Calibration`].
pub fn nanoseconds(difference: u64) -> u64 {
    Calibration::start().nanoseconds(difference)
}
