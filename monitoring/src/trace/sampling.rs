//! Which traces are recorded: a share of them, chosen by the trace's id, so that all tracers of one
//! rate choose the same ones, and those of a higher rate these and more.
//!
//! By <https://opentelemetry.io/docs/specs/otel/trace/tracestate-probability-sampling/>. Knows
//! nothing of spans.

use super::{context::TraceFlags, ids::TraceId};

/// How many bits of an id are random by its definition.
const RANDOM_BITS: u32 = 56;

const MASK: u64 = (1 << RANDOM_BITS) - 1;

/// A share of all traces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sampling {
    /// Traces with a lower random number are not recorded.
    threshold: u64,
    /// Whether a child goes with its parent.
    follows_parents: bool,
}

impl Sampling {
    /// Every trace.
    pub(super) const ALL: Self = Self {
        threshold: 0,
        follows_parents: true,
    };

    /// No trace.
    pub(super) const NONE: Self = Self {
        threshold: MASK + 1,
        follows_parents: true,
    };

    /// The share `rate`, if it is one from 0 to 1.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the product is a whole number of at most 57 bits"
    )]
    pub(super) fn new(rate: f64) -> Option<Self> {
        if !(0.0..=1.0).contains(&rate) {
            return None;
        }
        let rejected = ((1.0 - rate) * (1_u64 << RANDOM_BITS) as f64).round() as u64;
        // The smallest share there is, is not none.
        let most = if rate > 0.0 { MASK } else { MASK + 1 };
        Some(Self {
            threshold: rejected.min(most),
            follows_parents: true,
        })
    }

    /// The same share, by which children are recorded whatever was decided for their parents.
    pub(super) fn regardless_of_parents(self) -> Self {
        Self {
            follows_parents: false,
            ..self
        }
    }

    /// What is said of a trace that has begun, here or in another process, from here on.
    #[inline]
    pub(super) fn flags_within(self, trace_id: TraceId, parent: TraceFlags) -> TraceFlags {
        if self.follows_parents {
            return parent;
        }
        let others = parent.bits() & !TraceFlags::SAMPLED.bits();
        TraceFlags::from_bits(others | u8::from(self.includes(trace_id)))
    }

    /// Whether the trace is recorded.
    #[inline]
    pub(super) fn includes(self, trace_id: TraceId) -> bool {
        trace_id.low() & MASK >= self.threshold
    }
}

#[cfg(test)]
mod tests {
    use super::{super::random::Random, *};

    fn ids(count: usize) -> impl Iterator<Item = TraceId> {
        let random = Random::unseeded();
        (0..count).map(move |_| TraceId::from_words(random.draw(), random.draw_id()))
    }

    #[test]
    fn a_rate_is_a_share() {
        for rate in [-0.1, 1.1, f64::NAN, f64::INFINITY, -f64::MIN_POSITIVE] {
            assert_eq!(Sampling::new(rate), None, "{rate}");
        }
        let (none, all) = (Sampling::new(0.0).unwrap(), Sampling::new(1.0).unwrap());
        assert_eq!((none, all), (Sampling::NONE, Sampling::ALL));
        for low in [0, 1, MASK, u64::MAX] {
            assert!(all.includes(TraceId::from_words(1, low)));
            assert!(!none.includes(TraceId::from_words(1, low)));
        }
        let least = Sampling::new(1e-300).unwrap();
        assert!(least.includes(TraceId::from_words(0, u64::MAX)));
        assert!(!least.includes(TraceId::from_words(u64::MAX, MASK - 1)));
    }

    #[test]
    fn children_go_with_their_parents_unless_they_are_not_to() {
        let id = TraceId::from_words(1, 2);
        let [with, without] = [3, 2].map(TraceFlags::from_bits);
        for (rate, decided) in [(0.0, without), (1.0, with)] {
            let sampling = Sampling::new(rate).unwrap();
            let alone = sampling.regardless_of_parents();
            for parent in [with, without] {
                assert_eq!(sampling.flags_within(id, parent), parent, "{rate}");
                assert_eq!(alone.flags_within(id, parent), decided, "{rate}");
            }
        }
    }

    #[test]
    fn half_is_where_the_specification_says() {
        let half = Sampling::new(0.5).unwrap();
        assert!(half.includes(TraceId::from_words(0, 0xff80_0000_0000_0000)));
        assert!(!half.includes(TraceId::from_words(0, 0xff7f_ffff_ffff_ffff)));
    }

    #[test]
    fn shares_are_within_six_standard_deviations() {
        const COUNT: usize = 200_000;
        for rate in [0.001, 0.01, 0.3, 0.5, 0.9] {
            let sampling = Sampling::new(rate).unwrap();
            let included = ids(COUNT).filter(|id| sampling.includes(*id)).count();
            let expected = COUNT as f64 * rate;
            let deviation = (expected * (1.0 - rate)).sqrt();
            let off = (included as f64 - expected).abs() / deviation;
            assert!(
                off < 6.0,
                "{included} of {COUNT} at {rate}: {off} deviations"
            );
        }
    }

    #[test]
    fn what_a_rate_includes_a_higher_one_includes_too() {
        let rates = [0.0, 0.01, 0.1, 0.5, 0.99, 1.0];
        let samplings = rates.map(|rate| Sampling::new(rate).unwrap());
        for id in ids(10_000) {
            let included = samplings.map(|sampling| sampling.includes(id));
            assert!(included.is_sorted(), "{id}: {included:?}");
        }
    }
}
