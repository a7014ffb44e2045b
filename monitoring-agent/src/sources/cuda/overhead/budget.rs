//! The rule by which an agent's return probes are dropped, and come back.
//!
//! Knows counts and costs; what is done about its answers is the caller's business.

use monitoring_common::agents::{AgentId, MAX_AGENTS};

use super::{Activity, Trap};

/// Collections in a row over the budget, after which returns are dropped.
const PATIENCE: u32 = 3;

/// Collections in a row in which timing all calls would have cost less than half of the budget,
/// after which returns come back. So many that it does not go back and forth.
const RELIEF: u32 = 6;

/// What agents may cost, and what each did until now.
#[derive(Debug)]
pub(super) struct Budget {
    limit: f64,
    states: [State; MAX_AGENTS],
    /// Bit by agent.
    dropped: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    /// Absent before the first look.
    last: Option<Activity>,
    /// Collections in a row that speak for a change.
    row: u32,
}

/// What happened to an agent's return probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Dropped,
    Restored,
}

/// An agent's last interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Judged {
    /// Share of one CPU.
    pub(super) share: f64,
    pub(super) change: Option<Change>,
}

impl Budget {
    /// A budget of this share of one CPU for each agent; 1 is no limit.
    pub(super) fn new(limit: f64) -> Self {
        Self {
            limit,
            states: [State::default(); MAX_AGENTS],
            dropped: 0,
        }
    }

    /// Whose returns are to be dropped, bit by agent.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// All returns are back; each agent is judged anew.
    pub(super) fn forget(&mut self) {
        self.dropped = 0;
        for state in &mut self.states {
            state.row = 0;
        }
    }

    /// What an agent's probes cost in the last `elapsed` seconds. Returns that `may_drop` does not
    /// allow to be dropped come back.
    pub(super) fn judge(
        &mut self,
        agent: AgentId,
        now: Activity,
        trap: &Trap,
        elapsed: f64,
        may_drop: bool,
    ) -> Judged {
        let state = &mut self.states[usize::from(agent)];
        let last = state.last.replace(now).unwrap_or(now);
        let since = |now: u64, last: u64| now.saturating_sub(last) as f64;
        let (timed, untimed) = (
            since(now.timed, last.timed),
            since(now.untimed, last.untimed),
        );
        let nested = since(now.nested, last.nested);
        let entries_ns = (timed + untimed) * trap.entry_ns + nested * trap.nested_ns;
        let share = |returns: f64| (entries_ns + returns * trap.return_ns) / 1e9 / elapsed;
        let bit = 1_u64 << agent;
        let is_dropped = self.dropped & bit != 0;
        let for_change = if is_dropped {
            !may_drop || share(timed + untimed) < self.limit / 2.0
        } else {
            let could_help = now.timed_leaves > last.timed_leaves;
            may_drop && could_help && self.limit < 1.0 && share(timed) > self.limit
        };
        state.row = if for_change { state.row + 1 } else { 0 };
        let patience = match (is_dropped, may_drop) {
            (true, true) => RELIEF,
            (true, false) => 1,
            (false, _) => PATIENCE,
        };
        let change = (state.row >= patience).then(|| {
            state.row = 0;
            self.dropped ^= bit;
            if is_dropped {
                Change::Restored
            } else {
                Change::Dropped
            }
        });
        Judged {
            share: share(timed),
            change,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRAP: Trap = Trap {
        entry_ns: 1_000.0,
        return_ns: 500.0,
        nested_ns: 800.0,
        own_ns: 700.0,
    };

    /// An agent's counts, which only grow.
    struct Load(Budget, Activity);

    impl Load {
        fn new(limit: f64) -> Self {
            let mut load = Self(Budget::new(limit), Activity::default());
            load.second(0, 0);
            load
        }

        /// A second in which so many driver calls and nested calls were made.
        fn second(&mut self, calls: u64, nested: u64) -> Judged {
            if self.0.dropped() & 1 << 7 == 0 {
                self.1.timed += calls;
                self.1.timed_leaves += calls;
            } else {
                self.1.untimed += calls;
            }
            self.1.nested += nested;
            self.0.judge(7, self.1, &TRAP, 1.0, true)
        }
    }

    #[test]
    fn a_share_is_calls_times_cost() {
        let mut load = Load::new(1.0);
        let check = |got: f64, want: f64| assert!((got - want).abs() < 1e-12, "{got} {want}");
        check(load.second(10_000, 0).share, 0.015);
        check(load.second(0, 10_000).share, 0.008);
        check(load.second(0, 0).share, 0.0);
    }

    #[test]
    fn returns_are_dropped_after_a_while_and_come_back_after_a_longer_one() {
        let mut load = Load::new(0.03);
        for _ in 0..10 {
            // Over, over, within.
            assert_eq!(load.second(30_000, 0).change, None);
            assert_eq!(load.second(30_000, 0).change, None);
            assert_eq!(load.second(10_000, 0).change, None);
        }
        assert_eq!(load.second(30_000, 0).change, None);
        assert_eq!(load.second(30_000, 0).change, None);
        assert_eq!(load.second(30_000, 0).change, Some(Change::Dropped));
        assert_eq!(load.0.dropped(), 1 << 7);
        // It is within the budget now, and would not be with returns; nor is a half enough.
        for calls in [
            25_000, 11_000, 25_000, 11_000, 11_000, 11_000, 11_000, 11_000,
        ] {
            assert_eq!(load.second(calls, 0).change, None);
        }
        for _ in 1..RELIEF {
            assert_eq!(load.second(9_000, 0).change, None);
        }
        assert_eq!(load.second(9_000, 0).change, Some(Change::Restored));
        assert_eq!(load.0.dropped(), 0);
    }

    #[test]
    fn returns_stay_where_dropping_them_would_not_help_or_is_not_allowed() {
        let mut budget = Budget::new(0.001);
        let mut runtime = Activity::default();
        let mut driver = Activity::default();
        for _ in 0..10 {
            runtime.timed += 1_000_000;
            driver.timed += 1_000_000;
            driver.timed_leaves += 1_000_000;
            assert_eq!(budget.judge(1, runtime, &TRAP, 1.0, true).change, None);
            assert_eq!(budget.judge(2, driver, &TRAP, 1.0, false).change, None);
        }
        let mut unlimited = Load::new(1.0);
        for _ in 0..10 {
            assert_eq!(unlimited.second(5_000_000, 0).change, None);
        }
    }

    #[test]
    fn returns_come_back_at_once_when_they_may_not_be_dropped() {
        let mut load = Load::new(0.0);
        for _ in 0..PATIENCE {
            load.second(1, 0);
        }
        assert_eq!(load.0.dropped(), 1 << 7);
        let judged = load.0.judge(7, load.1, &TRAP, 1.0, false);
        assert_eq!(judged.change, Some(Change::Restored));
        for _ in 0..PATIENCE {
            load.second(1, 0);
        }
        assert_eq!(load.0.dropped(), 1 << 7);
        load.0.forget();
        assert_eq!(load.0.dropped(), 0);
    }
}
