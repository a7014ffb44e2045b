//! Family `syscalls`: every system call of the node, counted and timed in the kernel.
//!
//! Two raw tracepoints, the cheapest hooks there are. Nothing per event goes to userspace.

#![no_std]
#![no_main]
#![allow(
    clippy::needless_pass_by_value,
    reason = "the attribute macros hand the context over"
)]

use core::ops::RangeInclusive;

use aya_ebpf::{
    Global,
    bindings::{BPF_NOEXIST, pt_regs},
    btf_maps::{Array, PerCpuArray, PerCpuHashMap},
    helpers::{bpf_get_current_pid_tgid, bpf_probe_read_kernel, generated::bpf_ktime_get_ns},
    macros::{btf_map, raw_tracepoint},
    programs::RawTracePointContext,
};
use aya_log_ebpf::debug;
use monitoring_common::{
    agents::OTHER,
    syscalls::{
        COMPAT, CallKey, Calls, ErrorKey, HOT_ROWS, HotRow, INVALID, MAX_CALLS, MAX_ERRORS,
        MAX_HOT, NATIVE_CALLS, UNWATCHED, hot_column, hot_row,
        lost::{CALLS_FULL, ERRORS_FULL, TASK_STATE},
    },
    trace::{SystemCallDetail, flags, kind::SYSTEM_CALL},
};
use monitoring_ebpf::{
    ABSENT,
    agents::{agent_of, label_epoch},
    lost::lost,
    object,
    task_storage::Task,
    trace::{self, Event, RUNNING},
};

object!();

/// Counts only calls of watched agents.
#[unsafe(no_mangle)]
static WATCHED_ONLY: Global<u32> = Global::new(0);

/// Offset in `task_struct` of the word that tells a 32-bit call, and the bit that tells it.
#[unsafe(no_mangle)]
static COMPAT_OFFSET: Global<u32> = Global::new(ABSENT);
#[unsafe(no_mangle)]
static COMPAT_MASK: Global<u32> = Global::new(0);

/// Offset in `pt_regs` of the number of the running call.
#[unsafe(no_mangle)]
static NUMBER_OFFSET: Global<u32> = Global::new(ABSENT);

/// Calls that never return: `exit` and `exit_group` of both tables. These and the following are
/// in the form of `CallKey::syscall`.
#[unsafe(no_mangle)]
static EXITS: Global<[u32; 4]> = Global::new([ABSENT; 4]);

/// Calls that return once more, in the child.
#[unsafe(no_mangle)]
static FORKS: Global<[u32; 8]> = Global::new([ABSENT; 8]);

/// The time before which no call was seen to begin: what a task remembers from before is not of a call
/// that it is in. Its two halves, the lower one first.
#[unsafe(no_mangle)]
static BEGAN_NS: Global<u64> = Global::new(0);

/// Calls that are never spans: a bit for each number of the native table, and behind them for each of
/// the 32-bit table.
#[unsafe(no_mangle)]
static TRACE_NEVER: Global<[u32; NEVER_WORDS]> = Global::new([0; NEVER_WORDS]);

/// Words of two tables.
const NEVER_WORDS: usize = 2 * NATIVE_CALLS as usize / 32;

/// Calls whose return value is that of the call which a signal interrupted.
#[unsafe(no_mangle)]
static SIGRETURNS: Global<[u32; 4]> = Global::new([ABSENT; 4]);

#[btf_map]
static CALLS: PerCpuHashMap<CallKey, Calls, MAX_CALLS> = PerCpuHashMap::new();

#[btf_map]
static ERRORS: PerCpuHashMap<ErrorKey, u64, MAX_ERRORS> = PerCpuHashMap::new();

/// Places of the calls that are made often, by agent; written by the agent at each collection.
#[btf_map]
static HOT_PLACES: Array<HotRow, HOT_ROWS> = Array::new();

#[btf_map]
static HOT: PerCpuArray<Calls, MAX_HOT> = PerCpuArray::new();

static NO_CALLS: Calls = Calls::EMPTY;

/// `ERESTARTSYS` to `ERESTART_RESTARTBLOCK` of the kernel's `include/linux/errno.h`, which no program
/// ever sees.
const RESTARTS: RangeInclusive<u32> = 512..=516;

/// `TP_PROTO(struct pt_regs *regs, long id)`, since 4.17 for raw tracepoints. Runs in the task
/// that makes the call, with preemption off.
#[raw_tracepoint(tracepoint = "sys_enter")]
fn sys_enter(ctx: RawTracePointContext) -> i32 {
    let task = Task::current();
    let number: u64 = ctx.arg(1);
    let syscall = call_of(number, task);
    let Some(running) = RUNNING.get_or_create(task) else {
        lost(TASK_STATE);
        enter_without_state(syscall);
        return 0;
    };
    let epoch = label_epoch();
    if running.epoch != epoch {
        running.epoch = epoch;
        running.agent = agent_of(current_pid());
    }
    if running.agent == OTHER && WATCHED_ONLY.load() != 0 {
        running.start_ns = UNWATCHED;
        return 0;
    }
    if is_one_of(&EXITS, syscall) {
        count_untimed(CallKey {
            syscall,
            agent: running.agent,
        });
        return 0;
    }
    running.syscall = syscall;
    // SAFETY: the helper has no preconditions.
    running.start_ns = unsafe { bpf_ktime_get_ns() };
    0
}

/// A call of a task that the kernel has no memory for. Its return will count it, without a
/// duration, unless it has none.
#[inline(never)]
fn enter_without_state(syscall: u16) {
    let agent = agent_of(current_pid());
    let watched = agent != OTHER || WATCHED_ONLY.load() == 0;
    if watched && is_one_of(&EXITS, syscall) {
        count_untimed(CallKey { syscall, agent });
    }
}

/// `TP_PROTO(struct pt_regs *regs, long ret)`, since 4.17 for raw tracepoints. Runs in the task
/// that made the call, with preemption off.
#[raw_tracepoint(tracepoint = "sys_exit")]
fn sys_exit(ctx: RawTracePointContext) -> i32 {
    let result: i64 = ctx.arg(1);
    let task = Task::current();
    let running = RUNNING.get(task);
    let Some(running) = running.filter(|running| running.start_ns > BEGAN_NS.load()) else {
        exit_without_enter(&ctx, task, result);
        return 0;
    };
    let start_ns = running.start_ns;
    running.start_ns = 0;
    if start_ns == UNWATCHED {
        return 0;
    }
    let key = CallKey {
        syscall: running.syscall,
        agent: running.agent,
    };
    if let Some(calls) = calls_of(key) {
        // SAFETY: the helper has no preconditions.
        let now_ns = unsafe { bpf_ktime_get_ns() };
        let duration_ns = now_ns.wrapping_sub(start_ns);
        calls.timed.observe(duration_ns);
        if trace::is_long::<SYSTEM_CALL>(duration_ns) || is_failure(result) {
            became_candidate(key, start_ns, now_ns, result);
        }
    }
    count_error(key, result);
    0
}

/// Whether a call failed in a way that makes it a candidate.
#[inline(always)]
fn is_failure(result: i64) -> bool {
    errno_of(result).is_some_and(trace::is_failure::<SYSTEM_CALL>)
}

/// A call that may be a span. None is while others do not know of the family's calls: what happened
/// within it could not be told to have done so.
#[inline(never)]
fn became_candidate(key: CallKey, start_ns: u64, end_ns: u64, result: i64) {
    let column = u32::from(key.syscall & (NATIVE_CALLS - 1));
    let table = u32::from(key.syscall >> 15) * u32::from(NATIVE_CALLS);
    let is_known = key.syscall != INVALID;
    if !trace::is_current(start_ns) {
        return;
    }
    let is_never = trace::has_bit::<{ NEVER_WORDS as u64 - 1 }, NEVER_WORDS>;
    if is_known && is_never(&TRACE_NEVER, table + column) {
        return;
    }
    // What a signal's handler returns is the interrupted call's, and no error of its own. A call that
    // was interrupted goes on, or its handler has its program see another error.
    let errno = errno_of(result)
        .filter(|errno| !RESTARTS.contains(errno) && !is_one_of(&SIGRETURNS, key.syscall));
    let mut event = Event {
        start_ns,
        end_ns,
        window_start_ns: 0,
        chain: 0,
        code: 0,
        flags: 0,
        is_failure: false,
    };
    if let Some(errno) = errno {
        event.code = errno.cast_signed();
        event.flags = flags::FAILED;
        event.is_failure = trace::is_failure::<SYSTEM_CALL>(errno);
    }
    if !is_known {
        event.flags |= flags::UNKNOWN_CALL;
    } else if key.syscall & COMPAT != 0 {
        event.flags |= flags::COMPAT;
    }
    if !trace::may_be_chosen::<SYSTEM_CALL>(key.agent.into(), current_pid(), &event) {
        return;
    }
    let origin = trace::origin(key.agent, start_ns);
    event.chain = origin.chain(start_ns);
    if trace::chosen::<SYSTEM_CALL>(&origin, &mut event) {
        let detail = SystemCallDetail {
            result,
            syscall: key.syscall.into(),
            reserved: 0,
        };
        trace::tell::<SYSTEM_CALL, _>(&origin, &event, &detail);
    }
}

/// A return without an entry: of a call that was running when counting began, of one that a
/// seccomp filter refused (the kernel then skips the entry tracepoint), or of a new task from the
/// `clone` that made it, which is its parent's call and not its own.
#[inline(never)]
fn exit_without_enter(ctx: &RawTracePointContext, task: Task, result: i64) {
    let agent = agent_of(current_pid());
    if agent == OTHER && WATCHED_ONLY.load() != 0 {
        return;
    }
    let number = number_at_exit(ctx);
    let syscall = call_of(number, task);
    if result == 0 && is_one_of(&FORKS, syscall) {
        return;
    }
    let key = CallKey { syscall, agent };
    debug!(ctx, "return of system call {} without its entry", number);
    count_untimed(key);
    count_error(key, result);
}

/// The number that the exit tracepoint does not carry.
#[inline(always)]
fn number_at_exit(ctx: &RawTracePointContext) -> u64 {
    let offset = NUMBER_OFFSET.load();
    if offset == ABSENT {
        return u64::from(INVALID);
    }
    let regs: *const pt_regs = ctx.arg(0);
    // SAFETY: the tracepoint's first argument is the task's register frame; the read is checked.
    let number = unsafe { bpf_probe_read_kernel(regs.byte_add(offset as usize).cast::<u32>()) };
    number.map_or(u64::from(INVALID), u64::from)
}

/// Number and table in one: numbers of 32-bit processes mean other calls.
#[inline(always)]
fn call_of(number: u64, task: Task) -> u16 {
    let Some(number) = u16::try_from(number)
        .ok()
        .filter(|number| *number < NATIVE_CALLS)
    else {
        return INVALID;
    };
    let offset = COMPAT_OFFSET.load();
    if offset != ABSENT && task.read::<u32>(offset) & COMPAT_MASK.load() != 0 {
        return number | COMPAT;
    }
    number
}

#[inline(always)]
fn count_untimed(key: CallKey) {
    if let Some(calls) = calls_of(key) {
        calls.untimed = calls.untimed.wrapping_add(1);
    }
}

/// This CPU's calls of a key, entered at its first use. Counts a loss when the map is full.
#[inline(always)]
fn calls_of(key: CallKey) -> Option<&'static mut Calls> {
    let mut calls = hot_calls_of(key).or_else(|| CALLS.get_ptr_mut(key));
    if calls.is_none() {
        // Another CPU may be first; its entry serves as well.
        #[allow(clippy::needless_borrows_for_generic_args, reason = "240 bytes")]
        let _ = CALLS.insert(key, &NO_CALLS, BPF_NOEXIST.into());
        calls = CALLS.get_ptr_mut(key);
    }
    if calls.is_none() {
        lost(CALLS_FULL);
    }
    // SAFETY: the value is this CPU's, and preemption is off while the program runs. Entries are
    // never removed, so the pointer stays good.
    calls.map(|calls| unsafe { &mut *calls })
}

/// This CPU's calls of a key that has a place. What was counted before it had one stays in `CALLS`;
/// the agent adds both.
#[inline(always)]
fn hot_calls_of(key: CallKey) -> Option<*mut Calls> {
    let row = HOT_PLACES.get(hot_row(key))?;
    let place = *row.places.get(hot_column(key.syscall))?;
    if place == 0 {
        return None;
    }
    HOT.get_ptr_mut(place.into())
}

/// Results from -4095 to -1 are errors, as in the kernel's `IS_ERR_VALUE`.
#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "at most 4095")]
fn errno_of(result: i64) -> Option<u32> {
    let is_error = (-4095..0).contains(&result);
    is_error.then(|| result.unsigned_abs() as u32)
}

#[inline(always)]
fn count_error(call: CallKey, result: i64) {
    let Some(errno) = errno_of(result) else {
        return;
    };
    if is_one_of(&SIGRETURNS, call.syscall) {
        return;
    }
    let key = ErrorKey { call, errno };
    if let Some(count) = ERRORS.get_ptr_mut(key) {
        // SAFETY: as in `calls_of`.
        unsafe { *count += 1 };
        return;
    }
    let _ = ERRORS.insert(key, 0, BPF_NOEXIST.into());
    match ERRORS.get_ptr_mut(key) {
        // SAFETY: as in `calls_of`.
        Some(count) => unsafe { *count += 1 },
        None => lost(ERRORS_FULL),
    }
}

#[inline(always)]
fn is_one_of<const N: usize>(calls: &Global<[u32; N]>, syscall: u16) -> bool {
    calls.load().contains(&u32::from(syscall))
}

#[inline(always)]
fn current_pid() -> u32 {
    (bpf_get_current_pid_tgid() >> 32) as u32
}
