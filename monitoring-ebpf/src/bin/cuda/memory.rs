//! Copies, and device memory that is allocated and freed.

use aya_ebpf::{
    bindings::{BPF_F_NO_PREALLOC, BPF_NOEXIST},
    btf_maps::{HashMap, PerCpuArray},
    macros::btf_map,
};
use monitoring_common::{
    agents::MAX_AGENTS,
    cuda::{
        Address, Allocation, Held, HolderKey, Hook, MAX_ALLOCATIONS, MAX_HOLDERS, NO_ARGUMENT,
        Sums, Thread, direction, lost::ALLOCATIONS_FULL,
    },
};
use monitoring_ebpf::{atomic, lost::lost};

use crate::{contexts::address, now_ns, pid, registers::user_word};

/// By agent.
#[btf_map]
static SUMS: PerCpuArray<Sums, MAX_AGENTS> = PerCpuArray::new();

/// Allocated when needed: most nodes have few.
#[btf_map]
static ALLOCATIONS: HashMap<Address, Allocation, MAX_ALLOCATIONS, { BPF_F_NO_PREALLOC as usize }> =
    HashMap::new();

#[btf_map]
static HELD: HashMap<HolderKey, Held, MAX_HOLDERS> = HashMap::new();

/// Arguments: bytes, or bytes a row; rows; direction.
#[inline(always)]
pub(crate) fn copied(hook: Hook, thread: &Thread) {
    let Some(sums) = sums_of(thread) else {
        return;
    };
    let [bytes, rows, given, _] = thread.arguments;
    let bytes = if hook.argument(1) == NO_ARGUMENT {
        bytes
    } else {
        bytes.wrapping_mul(rows)
    };
    let direction = if hook.argument(2) == NO_ARGUMENT {
        hook.direction().into()
    } else {
        given & 0xffff_ffff
    };
    // A number that is no direction is the caller's mistake, which the library has let pass.
    let direction = usize::try_from(direction).unwrap_or(usize::MAX);
    let direction = direction.min(direction::UNKNOWN.into());
    // SAFETY: the pointer is to a map's value; only an address is taken, and it is within.
    unsafe {
        if let Some(sum) = (*sums).copied_bytes.get_mut(direction) {
            atomic::add(sum, bytes);
        }
    }
}

/// Arguments: where the pointer was put; bytes, or where the bytes of a row were put, and rows.
#[inline(always)]
pub(crate) fn allocated(hook: Hook, thread: &Thread) {
    let [result, bytes, rows, _] = thread.arguments;
    let Some(pointer) = user_word(result) else {
        return;
    };
    let bytes = if hook.argument(2) == NO_ARGUMENT {
        bytes
    } else {
        user_word(bytes).unwrap_or(0).wrapping_mul(rows)
    };
    let Some(sums) = sums_of(thread) else {
        return;
    };
    // SAFETY: as in `copied`.
    atomic::add(unsafe { &raw mut (*sums).allocated_bytes }, bytes);
    let allocation = Allocation {
        bytes,
        since_ns: now_ns(),
        device: thread.device,
        agent: thread.agent,
        padding: 0,
    };
    let Some(held) = held_by(holder(&allocation)) else {
        lost(ALLOCATIONS_FULL);
        return;
    };
    if ALLOCATIONS.insert(address(pointer), allocation, 0).is_err() {
        lost(ALLOCATIONS_FULL);
        return;
    }
    // SAFETY: as in `copied`.
    atomic::add(unsafe { &raw mut (*held).allocated_bytes }, bytes);
}

/// Argument: the pointer. Freeing nothing is allowed, and nothing.
#[inline(always)]
pub(crate) fn freed(thread: &Thread) {
    let pointer = thread.arguments[0];
    if pointer == 0 {
        return;
    }
    let Some(sums) = sums_of(thread) else {
        return;
    };
    let key = address(pointer);
    let found = ALLOCATIONS.get_ptr_mut(key);
    // SAFETY: what a program has found stays readable while it runs.
    let allocation = found.map(|found| unsafe { *found });
    // Whoever removes the entry has freed it; another thread may have been faster.
    let removed = ALLOCATIONS.remove(key).is_ok();
    let Some(allocation) = allocation.filter(|_| removed) else {
        // SAFETY: as in `copied`.
        atomic::add(unsafe { &raw mut (*sums).unknown_frees }, 1);
        return;
    };
    // SAFETY: as in `copied`.
    atomic::add(unsafe { &raw mut (*sums).freed_bytes }, allocation.bytes);
    if let Some(held) = HELD.get_ptr_mut(holder(&allocation)) {
        // SAFETY: as in `copied`.
        atomic::add(unsafe { &raw mut (*held).freed_bytes }, allocation.bytes);
    }
}

/// What the thread's agent has done on this CPU.
#[inline(always)]
pub(crate) fn sums_of(thread: &Thread) -> Option<*mut Sums> {
    SUMS.get_ptr_mut(thread.agent.into())
}

#[inline(always)]
fn holder(allocation: &Allocation) -> HolderKey {
    HolderKey {
        pid: pid(),
        agent: allocation.agent,
        device: allocation.device,
    }
}

#[inline(always)]
fn held_by(key: HolderKey) -> Option<*mut Held> {
    let mut held = HELD.get_ptr_mut(key);
    if held.is_none() {
        let nothing = Held {
            allocated_bytes: 0,
            freed_bytes: 0,
        };
        // Another thread may be first; its entry serves as well.
        let _ = HELD.insert(key, nothing, BPF_NOEXIST.into());
        held = HELD.get_ptr_mut(key);
    }
    held
}
