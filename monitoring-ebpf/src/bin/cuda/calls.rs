//! Counts and durations of calls, and their errors.

use aya_ebpf::{
    bindings::{BPF_F_NO_PREALLOC, BPF_NOEXIST},
    btf_maps::{PerCpuArray, PerCpuHashMap},
    macros::btf_map,
};
use monitoring_common::{
    agents::MAX_AGENTS,
    cuda::{
        CallKey, Calls, Entered, ErrorKey, Hook, MAX_CALL_PAIRS, MAX_ERRORS,
        lost::{CALLS_FULL, ERRORS_FULL},
    },
    histogram::{Histogram, slot_of},
};
use monitoring_ebpf::{atomic, lost::lost};

/// Allocated when needed: with 128 CPUs, all of it would be 65 MB.
#[btf_map]
static CALLS: PerCpuHashMap<CallKey, Calls, MAX_CALL_PAIRS, { BPF_F_NO_PREALLOC as usize }> =
    PerCpuHashMap::new();

#[btf_map]
static ERRORS: PerCpuHashMap<ErrorKey, u64, MAX_ERRORS, { BPF_F_NO_PREALLOC as usize }> =
    PerCpuHashMap::new();

/// What is counted at entry alone, by agent: found without a hash, and added to as it is, because
/// nothing but this count is left of such a call.
#[btf_map]
static ENTERED: PerCpuArray<Entered, MAX_AGENTS> = PerCpuArray::new();

static NO_CALLS: Calls = Calls::EMPTY;

/// Counts a call that has returned.
#[inline(always)]
pub(crate) fn count(hook: Hook, agent: u16, duration_ns: u64) {
    if let Some(calls) = calls_of(key(hook, agent)) {
        // SAFETY: entries are never removed, so the pointer stays good; only its address is taken.
        observe(unsafe { &raw mut (*calls).timed }, duration_ns);
    }
}

/// Counts a call that has no duration.
#[inline(always)]
pub(crate) fn count_untimed(hook: Hook, agent: u16) {
    if let Some(calls) = calls_of(key(hook, agent)) {
        // SAFETY: as above.
        atomic::add(unsafe { &raw mut (*calls).untimed }, 1);
    }
}

/// Counts a call whose return nobody will see.
#[inline(always)]
pub(crate) fn count_entered(hook: Hook, agent: u16) {
    let Some(entered) = ENTERED.get_ptr_mut(agent.into()) else {
        // An agent that was named after the map was made.
        count_untimed(hook, agent);
        return;
    };
    // SAFETY: the pointer is to a map's value; only an address is taken, and it is within.
    unsafe {
        if let Some(count) = (*entered).calls.get_mut(usize::from(hook.call())) {
            atomic::add(count, 1);
        }
    }
}

/// Counts what a call returned, other than success.
#[inline(always)]
pub(crate) fn count_error(hook: Hook, agent: u16, code: u32) {
    let key = ErrorKey {
        call: key(hook, agent),
        code,
    };
    let mut count = ERRORS.get_ptr_mut(key);
    if count.is_none() {
        // Another CPU may be first; its entry serves as well.
        let _ = ERRORS.insert(key, 0, BPF_NOEXIST.into());
        count = ERRORS.get_ptr_mut(key);
    }
    match count {
        Some(count) => atomic::add(count, 1),
        None => lost(ERRORS_FULL),
    }
}

/// Adds a duration to a histogram that other tasks of this CPU may be adding to.
#[inline(always)]
pub(crate) fn observe(histogram: *mut Histogram, duration_ns: u64) {
    // SAFETY: the pointer is to a map's value; only addresses are taken, and the slot is within.
    unsafe {
        atomic::add(&raw mut (*histogram).sum_ns, duration_ns);
        if let Some(slot) = (*histogram).slots.get_mut(slot_of(duration_ns)) {
            atomic::add(slot, 1);
        }
    }
}

#[inline(always)]
fn key(hook: Hook, agent: u16) -> CallKey {
    CallKey {
        call: hook.call(),
        agent,
    }
}

#[inline(always)]
fn calls_of(key: CallKey) -> Option<*mut Calls> {
    let mut calls = CALLS.get_ptr_mut(key);
    if calls.is_none() {
        // Another CPU may be first; its entry serves as well.
        #[allow(clippy::needless_borrows_for_generic_args, reason = "240 bytes")]
        let _ = CALLS.insert(key, &NO_CALLS, BPF_NOEXIST.into());
        calls = CALLS.get_ptr_mut(key);
    }
    if calls.is_none() {
        lost(CALLS_FULL);
    }
    calls
}
