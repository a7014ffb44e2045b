//! Family `swarm`: what applications say of their agents.
//!
//! One program stands at the places that the notes of a file tell (USDT); which hook it is comes as
//! the attach point's cookie. What happens is summed under the name that the application gives; what
//! is so now is kept as it was said last, by process. A name is looked at only if the process is a
//! watched one: whoever can run a program on the node could otherwise fill the maps.
//!
//! Since 6.0 the kernel lets another task in between while such a program runs, so that a per-CPU
//! value is not this program's alone: it is added to in one instruction.

#![no_std]
#![no_main]
#![allow(
    clippy::needless_pass_by_value,
    reason = "the attribute macros hand the context over"
)]
#![allow(
    clippy::needless_borrows_for_generic_args,
    reason = "names take 64 bytes, and keys of reports 152"
)]

use aya_ebpf::{
    EbpfContext as _, Global,
    bindings::{BPF_ANY, BPF_F_NO_PREALLOC, BPF_NOEXIST, pt_regs},
    btf_maps::{HashMap, PerCpuArray, PerCpuHashMap},
    cty::c_void,
    helpers::{
        bpf_get_current_pid_tgid,
        generated::{bpf_get_attach_cookie, bpf_ktime_get_ns, bpf_probe_read_user},
    },
    macros::{btf_map, uprobe},
    programs::ProbeContext,
};
use monitoring_common::{
    agents::{OTHER, start_ticks},
    swarm::{
        COUNTS as PLACES, Counts, MAX_NAME, MAX_NAMES, MAX_REPORTS, NAME_BYTES, Name, Report,
        ReportKey, TO_BYTES,
        hook::{GENERATION, GOAL_FAILED, MESSAGE_RECEIVED, MESSAGE_SENT, RESOURCE_ALLOCATED},
        lost::{NAME_TOO_LONG, NAME_UNREADABLE, NAMES_FULL, REPORTS_FULL},
    },
};
use monitoring_ebpf::{
    ABSENT, agents::agent_of, atomic, bounds::within, lost::lost, object, task_storage::Task,
};

object!();

/// `group_leader` in `task_struct`.
#[unsafe(no_mangle)]
static GROUP_LEADER: Global<u32> = Global::new(ABSENT);

/// `start_boottime` in `task_struct`: nanoseconds.
#[unsafe(no_mangle)]
static START_BOOTTIME: Global<u32> = Global::new(ABSENT);

/// `mm` in `task_struct`.
#[unsafe(no_mangle)]
static MM: Global<u32> = Global::new(ABSENT);

/// `start_stack` in `mm_struct`.
#[unsafe(no_mangle)]
static START_STACK: Global<u32> = Global::new(ABSENT);

/// What happened, by the name that a watched process gave.
#[btf_map]
static NAMED: PerCpuHashMap<Name, Counts, MAX_NAMES, { BPF_F_NO_PREALLOC as usize }> =
    PerCpuHashMap::new();

/// What happened in processes that nobody watches, or under a name that there is no room for.
#[btf_map]
static OTHERS: PerCpuArray<Counts, 1> = PerCpuArray::new();

/// What watched processes said last.
#[btf_map]
static REPORTS: HashMap<ReportKey, Report, MAX_REPORTS, { BPF_F_NO_PREALLOC as usize }> =
    HashMap::new();

static NO_COUNTS: Counts = Counts::EMPTY;

/// A hook's arguments: the registers in which functions get theirs.
type Arguments = [u64; 5];

/// Runs at a hook, in the thread that calls it.
#[uprobe]
fn swarm_hook(ctx: ProbeContext) -> u32 {
    // SAFETY: the context is the program's own.
    let hook = unsafe { bpf_get_attach_cookie(ctx.as_ptr()) };
    let arguments = arguments(ctx.regs);
    let pid = (bpf_get_current_pid_tgid() >> 32) as u32;
    let watched = agent_of(pid) != OTHER;
    if hook <= GOAL_FAILED {
        count(hook, arguments, watched);
    } else if watched {
        report(hook, arguments, pid);
    }
    0
}

#[cfg(bpf_target_arch = "x86_64")]
#[inline(always)]
fn arguments(registers: *const pt_regs) -> Arguments {
    // SAFETY: the context is valid while the program runs.
    let registers = unsafe { &*registers };
    [
        registers.rdi,
        registers.rsi,
        registers.rdx,
        registers.rcx,
        registers.r8,
    ]
}

#[cfg(not(bpf_target_arch = "x86_64"))]
#[inline(always)]
fn arguments(registers: *const pt_regs) -> Arguments {
    // SAFETY: the context is valid while the program runs.
    let registers = unsafe { &(*registers).regs };
    core::array::from_fn(|place| registers[place])
}

/// Adds to what happened.
#[inline(always)]
fn count(hook: u64, [name, length, bytes, ..]: Arguments, watched: bool) {
    let named = if watched {
        named(name, length).inspect_err(|reason| lost(*reason)).ok()
    } else {
        None
    };
    let Some(counts) = named.or_else(|| OTHERS.get_ptr_mut(0)) else {
        return;
    };
    add(counts, hook, 1);
    if hook == MESSAGE_SENT || hook == MESSAGE_RECEIVED {
        add(counts, hook + TO_BYTES, bytes);
    }
}

#[inline(always)]
fn add(counts: *mut Counts, place: u64, more: u64) {
    let place = within::<{ PLACES as u64 - 1 }>(place);
    // SAFETY: the pointer is to a map's value; only an address is taken, and it is within.
    atomic::add(
        unsafe { (&raw mut (*counts).sums).cast::<u64>().add(place) },
        more,
    );
}

/// The counts under a name, or why there are none.
#[inline(always)]
fn named(text: u64, length: u64) -> Result<*mut Counts, u32> {
    let mut name = Name::EMPTY;
    read(&mut name, text, length)?;
    if let Some(counts) = NAMED.get_ptr_mut(&name) {
        return Ok(counts);
    }
    // Another CPU may be first; its entry serves as well.
    let _ = NAMED.insert(&name, &NO_COUNTS, BPF_NOEXIST.into());
    NAMED.get_ptr_mut(&name).ok_or(NAMES_FULL)
}

/// Keeps what is so now.
#[inline(always)]
fn report(hook: u64, arguments: Arguments, pid: u32) {
    let task = Task::current();
    let leader = task.follow(GROUP_LEADER.load());
    let mut key = ReportKey {
        names: [Name::EMPTY; 2],
        stack: task.follow(MM.load()).read(START_STACK.load()),
        hook,
        pid,
        started_ticks: start_ticks(leader.read(START_BOOTTIME.load())),
    };
    let [first, first_length, second, third, fourth] = arguments;
    let mut read_all = || {
        read(&mut key.names[0], first, first_length)?;
        if hook == RESOURCE_ALLOCATED {
            read(&mut key.names[1], second, third)?;
        }
        Ok(())
    };
    if let Err(reason) = read_all() {
        lost(reason);
        return;
    }
    let values = match hook {
        GENERATION => [second, third, fourth],
        RESOURCE_ALLOCATED => [fourth, 0, 0],
        _ => [second, 0, 0],
    };
    // SAFETY: the helper has no preconditions.
    let at_ns = unsafe { bpf_ktime_get_ns() };
    // As a whole: its parts belong together.
    if REPORTS
        .insert(&key, &Report { at_ns, values }, BPF_ANY.into())
        .is_err()
    {
        lost(REPORTS_FULL);
    }
}

/// Reads a name of the process's memory into an empty one, or says why not.
#[inline(always)]
#[allow(
    clippy::cast_possible_truncation,
    reason = "a length below 64, and BPF has 64 bits"
)]
fn read(name: &mut Name, text: u64, length: u64) -> Result<(), u32> {
    if length > MAX_NAME {
        return Err(NAME_TOO_LONG);
    }
    let length = within::<MAX_NAME>(length);
    let to = (&raw mut name.0).cast::<c_void>();
    let from = core::ptr::with_exposed_provenance::<c_void>(text as usize);
    // SAFETY: there is room for as much, and the helper checks the address, which a process may have
    // made up.
    if unsafe { bpf_probe_read_user(to, length as u32, from) } != 0 {
        return Err(NAME_UNREADABLE);
    }
    name.0[NAME_BYTES - 1] = length as u8;
    Ok(())
}
