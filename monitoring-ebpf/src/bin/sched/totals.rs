//! The sums of each agent, on this CPU.

use aya_ebpf::{btf_maps::PerCpuArray, macros::btf_map};
use monitoring_common::{
    agents::{AgentId, MAX_AGENTS},
    sched::{Totals, reason_slot},
};

#[btf_map]
static TOTALS: PerCpuArray<Totals, MAX_AGENTS> = PerCpuArray::new();

/// The sums that were asked for last: the two tasks of a switch often belong to the same agent.
pub(crate) struct TotalsOf {
    agent: AgentId,
    totals: *mut Totals,
}

impl TotalsOf {
    /// Nobody's sums were asked for yet.
    #[inline(always)]
    pub(crate) const fn nobody() -> Self {
        Self {
            agent: AgentId::MAX,
            totals: core::ptr::null_mut(),
        }
    }

    /// An agent's sums. There are such for every agent that can be told apart.
    #[inline(always)]
    pub(crate) fn of(&mut self, agent: AgentId) -> Option<&mut Totals> {
        if self.agent != agent {
            self.agent = agent;
            self.totals = TOTALS
                .get_ptr_mut(agent.into())
                .unwrap_or(core::ptr::null_mut());
        }
        // SAFETY: the element is this CPU's. Only `sched_switch` writes to it, which runs with
        // interrupts off.
        unsafe { self.totals.as_mut() }
    }
}

/// Adds time that a task was off the CPU.
#[inline(always)]
pub(crate) fn add(totals: &mut Totals, reason: u16, duration_ns: u64) {
    let sum_ns = &mut totals.offcpu_ns[reason_slot(reason)];
    *sum_ns = sum_ns.wrapping_add(duration_ns);
}
