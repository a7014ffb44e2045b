//! The label maps, shared by all families: which agent a process belongs to.
//!
//! The loader pins them, so that every object that names them gets the same two maps.

use aya_ebpf::{
    btf_maps::{Array, HashMap},
    macros::btf_map,
};
use monitoring_common::agents::{AgentId, MAX_PROCESSES, OTHER};

#[btf_map]
static AGENT_OF: HashMap<u32, u32, MAX_PROCESSES> = HashMap::new();

#[btf_map]
static LABEL_EPOCH: Array<u32, 1> = Array::new();

/// The agent of a process, [`OTHER`] when none of the rules matched it.
#[inline(always)]
pub fn agent_of(pid: u32) -> AgentId {
    // SAFETY: the value is one aligned word, written as a whole; a replaced entry gives the
    // label of another moment, never a torn one.
    let agent = unsafe { AGENT_OF.get(pid) };
    agent.map_or(OTHER, |agent| AgentId::try_from(*agent).unwrap_or(OTHER))
}

/// Grows with each change of labels. Starts at 1, so that 0 means "never looked".
#[inline(always)]
pub fn label_epoch() -> u32 {
    LABEL_EPOCH.get(0).copied().unwrap_or(1)
}

/// Labels a process. `Err` when the map is full.
#[inline(always)]
pub fn set_agent(pid: u32, agent: AgentId) -> Result<(), i32> {
    AGENT_OF.insert(pid, u32::from(agent), 0)
}

/// Removes a process's label, if it had one.
#[inline(always)]
pub fn clear_agent(pid: u32) {
    // The only failure is that there is no such entry, which is what was wanted.
    let _ = AGENT_OF.remove(pid);
}
