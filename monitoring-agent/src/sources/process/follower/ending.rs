//! Processes that have ended before they were looked at, and whose ends are in the ring.
//!
//! Knows nothing of labels or events, only their order.

use std::collections::HashMap;

use monitoring_common::{
    agents::AgentId,
    process::{EVENTS_BYTES, Event},
};

/// Records that the ring can hold, and more: each has a header besides.
const IN_RING: usize = EVENTS_BYTES / size_of::<Event>();

/// Entries at which those that are of no use any more go.
const CROWDED: usize = 2 * IN_RING;

/// A process's number and start.
pub(super) type Process = (u32, u32);

/// Agents of processes whose end is on its way.
///
/// The end was in the ring already when the process was found to have ended, so an entry is of use
/// for as many records as the ring holds. It stays unused when the end did not fit and the kernel
/// has counted it.
#[derive(Default)]
pub(super) struct Ending {
    /// With the number of the record at which the process was found to have ended.
    agents: HashMap<Process, (AgentId, usize)>,
    record: usize,
}

impl Ending {
    /// Another record was taken from the ring.
    pub(super) fn turn(&mut self) {
        self.record += 1;
    }

    /// The end of a process is to count under an agent.
    pub(super) fn insert(&mut self, process: Process, agent: AgentId) {
        if self.agents.len() >= CROWDED {
            let record = self.record;
            self.agents
                .retain(|_, (_, since)| record - *since <= IN_RING);
        }
        self.agents.insert(process, (agent, self.record));
    }

    /// The agent of a process whose end has come, if it was found before.
    pub(super) fn take(&mut self, process: Process) -> Option<AgentId> {
        self.agents.remove(&process).map(|(agent, _)| agent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_that_may_come_are_kept_and_others_go() {
        let mut ending = Ending::default();
        for pid in 0..100_000 {
            ending.turn();
            ending.insert((pid, 7), 1);
            assert!(ending.agents.len() <= CROWDED);
            // The oldest whose end may still be in the ring.
            if let Some(old) = pid.checked_sub(u32::try_from(IN_RING).unwrap()) {
                assert!(ending.agents.contains_key(&(old, 7)), "{old} at {pid}");
            }
        }
        assert_eq!(ending.take((99_999, 8)), None);
        assert_eq!(ending.take((99_999, 7)), Some(1));
        assert_eq!(ending.take((99_999, 7)), None);
    }
}
