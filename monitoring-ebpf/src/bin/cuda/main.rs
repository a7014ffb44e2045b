//! Family `cuda`: calls into CUDA's libraries, counted and timed in the kernel.
//!
//! One program stands at the first instruction of every function, one at its return, or one at
//! both; what the function is comes as the attach point's cookie. A runtime function makes driver
//! calls of its own: only a thread's outermost call counts, so that one logical call is one.
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
mod copies;
mod cost;
mod launches;
mod memory;
mod processes;
mod registers;
mod rooms;
mod spans;
mod telling;
mod waiting;
mod windows;

use aya_ebpf::{
    EbpfContext as _,
    cty::c_void,
    helpers::{
        bpf_get_current_pid_tgid,
        generated::{bpf_get_attach_cookie, bpf_get_func_ip, bpf_ktime_get_ns},
    },
    macros::{btf_map, uprobe, uretprobe},
    programs::{ProbeContext, RetProbeContext},
};
use monitoring_common::cuda::{
    Hook, Thread, ended,
    kind::{
        ALIAS_FUNCTION, ALLOC, COPY, COPY_BATCH, COPY_STRUCTURE, CREATE_CONTEXT, FREE, GET_CONTEXT,
        GET_FUNCTION, GRAPH_LAUNCH, LAUNCH, LAUNCH_EX, NAME_FUNCTION, PLAIN, POP_CONTEXT,
        PUSH_CONTEXT, RECORD_EVENT, SET, SET_CONTEXT, SET_DEVICE, SYNC, SYNC_EVENT,
    },
    lost::{NO_RETURN, THREAD_STATE},
};
use monitoring_ebpf::{
    agents::{agent_of, label_epoch},
    lost::lost,
    object,
    task_storage::{Task, TaskStorage},
    trace,
};

use crate::registers::{RETURN_ADDRESS, Registers};

object!();

/// The call that each thread is in.
#[btf_map]
static THREADS: TaskStorage<Thread> = TaskStorage::new();

/// Runs at the first instruction of a function, in the thread that calls it, where another program
/// runs at its return.
#[uprobe]
fn cuda_enter(ctx: ProbeContext) -> u32 {
    enter(&ctx);
    0
}

/// Runs when a function has returned, in the thread that called it.
#[uretprobe]
fn cuda_return(ctx: RetProbeContext) -> u32 {
    leave(Registers::of(ctx.regs));
    0
}

/// Runs at both (`BPF_TRACE_UPROBE_SESSION`, since 6.13). What it returns at the entry says whether
/// the return may be skipped, which then costs nothing; aya's attribute would return 0 always.
#[unsafe(no_mangle)]
#[unsafe(link_section = "uprobe")]
#[allow(
    clippy::no_mangle_with_rust_abi,
    reason = "one pointer in, one number out"
)]
fn cuda_session(ctx: *mut c_void) -> u32 {
    let probe = ProbeContext::new(ctx);
    let registers = Registers::of(probe.regs);
    // SAFETY: the context is the program's own.
    if unsafe { bpf_get_func_ip(ctx) } == registers.instruction() {
        u32::from(!enter(&probe))
    } else {
        leave(registers);
        0
    }
}

/// A function was entered. Whether its return is of interest.
#[inline(always)]
fn enter(ctx: &ProbeContext) -> bool {
    let registers = Registers::of(ctx.regs);
    let Some(thread) = THREADS.get_or_create(Task::current()) else {
        lost(THREAD_STATE);
        return false;
    };
    let stack = registers.stack();
    let hook = hook(ctx.as_ptr());
    if thread.stack != 0 {
        // A leaf contains no other call: if it is counted at entry by now, its probe at the return
        // was taken away while it ran.
        let outermost = Hook(thread.hook);
        let missed = outermost.is_leaf() && cost::is_untimed(thread.agent);
        if !missed && is_part(hook, outermost, thread, stack) {
            thread.nested = thread.nested.wrapping_add(1);
            return false;
        }
        if missed {
            copies::not_timed(outermost, thread, false);
        } else {
            // It was left by an exception or a jump, or its probe was taken away while it ran.
            lost(NO_RETURN);
        }
        processes::leave(thread);
    }
    processes::process_of(thread);
    if hook.kind() == NAME_FUNCTION {
        // It calls nothing, and its return tells nothing.
        let [function, name, _, _] = arguments(registers, hook);
        launches::register(thread, function, name);
        return false;
    }
    let epoch = label_epoch();
    if thread.epoch != epoch {
        thread.epoch = epoch;
        thread.agent = agent_of(pid());
    }
    if matches!(hook.kind(), LAUNCH | LAUNCH_EX) {
        launches::entered(hook, thread, registers);
    } else if hook.kind() != PLAIN {
        thread.arguments = arguments(registers, hook);
    }
    if hook.is_leaf() && cost::is_untimed(thread.agent) {
        entered_only(hook, thread);
        return false;
    }
    if hook.kind() == FREE {
        memory::frees(hook, thread);
    }
    thread.stack = stack;
    thread.hook = hook.0;
    thread.nested = 0;
    thread.again = 0;
    thread.entered_ns = now_ns();
    windows::divides(hook, thread);
    if hook.waits() {
        waiting::waits(thread);
    }
    true
}

/// Whether a function that was entered is part of the thread's outermost call. Where it is not, that
/// one has ended, and nobody has seen it: a thread that took all that follows for parts of it would
/// never be counted again.
#[inline(always)]
fn is_part(hook: Hook, outermost: Hook, thread: &mut Thread, stack: u64) -> bool {
    if stack != thread.stack || !hook.is_same_function(outermost) {
        // Stacks grow downwards: what is called from within the outermost call is below it.
        return stack < thread.stack && processes::is_awaited(thread);
    }
    // The same call is met again where two files turn out to be one, as in two containers of one
    // image, and have a probe each: each of them once. Met by the same one it is another call.
    let attachment = hook.attachment();
    if attachment == outermost.attachment() {
        return false;
    }
    if attachment == thread.again {
        // So was the one before, and the probe that met the outermost call is no more.
        calls::count_untimed(outermost, thread.agent);
        return false;
    }
    thread.again = attachment;
    cost::repeated();
    true
}

/// A function was entered whose return nobody will look at.
#[inline(always)]
fn entered_only(hook: Hook, thread: &mut Thread) {
    calls::count_entered(hook, thread.agent);
    if trace::is_on() {
        thread.bytes = telling::UNKNOWN;
    }
    copies::not_timed(hook, thread, true);
    if trace::is_on() && thread.room != 0 {
        telling::untimed(thread, hook);
    }
}

/// A function has returned.
#[inline(always)]
fn leave(registers: Registers) {
    let left_ns = now_ns();
    let Some(thread) = THREADS.get(Task::current()) else {
        return;
    };
    // The return of a call within the outermost one, or of one that was entered before another
    // took its place.
    if thread.stack == 0 || thread.stack + RETURN_ADDRESS != registers.stack() {
        return;
    }
    thread.stack = 0;
    let hook = Hook(thread.hook);
    let code = registers.result();
    if hook.kind() == ALIAS_FUNCTION {
        // Compilers' own bookkeeping, at each launch perhaps: no call of the program's. What it
        // calls in turn is none either.
        if code == 0 {
            launches::aliased(thread);
        }
        return;
    }
    let duration_ns = cost::corrected(thread, left_ns);
    calls::count(hook, thread.agent, duration_ns);
    if hook.waits() {
        waiting::waited(thread, duration_ns);
    }
    if trace::is_on() {
        thread.bytes = telling::UNKNOWN;
        thread.ended = ended::NOTHING;
        thread.code = code;
    }
    if code == 0 {
        succeeded(hook, thread, left_ns);
    } else {
        calls::count_error(hook, thread.agent, code);
        match hook.kind() {
            FREE => memory::not_freed(hook, thread),
            SYNC | SYNC_EVENT if trace::is_on() && hook.waits() => windows::failed(hook, thread),
            _ => {}
        }
    }
    if trace::is_on() && thread.ended != ended::NOTHING {
        spans::ended(thread, left_ns);
    } else if telling::is_of_interest(hook, thread, duration_ns) {
        telling::tell(thread, duration_ns);
    }
}

/// A function has returned that did what it was asked for.
#[inline(always)]
fn succeeded(hook: Hook, thread: &mut Thread, left_ns: u64) {
    match hook.kind() {
        COPY => copies::copied(hook, thread, left_ns),
        COPY_STRUCTURE => copies::copied_structure(hook.variant(), thread),
        COPY_BATCH => copies::copied_batch(thread),
        SET => copies::set(hook, thread),
        ALLOC => memory::allocated(hook, thread),
        FREE => memory::freed(hook, thread),
        SYNC => windows::synchronized(hook, thread, left_ns),
        SYNC_EVENT => windows::event_ended(thread, left_ns),
        RECORD_EVENT => windows::recorded(thread),
        GRAPH_LAUNCH => launches::graph(thread),
        SET_DEVICE => contexts::device_chosen(thread),
        SET_CONTEXT => contexts::context_chosen(thread),
        PUSH_CONTEXT => contexts::context_pushed(thread),
        POP_CONTEXT => contexts::context_popped(thread),
        GET_CONTEXT => contexts::context_of_device(thread),
        CREATE_CONTEXT => contexts::context_created(thread),
        GET_FUNCTION => launches::got(thread),
        _ => {}
    }
}

#[inline(always)]
fn arguments(registers: Registers, hook: Hook) -> [u64; 4] {
    registers.at([0, 1, 2, 3].map(|place| hook.argument(place)))
}

/// What stands at this attach point.
#[inline(always)]
fn hook(context: *mut c_void) -> Hook {
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
