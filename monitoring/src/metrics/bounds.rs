//! The upper bounds of a histogram's buckets, and which bucket a value falls into.
//!
//! Knows no counts.

use super::MetricError;

/// More would not fit into a page of cells, beside the bucket above all bounds and the sum. A text
/// scrape has a line for each bucket of each series; ten to twenty are usual.
pub(crate) const MOST_BOUNDS: usize = crate::cells::CELLS - 2;

/// Entries of the table of first candidates, at most: 4 KiB for all series of a metric together. All
/// exponents of both signs fit, so that every set of bounds has a table.
const MOST_STRETCHES: usize = 1 << 12;

/// Bits of a number below its sign and exponent.
const FRACTION_BITS: u32 = f64::MANTISSA_DIGITS - 1;

/// Upper bounds, each above the one before. A bucket is `(lower, upper]`.
///
/// Ordered by their bits, numbers fall into stretches of equal length: powers of two, or equal parts
/// of them. A table has the first bound that a number of each stretch need be compared with. The
/// stretches are so short that there is no second one, wherever the table does not get too long for
/// that; so a look-up is a few instructions without a branch that depends on the value.
#[derive(Debug, PartialEq)]
pub(crate) struct Bounds {
    /// The bounds, and `+Inf`.
    upper: Box<[f64]>,
    /// For each stretch the number of bounds below it.
    candidates: Box<[u8]>,
    /// The stretch of the first bound.
    first_stretch: i64,
    /// How many bits of a number do not matter for its stretch.
    shift: u32,
    /// Bounds in one stretch, at most.
    steps: usize,
}

impl Bounds {
    /// Bounds that rise. The last one may be `+Inf`, which every histogram has anyway.
    pub(crate) fn new(metric: &str, bounds: &[f64]) -> Result<Self, MetricError> {
        let invalid = |reason: String| Err(MetricError::invalid(metric, reason));
        let finite = match bounds {
            [finite @ .., last] if *last == f64::INFINITY => finite,
            all => all,
        };
        if finite.is_empty() {
            return invalid("it has no buckets: give it at least one upper bound".to_owned());
        }
        if finite.len() > MOST_BOUNDS {
            let len = finite.len();
            return invalid(format!(
                "it has {len} buckets, at most {MOST_BOUNDS} can be"
            ));
        }
        if let Some(bound) = finite.iter().find(|bound| !bound.is_finite()) {
            return invalid(format!(
                "the bound {bound} is no number that values can be below"
            ));
        }
        if let Some([lower, upper]) = finite.array_windows().find(|[lower, upper]| lower >= upper) {
            return invalid(format!(
                "the bound {upper} comes after {lower}: each has to be above the one before"
            ));
        }
        // Adding zero makes one of the two zeros of the other, whose bits lie apart.
        let finite = finite.iter().map(|bound| bound + 0.0);
        Ok(Self::with_table(finite.chain([f64::INFINITY]).collect()))
    }

    /// The finite bounds.
    pub(crate) fn finite(&self) -> &[f64] {
        &self.upper[..self.upper.len() - 1]
    }

    /// The number of the bucket that a value falls into; the last one is above all bounds. Not for
    /// NaN.
    #[inline]
    pub(crate) fn bucket(&self, value: f64) -> usize {
        let stretch = (ordered(value) >> self.shift) - self.first_stretch;
        let last = self.candidates.len() - 1;
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "not negative"
        )]
        let stretch = (stretch.max(0) as usize).min(last);
        let mut bucket = usize::from(self.candidates[stretch]);
        for _ in 0..self.steps {
            // There is nothing above the last bound, which is infinite.
            bucket += usize::from(value > self.upper[bucket]);
        }
        bucket
    }

    /// Makes the table with the longest stretches of which none has two bounds, or else with the
    /// shortest that it has room for.
    fn with_table(upper: Box<[f64]>) -> Self {
        let finite = &upper[..upper.len() - 1];
        // At least one bit does not matter, so that differences of stretches do not overflow.
        let tables = (0..FRACTION_BITS).map(|bits| {
            let shift = FRACTION_BITS - bits;
            let stretches = finite.iter().map(|bound| ordered(*bound) >> shift);
            (shift, stretches.collect::<Vec<i64>>())
        });
        let mut best = None;
        for (shift, stretches) in tables {
            let first = stretches[0];
            // One more, for what is above all bounds.
            let length = stretches[stretches.len() - 1] - first + 2;
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            if length > MOST_STRETCHES + 1 {
                break;
            }
            let below = |stretch: i64| stretches.partition_point(|known| *known < stretch);
            let candidates = (first..).take(length).map(below);
            let candidates = candidates.map(|count| u8::try_from(count).expect("at most 126"));
            let together = stretches.chunk_by(|one, other| one == other);
            let steps = together.map(<[i64]>::len).max().unwrap_or(1);
            best = Some((candidates.collect(), first, shift, steps));
            if steps == 1 {
                break;
            }
        }
        let (candidates, first_stretch, shift, steps) =
            best.expect("the exponents of all numbers fit into a table");
        Self {
            upper,
            candidates,
            first_stretch,
            shift,
            steps,
        }
    }
}

/// An integer that is in the same order as the number: its bits, with those of negative numbers
/// turned round.
#[inline]
fn ordered(value: f64) -> i64 {
    let bits = value.to_bits().cast_signed();
    bits ^ ((bits >> 63) & i64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bounds(bounds: &[f64]) -> Bounds {
        Bounds::new("m", bounds).unwrap()
    }

    #[test]
    fn metrics_fall_into_the_bucket_whose_bound_they_do_not_exceed() {
        let check = |upper_bounds: &[f64], value: f64, want: usize| {
            let found = bounds(upper_bounds).bucket(value);
            assert_eq!(found, want, "{value} in {upper_bounds:?}");
        };
        let three = [0.5, 1.0, 2.5];
        for (value, want) in [
            (f64::NEG_INFINITY, 0),
            (-3.0, 0),
            (-0.0, 0),
            (0.0, 0),
            (f64::MIN_POSITIVE, 0),
            (0.5, 0),
            (0.500_000_000_000_000_1, 1),
            (1.0, 1),
            (2.5, 2),
            (2.500_000_000_000_000_5, 3),
            (f64::MAX, 3),
            (f64::INFINITY, 3),
        ] {
            check(&three, value, want);
        }
        check(&[-0.0], 0.0, 0);
        check(&[0.0], -0.0, 0);
        check(&[-1.0, -0.0, 1.0], 0.0, 1);
        check(&[-1.0, 0.0, 1.0], -0.5, 1);
        check(&[-1.0, 0.0, 1.0], -1.0, 0);
        check(&[1.0, f64::INFINITY], 2.0, 1);
        check(&[f64::MIN, f64::MAX], f64::INFINITY, 2);
    }

    #[test]
    fn metrics_with_usual_bounds_compare_once() {
        let factor_of_two: Vec<f64> = (-20..20).map(|power| 2_f64.powi(power)).collect();
        let linear: Vec<f64> = (1..=100).map(f64::from).collect();
        let default = crate::Histogram::DEFAULT_BUCKETS;
        for upper_bounds in [&default[..], &factor_of_two, &linear] {
            let bounds = bounds(upper_bounds);
            assert_eq!(bounds.steps, 1);
            assert!(bounds.candidates.len() < 600);
        }
    }

    #[test]
    fn metrics_refuse_bounds_that_do_not_rise() {
        let check = |upper_bounds: &[f64], want: &str| {
            let error = Bounds::new("m", upper_bounds).unwrap_err().to_string();
            assert!(error.contains(want), "{error}");
        };
        check(&[], "no buckets");
        check(&[f64::INFINITY], "no buckets");
        check(&[1.0, 1.0], "above the one before");
        check(&[2.0, 1.0], "above the one before");
        check(&[0.0, -0.0], "above the one before");
        check(&[f64::NAN], "NaN");
        check(&[f64::INFINITY, 1.0], "inf");
        let many: Vec<f64> = (0..127).map(f64::from).collect();
        check(&many, "at most 126");
        assert_eq!(bounds(&many[..126]).finite().len(), 126);
    }

    proptest! {
        #[test]
        fn metrics_fall_into_the_same_bucket_as_by_comparing(
            numbers in prop::collection::vec(any::<f64>(), 1..127),
            small in prop::collection::vec(-1000_i32..1000, 1..127),
            values in prop::collection::vec(any::<f64>(), 100),
        ) {
            let small: Vec<f64> = small.iter().map(|number| f64::from(*number) / 7.0).collect();
            for mut numbers in [numbers, small] {
                numbers.retain(|number| number.is_finite());
                numbers.sort_by(f64::total_cmp);
                numbers.dedup();
                prop_assume!(!numbers.is_empty());
                let bounds = bounds(&numbers);
                let near = numbers.iter().flat_map(|at| [at.next_down(), *at, at.next_up()]);
                for value in near.chain(values.iter().copied()).filter(|value| !value.is_nan()) {
                    let want = numbers.iter().filter(|bound| **bound < value).count();
                    prop_assert_eq!(bounds.bucket(value), want, "{}", value);
                }
            }
        }
    }
}
