//! How large the requests are that a collector takes, as far as its answers have shown. Knows nothing
//! of what is in them.

use monitoring::otlp::LARGEST_REQUEST;

/// What is sent at a time: a quarter of what servers of gRPC take if nobody told them otherwise, so
/// that what stands around it has room as well.
const MOST: usize = LARGEST_REQUEST / 4;

/// So many halvings lead to 256 bytes, which is less than most spans have: nothing smaller is worth a
/// try, and a collector that has refused so many in a row does not mean their size.
const HALVINGS: u32 = 12;

/// A success adds one part in so many: of the requests to a collector that takes less than [`MOST`],
/// about every 23rd is refused.
const GROWTH: usize = 32;

/// The size up to which requests are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    bytes: usize,
    /// Requests that were refused for their size since one was taken.
    refusals: u32,
}

impl Default for Size {
    fn default() -> Self {
        Self {
            bytes: MOST,
            refusals: 0,
        }
    }
}

impl Size {
    /// Bytes of a request.
    pub(super) fn bytes(self) -> usize {
        self.bytes
    }

    /// A request of so many bytes was too large. One that was larger than it should have been, because
    /// it could not be divided, says little of others.
    pub(super) fn refused(&mut self, bytes: usize) {
        self.refusals = self.refusals.saturating_add(1);
        self.bytes = self.bytes.min(bytes / 2).max(MOST >> HALVINGS);
    }

    /// A request was taken.
    pub(super) fn taken(&mut self) {
        self.refusals = 0;
        self.bytes = (self.bytes + self.bytes / GROWTH).min(MOST);
    }

    /// Whether requests are refused whatever their size.
    pub(super) fn is_hopeless(self) -> bool {
        self.refusals >= HALVINGS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_halves_down_to_the_least_and_grows_up_to_the_most() {
        let mut size = Size::default();
        for refusal in 1..=HALVINGS {
            assert!(!size.is_hopeless());
            size.refused(size.bytes());
            assert_eq!(size.bytes(), MOST >> refusal);
        }
        assert!(size.is_hopeless());
        let least = size.bytes();
        size.refused(least);
        assert_eq!(size.bytes(), least);
        size.taken();
        assert!(!size.is_hopeless());
        assert_eq!(size.bytes(), least + least / 32);
        for _ in 0..1000 {
            size.taken();
        }
        assert_eq!(size.bytes(), MOST);
    }

    #[test]
    fn what_was_refused_says_how_far_it_is_to_go() {
        let mut size = Size::default();
        size.refused(10_000);
        assert_eq!(size.bytes(), 5000);
        // One that could not be divided.
        size.refused(1 << 20);
        assert_eq!(size.bytes(), 5000);
    }

    #[test]
    fn few_of_many_are_refused() {
        const TAKEN: usize = 100_000;
        let (mut size, mut refused) = (Size::default(), 0);
        for _ in 0..1000 {
            if size.bytes() > TAKEN {
                size.refused(size.bytes());
                refused += 1;
            } else {
                assert!(size.bytes() > TAKEN / 2 || refused < 5);
                size.taken();
            }
        }
        assert!((30..60).contains(&refused), "{refused}");
    }
}
