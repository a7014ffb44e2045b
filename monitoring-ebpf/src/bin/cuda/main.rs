//! Family `cuda`: calls into CUDA's libraries, counted and timed in the kernel.
//!
//! One program stands at the first instruction of every function, one at its return; what the
//! function is comes as the attach point's cookie. A runtime function makes driver calls of its
//! own: only a thread's outermost call counts, so that one logical call is one.
//!
//! Since 6.0 the kernel lets another task in between while such a program runs, so that a per-CPU
//! value is not this program's alone: everything that counts is added to in one instruction.

#![no_std]
#![no_main]
#![allow(
    clippy::needless_pass_by_value,
    reason = "the attribute macros hand the context over"
)]

mod calls;
mod contexts;
mod launches;
mod memory;
mod registers;
mod windows;

use aya_ebpf::{
    EbpfContext as _,
    helpers::{
        bpf_get_current_pid_tgid,
        generated::{bpf_get_attach_cookie, bpf_ktime_get_ns},
    },
    macros::{btf_map, uprobe, uretprobe},
    programs::{ProbeContext, RetProbeContext},
};
use monitoring_common::cuda::{
    Hook, Thread,
    kind::{
        ALIAS_FUNCTION, ALLOC, COPY, FREE, GET_CONTEXT, GET_FUNCTION, GRAPH_LAUNCH, LAUNCH,
        LAUNCH_EX, NAME_FUNCTION, SET_CONTEXT, SET_DEVICE, SYNC,
    },
    lost::{NO_RETURN, THREAD_STATE},
};
use monitoring_ebpf::{
    agents::{agent_of, label_epoch},
    lost::lost,
    object,
    task_storage::{Task, TaskStorage},
};

use crate::registers::{RETURN_ADDRESS, Registers};

object!();

/// The call that each thread is in.
#[btf_map]
static THREADS: TaskStorage<Thread> = TaskStorage::new();

/// Runs at the first instruction of a function, in the thread that calls it.
#[uprobe]
fn cuda_enter(ctx: ProbeContext) -> u32 {
    let registers = Registers::of(ctx.regs);
    let Some(thread) = THREADS.get_or_create(Task::current()) else {
        lost(THREAD_STATE);
        return 0;
    };
    let stack = registers.stack();
    let hook = hook(ctx.as_ptr());
    if thread.stack != 0 {
        // Stacks grow downwards: what is called from within the outermost call is below it. The
        // same call is met again where two files turn out to be one, as in two containers of one
        // image, and have a probe each.
        if stack < thread.stack || (stack == thread.stack && hook.0 == thread.hook) {
            return 0;
        }
        // That one has not returned, and its frame is gone: it was left by an exception or a jump.
        lost(NO_RETURN);
        calls::count_untimed(Hook(thread.hook), thread.agent);
    }
    if hook.kind() == NAME_FUNCTION {
        // It calls nothing, and its return tells nothing.
        let [function, name, _, _] = arguments(registers, hook);
        launches::register(function, name);
        return 0;
    }
    let epoch = label_epoch();
    if thread.epoch != epoch {
        thread.epoch = epoch;
        thread.agent = agent_of(pid());
    }
    thread.stack = stack;
    thread.hook = hook.0;
    thread.arguments = arguments(registers, hook);
    if matches!(hook.kind(), LAUNCH | LAUNCH_EX) {
        launches::entered(hook, thread);
    }
    thread.entered_ns = now_ns();
    0
}

/// Runs when a function has returned, in the thread that called it.
#[uretprobe]
fn cuda_return(ctx: RetProbeContext) -> u32 {
    let left_ns = now_ns();
    let registers = Registers::of(ctx.regs);
    let Some(thread) = THREADS.get(Task::current()) else {
        return 0;
    };
    // The return of a call within the outermost one, or of one that was entered before another
    // took its place.
    if thread.stack == 0 || thread.stack + RETURN_ADDRESS != registers.stack() {
        return 0;
    }
    thread.stack = 0;
    let hook = Hook(thread.hook);
    let code: u32 = ctx.ret();
    if hook.kind() == ALIAS_FUNCTION {
        // Compilers' own bookkeeping, at each launch perhaps: no call of the program's. What it
        // calls in turn is none either.
        if code == 0 {
            launches::aliased(thread);
        }
        return 0;
    }
    let duration_ns = left_ns.wrapping_sub(thread.entered_ns);
    calls::count(hook, thread.agent, duration_ns);
    if hook.waits() {
        windows::waited(thread, duration_ns);
    }
    if code != 0 {
        calls::count_error(hook, thread.agent, code);
        return 0;
    }
    match hook.kind() {
        COPY => memory::copied(hook, thread),
        ALLOC => memory::allocated(hook, thread),
        FREE => memory::freed(thread),
        SYNC => windows::ended(hook, thread, left_ns),
        GRAPH_LAUNCH => launches::graph(thread),
        SET_DEVICE => contexts::device_chosen(thread),
        SET_CONTEXT => contexts::context_chosen(thread),
        GET_CONTEXT => contexts::context_of_device(thread),
        GET_FUNCTION => launches::got(thread),
        _ => {}
    }
    0
}

#[inline(always)]
fn arguments(registers: Registers, hook: Hook) -> [u64; 4] {
    registers.at([0, 1, 2, 3].map(|place| hook.argument(place)))
}

/// What stands at this attach point.
#[inline(always)]
fn hook(context: *mut aya_ebpf::cty::c_void) -> Hook {
    // SAFETY: the context is the program's own.
    Hook(unsafe { bpf_get_attach_cookie(context) })
}

#[inline(always)]
fn pid() -> u32 {
    (bpf_get_current_pid_tgid() >> 32) as u32
}

#[inline(always)]
fn now_ns() -> u64 {
    // SAFETY: the helper has no preconditions.
    unsafe { bpf_ktime_get_ns() }
}
