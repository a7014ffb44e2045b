//! Family `sched`: how long tasks wait for a CPU, and why they are not on one.

#![no_std]
#![no_main]
#![allow(
    clippy::needless_pass_by_value,
    reason = "the attribute macros hand the context over"
)]

use aya_ebpf::{
    bindings::task_struct,
    helpers::generated::bpf_ktime_get_ns,
    macros::{btf_map, btf_tracepoint},
    programs::BtfTracePointContext,
};
use monitoring_common::sched::{TaskState, lost::TASK_STATE};
use monitoring_ebpf::{
    iter::IterTask,
    lost::lost,
    object,
    task_storage::{Task, TaskStorage},
};

object!();

#[btf_map]
static TASKS: TaskStorage<TaskState> = TaskStorage::new();

/// `TP_PROTO(bool preempt, struct task_struct *prev, struct task_struct *next, unsigned int
/// prev_state)`, the last since 5.18. Runs in `prev`, with the run queue locked.
#[btf_tracepoint(function = "sched_switch")]
fn sched_switch(ctx: BtfTracePointContext) -> i32 {
    // SAFETY: the helper has no preconditions.
    let now_ns = unsafe { bpf_ktime_get_ns() };
    let prev: *mut task_struct = ctx.arg(1);
    let next: *mut task_struct = ctx.arg(2);
    if let Some(state) = TASKS.get(Task::from_argument(prev)) {
        state.off_ns = now_ns;
    }
    if let Some(state) = TASKS.get(Task::from_argument(next)) {
        state.off_ns = 0;
    }
    0
}

/// Runs in the process that reads the iterator.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task")]
fn every_task(context: *mut IterTask) -> i32 {
    // SAFETY: the kernel calls this with the context.
    let Some(task) = (unsafe { IterTask::task(context) }) else {
        return 0;
    };
    if TASKS.get_or_create(task).is_none() {
        lost(TASK_STATE);
    }
    0
}
