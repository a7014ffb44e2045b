//! Device memory that is allocated and freed.

use aya_ebpf::{
    bindings::{BPF_F_NO_PREALLOC, BPF_NOEXIST},
    btf_maps::{HashMap, LruHashMap, PerCpuArray},
    macros::btf_map,
};
use monitoring_common::{
    agents::MAX_AGENTS,
    cuda::{
        Address, Allocation, Held, HolderKey, Hook, MAX_ALLOCATIONS, MAX_FREED, MAX_HOLDERS,
        NO_ARGUMENT, ProcessId, Sums, Thread, lost::ALLOCATIONS_FULL, space,
    },
};
use monitoring_ebpf::{atomic, lost::lost};

use crate::{contexts, now_ns, registers::user_word};

/// By agent.
#[btf_map]
static SUMS: PerCpuArray<Sums, MAX_AGENTS> = PerCpuArray::new();

/// Allocated when needed: most nodes have few.
#[btf_map]
static ALLOCATIONS: HashMap<Address, Allocation, MAX_ALLOCATIONS, { BPF_F_NO_PREALLOC as usize }> =
    HashMap::new();

/// What was freed last.
#[btf_map]
static FREED: LruHashMap<Address, u8, MAX_FREED> = LruHashMap::new();

#[btf_map]
static HELD: HashMap<HolderKey, Held, MAX_HOLDERS, { BPF_F_NO_PREALLOC as usize }> = HashMap::new();

/// Arguments: where the pointer was put; bytes, or where the bytes of a row were put, and rows.
#[inline(always)]
pub(crate) fn allocated(hook: Hook, thread: &mut Thread) {
    let [result, bytes, rows, _] = thread.arguments;
    // Of no bytes there is no pointer either, and nothing to be freed.
    let Some(pointer) = user_word(result).filter(|pointer| *pointer != 0) else {
        return;
    };
    let bytes = if hook.argument(2) == NO_ARGUMENT {
        bytes
    } else {
        user_word(bytes).unwrap_or(0).wrapping_mul(rows)
    };
    thread.bytes = bytes;
    thread.shape[0] = pointer;
    let Some(sums) = sums_of(thread) else {
        return;
    };
    // SAFETY: the pointer is to a map's value; only an address is taken.
    atomic::add(unsafe { &raw mut (*sums).allocated_bytes }, bytes);
    let allocation = Allocation {
        bytes,
        since_ns: now_ns(),
        device: thread.device,
        agent: thread.agent,
        padding: 0,
    };
    let Some(held) = held_by(holder(thread.process, &allocation)) else {
        lost(ALLOCATIONS_FULL);
        return;
    };
    let key = address(hook, thread, pointer);
    // What is still there is no more: its context has ended, or nobody follows how it was freed.
    if let Some(gone) = ALLOCATIONS.get_ptr(key) {
        // SAFETY: what a program has found stays readable while it runs.
        no_longer_held(thread, unsafe { &*gone });
    }
    if ALLOCATIONS.insert(key, allocation, 0).is_err() {
        lost(ALLOCATIONS_FULL);
        return;
    }
    // SAFETY: as above.
    atomic::add(unsafe { &raw mut (*held).allocated_bytes }, bytes);
}

/// A free begins. Argument: the pointer.
///
/// What is freed is forgotten now, and not when the call returns: by then, the library may have
/// given the same address to another thread.
#[inline(always)]
pub(crate) fn frees(hook: Hook, thread: &mut Thread) {
    let key = address(hook, thread, thread.arguments[0]);
    let found = ALLOCATIONS.get_ptr_mut(key);
    // SAFETY: what a program has found stays readable while it runs.
    let allocation = found.map(|found| unsafe { *found });
    // Whoever removes the entry frees it; another thread may have been faster.
    let Some(allocation) = allocation.filter(|_| ALLOCATIONS.remove(key).is_ok()) else {
        return;
    };
    // The least used makes room, so that it cannot be full.
    let _ = FREED.insert(key, 1, 0);
    let of = u64::from(allocation.device) | u64::from(allocation.agent) << 16;
    thread.arguments = [
        thread.arguments[0],
        allocation.bytes,
        allocation.since_ns,
        of,
    ];
}

/// What a free that is about to return has found at its begin. Nothing was made at moment 0.
#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "16 bits each")]
fn found(thread: &Thread) -> Option<Allocation> {
    let [_, bytes, since_ns, of] = thread.arguments;
    (since_ns != 0).then_some(Allocation {
        bytes,
        since_ns,
        device: of as u16,
        agent: (of >> 16) as u16,
        padding: 0,
    })
}

/// Argument: the pointer. Freeing nothing is allowed, and nothing.
#[inline(always)]
pub(crate) fn freed(hook: Hook, thread: &mut Thread) {
    let Some(allocation) = found(thread) else {
        // A handle is released as often as somebody has retained it.
        if thread.arguments[0] != 0 && hook.variant() != space::HANDLE {
            unexpected(address(hook, thread, thread.arguments[0]), thread);
        }
        return;
    };
    thread.bytes = allocation.bytes;
    if let Some(sums) = sums_of(thread) {
        // SAFETY: as in `allocated`.
        atomic::add(unsafe { &raw mut (*sums).freed_bytes }, allocation.bytes);
    }
    no_longer_held(thread, &allocation);
}

#[inline(always)]
fn no_longer_held(thread: &Thread, allocation: &Allocation) {
    if let Some(held) = HELD.get_ptr_mut(holder(thread.process, allocation)) {
        // SAFETY: as in `allocated`.
        atomic::add(unsafe { &raw mut (*held).freed_bytes }, allocation.bytes);
    }
}

/// A free that the library refused. Argument: the pointer.
#[inline(always)]
pub(crate) fn not_freed(hook: Hook, thread: &Thread) {
    let key = address(hook, thread, thread.arguments[0]);
    let Some(allocation) = found(thread) else {
        if thread.arguments[0] != 0 {
            unexpected(key, thread);
        }
        return;
    };
    // It was refused for another reason, and is in use as before.
    if ALLOCATIONS.insert(key, allocation, 0).is_err() {
        lost(ALLOCATIONS_FULL);
    }
}

/// A free of what is not in use.
#[inline(always)]
fn unexpected(key: Address, thread: &Thread) {
    let Some(sums) = sums_of(thread) else {
        return;
    };
    // SAFETY: as in `allocated`.
    let count = unsafe {
        if FREED.get_ptr(key).is_some() {
            &raw mut (*sums).double_frees
        } else {
            &raw mut (*sums).unknown_frees
        }
    };
    atomic::add(count, 1);
}

/// What the thread's agent has done on this CPU.
#[inline(always)]
pub(crate) fn sums_of(thread: &Thread) -> Option<*mut Sums> {
    SUMS.get_ptr_mut(thread.agent.into())
}

#[inline(always)]
fn holder(process: ProcessId, allocation: &Allocation) -> HolderKey {
    HolderKey {
        process,
        agent: allocation.agent,
        device: allocation.device,
        padding: 0,
    }
}

/// What is allocated or freed. Handles of physical memory are kept apart from pointers by a bit that
/// no address of a process has.
#[inline(always)]
fn address(hook: Hook, thread: &Thread, pointer: u64) -> Address {
    let handle = hook.variant() == space::HANDLE;
    contexts::address(thread, pointer | u64::from(handle) << 63)
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
