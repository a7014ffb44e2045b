//! How long threads wait for devices: the calls that do, and those that are at it. Knows not what they wait
//! for.

use aya_ebpf::{
    bindings::BPF_F_NO_PREALLOC, btf_maps::HashMap, helpers::bpf_get_current_pid_tgid,
    macros::btf_map,
};
use monitoring_common::cuda::{MAX_WAITING, Thread, Waiting, lost::DETAILS_FULL};
use monitoring_ebpf::{atomic, lost::lost};

use crate::memory::sums_of;

/// Threads in calls that wait, by their ids.
#[btf_map]
static WAITING: HashMap<u32, Waiting, MAX_WAITING, { BPF_F_NO_PREALLOC as usize }> = HashMap::new();

/// A thread enters a call that waits.
#[inline(always)]
pub(crate) fn waits(thread: &Thread) {
    let waiting = Waiting {
        entered_ns: thread.entered_ns,
        agent: thread.agent,
        padding: [0; 3],
    };
    if WAITING.insert(thread_id(), waiting, 0).is_err() {
        lost(DETAILS_FULL);
    }
}

/// A thread leaves a call that waits.
#[inline(always)]
pub(crate) fn waits_no_longer() {
    // It is not there if there were too many.
    let _ = WAITING.remove(thread_id());
}

/// A call that returned when the device had done something.
#[inline(always)]
pub(crate) fn waited(thread: &Thread, duration_ns: u64) {
    if let Some(sums) = sums_of(thread) {
        // SAFETY: the pointer is to a map's value; only an address is taken.
        atomic::add(unsafe { &raw mut (*sums).waited_ns }, duration_ns);
    }
    // Now that the time is in the sum: whoever reads the sum first, then who waits, counts no time
    // twice.
    waits_no_longer();
}

#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "the lower half")]
fn thread_id() -> u32 {
    bpf_get_current_pid_tgid() as u32
}
