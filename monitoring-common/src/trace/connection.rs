//! The trace of a TCP connection, which both of its ends find by themselves: from the initial sequence
//! numbers, which both know, and which nothing on the way changes that only translates addresses. The
//! kernel programs choose by it, and the agent writes it down; knows nothing else of either.

/// Different for the two halves, so that one is never a function of the other alone, and both are
/// never zero at once.
const HIGH: u64 = 0x9e37_79b9_7f4a_7c15;
const LOW: u64 = 0xd1b5_4a32_d192_ed03;

/// The halves of a connection's trace id, the high one first. Never both zero.
///
/// The same at both ends: `client_sequence` is the initial sequence number of the side that connected.
/// Connections of two different pairs of numbers never have the same id.
#[inline(always)]
#[must_use]
pub const fn trace_id(client_sequence: u32, server_sequence: u32) -> [u64; 2] {
    let both = (client_sequence as u64) << 32 | server_sequence as u64;
    [mix(both.wrapping_add(HIGH)), mix(both.wrapping_add(LOW))]
}

/// What a connection's spans are chosen with, at both ends alike: see [`super::lot`].
#[inline(always)]
#[must_use]
pub const fn chain(trace_id: [u64; 2]) -> u64 {
    trace_id[1]
}

/// Makes each bit of the result depend on each bit of the argument; different arguments have different
/// results. The finalizer of David Stafford's thirteenth variant, known from `SplitMix64`.
#[inline(always)]
#[must_use]
pub const fn mix(number: u64) -> u64 {
    let mut bits = number;
    bits ^= bits >> 30;
    bits = bits.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits ^= bits >> 27;
    bits = bits.wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ bits >> 31
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::lot;

    #[test]
    fn an_id_depends_on_each_number_and_on_who_has_which() {
        let id = trace_id(1, 2);
        assert_eq!(id, trace_id(1, 2));
        for other in [trace_id(2, 1), trace_id(1, 3), trace_id(0, 2)] {
            assert!(id[0] != other[0] && id[1] != other[1]);
        }
    }

    #[test]
    fn no_id_is_zero() {
        // The pairs of which one half is zero.
        for [add, other] in [[HIGH, LOW], [LOW, HIGH]] {
            let both = add.wrapping_neg();
            let half = |half: u64| u32::try_from(half).unwrap();
            let (client, server) = (half(both >> 32), half(both & u64::from(u32::MAX)));
            let id = trace_id(client, server);
            assert!(id.contains(&0), "{id:?}");
            assert!(id.contains(&mix(both.wrapping_add(other))) && id != [0, 0]);
        }
    }

    #[test]
    fn lots_are_fair_for_numbers_that_follow_each_other() {
        // 1 % of 100,000 are 1,000, with a standard deviation of 31.
        let limit = u32::MAX / 100;
        for step in [1, 64, 250_000, 1 << 12] {
            let ids = (0..100_000_u32).map(|number| {
                let client = number.wrapping_mul(step);
                trace_id(client, client.wrapping_add(12_345))
            });
            let chosen = ids.filter(|id| lot(chain(*id)) < limit).count();
            assert!((850..1_150).contains(&chosen), "{chosen} with step {step}");
        }
    }
}
