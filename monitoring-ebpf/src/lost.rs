//! Counted loss: every event that a program could not account for.

use aya_ebpf::{btf_maps::PerCpuArray, macros::btf_map};

use crate::atomic;

/// Most reasons a family can tell apart; each family names its own in `monitoring-common`.
const MAX_REASONS: usize = 16;

#[btf_map]
static LOST: PerCpuArray<u64, MAX_REASONS> = PerCpuArray::new();

/// Counts one lost event.
#[inline(always)]
pub fn lost(reason: u32) {
    if let Some(count) = LOST.get_ptr_mut(reason) {
        atomic::add(count, 1);
    }
}
