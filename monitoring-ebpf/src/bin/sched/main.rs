//! Family `sched`: context switches, how long tasks wait for a CPU, and why they are not on one.
//!
//! These programs run at every context switch and every wakeup of the node. Sums go to per-CPU
//! arrays; nothing per event goes to userspace but what `gaps` tells of, which were long. What a task was doing when it left its CPU is kept
//! in its own storage.
//!
//! # Who may touch a task's state at a time
//!
//! `sched_switch`, `sched_wakeup` and `sched_wakeup_new` run with the run queue locked that the
//! task is on, and a waker waits until the task has left its CPU for good (`on_cpu`) before it
//! queues it, so that a task's events come one after the other, each seeing what the last one
//! wrote. One exception: a task that wakes itself before it slept is woken without that lock, but
//! on its own CPU and not in the middle of a switch; it is on its CPU, so that nothing is written.
//! The pass over all tasks (`pass`) takes no lock and writes no state that exists.

#![no_std]
#![no_main]
#![allow(
    clippy::needless_pass_by_value,
    reason = "the attribute macros hand the context over"
)]

mod gaps;
mod pass;
mod totals;

use aya_ebpf::{
    Global,
    btf_maps::Array,
    helpers::generated::bpf_ktime_get_ns,
    macros::{btf_map, btf_tracepoint},
    programs::BtfTracePointContext,
};
use monitoring_common::{
    agents::AgentId,
    sched::{
        TaskState,
        kind::{INVOLUNTARY, VOLUNTARY},
        lost::{ARRIVAL, SWITCH, TASK_STATE, WAKEUP},
        reason::{PREEMPTED, RUNQUEUE},
    },
};
use monitoring_ebpf::{
    ABSENT,
    agents::{agent_of, label_epoch},
    lost::lost,
    object, reason, switch,
    task_storage::{Task, TaskStorage},
};

use crate::totals::TotalsOf;

object!();

/// Offset in `task_struct` of `nvcsw`, the number of voluntary switches.
#[unsafe(no_mangle)]
static VOLUNTARY_OFFSET: Global<u32> = Global::new(ABSENT);

/// What each task remembers. Created by `task_newtask` and `pass`; the programs that run with a
/// run queue locked only look, because making room there may deadlock before 6.4.
#[btf_map]
static TASKS: TaskStorage<TaskState> = TaskStorage::new();

/// Not 0 once every task of the node has been given a state. From then on one that has none is a
/// loss.
#[btf_map]
static COMPLETE: Array<u32, 1> = Array::new();

/// `TP_PROTO(bool preempt, struct task_struct *prev, struct task_struct *next, unsigned int
/// prev_state)`, the last since 5.18; typed since 5.5. Runs in `prev`, with the run queue locked
/// and interrupts off, after the kernel has counted the switch.
#[btf_tracepoint(function = "sched_switch")]
fn sched_switch(ctx: BtfTracePointContext) -> i32 {
    let now_ns = now_ns();
    let epoch = label_epoch();
    let mut totals = TotalsOf::nobody();
    let prev = Task::from_argument(ctx.arg(1));
    if !is_idle(prev) {
        leave(&ctx, prev, now_ns, epoch, &mut totals);
    }
    let next = Task::from_argument(ctx.arg(2));
    if !is_idle(next) {
        arrive(next, now_ns, epoch, &mut totals);
    }
    0
}

/// A task leaves its CPU.
#[inline(always)]
fn leave(ctx: &BtfTracePointContext, task: Task, now_ns: u64, epoch: u32, totals: &mut TotalsOf) {
    let Some(state) = TASKS.get(task) else {
        return stateless();
    };
    relabel(state, task, epoch);
    // It comes from a CPU that it was never seen to get, unless it was on it when it was first
    // seen: then it has a state that nothing else has.
    if state.off_ns != 0 && !(state.reason == PREEMPTED && state.queued_ns == 0) {
        lost(ARRIVAL);
    }
    // The kernel's own count decides. It is not quite what the arguments say: a task that wanted
    // to sleep but has a signal pending stays runnable, and its switch is voluntary.
    let voluntary = task.read(VOLUNTARY_OFFSET.load());
    let kind = if voluntary == state.voluntary {
        INVOLUNTARY
    } else {
        VOLUNTARY
    };
    state.voluntary = voluntary;
    if let Some(totals) = totals.of(state.agent) {
        totals.switches[kind] += 1;
    }
    let Some(slept_in) = switch::slept_in(ctx, task) else {
        state.reason = PREEMPTED;
        state.queued_ns = now_ns;
        state.off_ns = now_ns;
        return;
    };
    state.reason = reason::of_sleep(task, slept_in);
    state.queued_ns = 0;
    state.off_ns = if reason::is_dead(slept_in) { 0 } else { now_ns };
}

/// A task gets a CPU. What lies behind it counts for the agent that it has now.
#[inline(always)]
fn arrive(task: Task, now_ns: u64, epoch: u32, totals: &mut TotalsOf) {
    // Its lack is counted when it leaves.
    let Some(state) = TASKS.get(task) else { return };
    let off_ns = state.off_ns;
    if off_ns == 0 {
        return;
    }
    state.off_ns = 0;
    relabel(state, task, epoch);
    gaps::ended(task, state, off_ns, now_ns);
    let Some(totals) = totals.of(state.agent) else {
        return;
    };
    let queued_ns = state.queued_ns;
    if queued_ns == 0 {
        // Preempted before it was first seen; or a wakeup came in the middle of another one, or,
        // before 6.2, of an access to some task's storage on the same CPU.
        if state.reason != PREEMPTED {
            lost(WAKEUP);
        }
        totals::add(totals, state.reason, now_ns.saturating_sub(off_ns));
        return;
    }
    let waited_ns = now_ns.saturating_sub(queued_ns);
    totals.waits.observe(waited_ns);
    if state.reason == PREEMPTED {
        totals::add(totals, PREEMPTED, waited_ns);
    } else {
        totals::add(totals, state.reason, queued_ns.saturating_sub(off_ns));
        totals::add(totals, RUNQUEUE, waited_ns);
    }
}

/// `TP_PROTO(struct task_struct *p)`, typed since 5.5. Runs in the waker or in an interrupt, with
/// the run queue locked that `p` was put on.
#[btf_tracepoint(function = "sched_wakeup")]
fn sched_wakeup(ctx: BtfTracePointContext) -> i32 {
    // Its lack is counted when it leaves its CPU.
    let Some(state) = TASKS.get(Task::from_argument(ctx.arg(0))) else {
        return 0;
    };
    // A task that is still on its CPU or still queued is woken from nothing.
    if state.off_ns != 0 && state.queued_ns == 0 {
        state.queued_ns = now_ns();
    }
    0
}

/// `TP_PROTO(struct task_struct *p)`, typed since 5.5. Runs in the parent, with the run queue
/// locked that `p` was put on. A new task's first wait for a CPU begins here.
#[btf_tracepoint(function = "sched_wakeup_new")]
fn sched_wakeup_new(ctx: BtfTracePointContext) -> i32 {
    // Its lack is counted when it leaves its CPU.
    let Some(state) = TASKS.get(Task::from_argument(ctx.arg(0))) else {
        return 0;
    };
    let now_ns = now_ns();
    state.reason = RUNQUEUE;
    state.queued_ns = now_ns;
    state.off_ns = now_ns;
    0
}

/// `TP_PROTO(struct task_struct *task, unsigned long clone_flags)`, typed since 5.5. Runs in the
/// parent, without locks, before the new task is woken for the first time.
///
/// Not `sched_process_fork`, which is silent about workers that the kernel makes in a process, as
/// `io_uring` does.
#[btf_tracepoint(function = "task_newtask")]
fn task_newtask(ctx: BtfTracePointContext) -> i32 {
    let task = Task::from_argument(ctx.arg(0));
    // The idle task of a CPU that comes online.
    if is_idle(task) {
        return 0;
    }
    // Zeros: not yet off a CPU, no switch yet, and the agent is looked up when it matters.
    if TASKS.get_or_create(task).is_none() {
        lost(TASK_STATE);
    }
    0
}

/// Brings a task's agent up to date.
#[inline(always)]
fn relabel(state: &mut TaskState, task: Task, epoch: u32) {
    if state.epoch != epoch {
        state.epoch = epoch;
        state.agent = agent(task);
    }
}

#[inline(always)]
fn agent(task: Task) -> AgentId {
    agent_of(switch::process(task))
}

/// Each CPU's idle task has the number 0. Idling is no work, and its end no waiting.
#[inline(always)]
fn is_idle(task: Task) -> bool {
    switch::thread(task) == 0
}

/// A task without a state leaves its CPU. That is a loss once every task should have one.
#[inline(never)]
fn stateless() {
    if COMPLETE.get(0).is_some_and(|complete| *complete != 0) {
        lost(SWITCH);
    }
}

#[inline(always)]
fn now_ns() -> u64 {
    // SAFETY: the helper has no preconditions.
    unsafe { bpf_ktime_get_ns() }
}
