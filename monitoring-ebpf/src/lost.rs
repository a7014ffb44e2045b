//! Counted loss: every event that a program could not account for.

use aya_ebpf::{btf_maps::PerCpuArray, macros::btf_map};

/// Most reasons a family can tell apart; each family names its own in `monitoring-common`.
const MAX_REASONS: usize = 8;

#[btf_map]
static LOST: PerCpuArray<u64, MAX_REASONS> = PerCpuArray::new();

/// Counts one lost event.
///
/// BPF in Rust has no atomic addition. An interrupt between the two halves of this one whose own
/// program loses an event of the same reason makes the two count as one; that both happen within
/// a nanosecond of each other is the only way to get there.
#[inline(always)]
pub fn lost(reason: u32) {
    if let Some(count) = LOST.get_ptr_mut(reason) {
        // SAFETY: the slot is this CPU's; what interrupts has ended when this goes on.
        unsafe { *count += 1 }
    }
}
