//! The label maps, shared by all families: which agent a process belongs to.
//!
//! The loader pins them, so that every object that names them gets the same two maps.

use aya_ebpf::{
    btf_maps::{Array, HashMap},
    helpers::generated::bpf_ktime_get_ns,
    macros::btf_map,
};
use monitoring_common::agents::{AgentId, Label, MAX_PROCESSES, OTHER, epoch_at};

#[btf_map]
static AGENT_OF: HashMap<u32, Label, MAX_PROCESSES> = HashMap::new();

#[btf_map]
static LABEL_EPOCH: Array<u32, 1> = Array::new();

/// The agent of a process, [`OTHER`] when none of the rules matched it.
///
/// No start time is compared: a fork overwrites or removes what an earlier process left.
#[inline(always)]
pub fn agent_of(pid: u32) -> AgentId {
    // SAFETY: the value's two words are written as a whole; a replaced entry gives the label of
    // another moment, never a torn number.
    let label = unsafe { AGENT_OF.get(pid) };
    label.map_or(OTHER, |label| {
        AgentId::try_from(label.agent).unwrap_or(OTHER)
    })
}

/// Changes with each change of labels. Never 0, so that 0 means "never looked".
#[inline(always)]
pub fn label_epoch() -> u32 {
    LABEL_EPOCH.get(0).copied().unwrap_or(1)
}

/// Labels a process, and removes its label if that is [`OTHER`]. `Err` when the map is full.
#[inline(always)]
pub fn set_agent(pid: u32, agent: AgentId, started_ticks: u32) -> Result<(), i32> {
    if agent != OTHER {
        let label = Label {
            agent: agent.into(),
            started_ticks,
        };
        return AGENT_OF.insert(pid, label, 0);
    }
    // Looked up first, which takes no lock: hardly any process has one.
    if AGENT_OF.get_ptr(pid).is_some() {
        // It may be gone by now, which is what was wanted.
        let _ = AGENT_OF.remove(pid);
    }
    Ok(())
}

/// Removes the label of a process that is gone, but not that of a later one of its number.
#[inline(always)]
pub fn forget(pid: u32, started_ticks: u32) {
    // SAFETY: as in `agent_of`.
    let label = unsafe { AGENT_OF.get(pid) };
    if label.is_some_and(|label| label.started_ticks == started_ticks) {
        let _ = AGENT_OF.remove(pid);
    }
}

/// Makes all tasks look their labels up again.
#[inline(always)]
pub fn new_epoch() {
    if let Some(epoch) = LABEL_EPOCH.get_ptr_mut(0) {
        // SAFETY: one aligned word, written as a whole; `epoch_at` says why no lock is needed.
        unsafe { epoch.write_volatile(epoch_at(bpf_ktime_get_ns())) }
    }
}
