//! What the probes themselves cost: taken off durations, and kept small by counting calls without
//! one.

use aya_ebpf::{btf_maps::Array, macros::btf_map};
use monitoring_common::{
    agents::AgentId,
    cuda::{Cost, Thread},
};
use monitoring_ebpf::atomic;

use crate::memory::sums_of;

/// Written by the agent once it has measured, and when an agent's calls cost too much.
#[btf_map]
static COST: Array<Cost, 1> = Array::new();

/// Whether one call was met twice, because two attached files are one to the kernel. Only who
/// remembers calls notices it; so none may then be counted at entry.
#[btf_map]
static REPEATED: Array<u32, 1> = Array::new();

/// Whether the agent's calls that need no result are counted when they are entered.
#[inline(always)]
pub(crate) fn is_untimed(agent: AgentId) -> bool {
    COST.get(0).is_some_and(|cost| cost.is_untimed(agent))
}

/// One call was met twice.
#[inline(always)]
pub(crate) fn repeated() {
    if let Some(repeated) = REPEATED.get_ptr_mut(0) {
        // SAFETY: one aligned word, which only ever becomes 1.
        unsafe { repeated.write_volatile(1) }
    }
}

/// The duration of a thread's call that ended now, without the probes' own time. Counts the calls
/// within it.
#[inline(always)]
pub(crate) fn corrected(thread: &Thread, left_ns: u64) -> u64 {
    let measured_ns = left_ns.wrapping_sub(thread.entered_ns);
    if thread.nested != 0
        && let Some(sums) = sums_of(thread)
    {
        // SAFETY: the pointer is to a map's value; only an address is taken.
        atomic::add(unsafe { &raw mut (*sums).nested }, thread.nested.into());
    }
    COST.get(0).map_or(measured_ns, |cost| {
        cost.corrected(measured_ns, thread.nested)
    })
}
