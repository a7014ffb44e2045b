//! What probes cost, as far as the kernel programs have to know: what is to be taken off each
//! duration, and which agents' calls are counted without one.

use crate::agents::{AgentId, MAX_AGENTS};

/// The one element of the array `COST`, written by the agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Cost {
    /// Bit by agent: its calls that need no result are counted when they are entered.
    pub untimed_agents: u64,
    /// Part of a call's two traps that lies between the two readings of the clock.
    pub own_ns: u32,
    /// Cost of a call within the call.
    pub nested_ns: u32,
}

const _: () = assert!(size_of::<Cost>() == 8 + 4 + 4);
const _: () = assert!(MAX_AGENTS <= 64, "a bit for each");
crate::plain_data!(Cost);

impl Cost {
    /// Whether the agent's calls that need no result are counted when they are entered.
    #[inline(always)]
    #[must_use]
    pub const fn is_untimed(&self, agent: AgentId) -> bool {
        self.untimed_agents >> (agent & 63) & 1 != 0
    }

    /// A call's duration by itself: without its own traps, and without those of the calls within.
    #[inline(always)]
    #[must_use]
    pub const fn corrected(&self, measured_ns: u64, nested_calls: u32) -> u64 {
        let traps = self.own_ns as u64 + self.nested_ns as u64 * nested_calls as u64;
        measured_ns.saturating_sub(traps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traps_are_taken_off_and_nothing_else() {
        let cost = Cost {
            own_ns: 900,
            nested_ns: 1_100,
            ..Cost::default()
        };
        let check = |measured, nested, want| {
            assert_eq!(
                cost.corrected(measured, nested),
                want,
                "{measured} {nested}"
            );
        };
        check(0, 0, 0);
        check(900, 0, 0);
        check(899, 0, 0);
        check(5_900, 0, 5_000);
        check(5_900, 4, 600);
        check(5_900, u32::MAX, 0);
        check(u64::MAX, 0, u64::MAX - 900);
    }

    #[test]
    fn agents_are_bits() {
        let cost = Cost {
            untimed_agents: 1 << 63 | 1,
            ..Cost::default()
        };
        assert!(cost.is_untimed(0) && cost.is_untimed(63));
        assert!(!cost.is_untimed(1) && !cost.is_untimed(62));
    }
}
