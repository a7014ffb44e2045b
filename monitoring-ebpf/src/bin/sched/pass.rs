//! The pass over all tasks at each collection: gives a state to those that have none, and sums up
//! what is still in progress. It writes no state that exists.

use aya_ebpf::{btf_maps::Array, macros::btf_map};
use core::ptr;
use monitoring_common::{
    agents::MAX_AGENTS,
    sched::{
        InProgress, TaskState,
        lost::TASK_STATE,
        reason::{PREEMPTED, RUNQUEUE},
        reason_slot,
    },
};
use monitoring_ebpf::{
    agents::label_epoch, iter::IterTask, lost::lost, reason, switch, task_storage::Task,
};

use crate::{TASKS, VOLUNTARY_OFFSET, agent, now_ns};

/// What is in progress, by agent. The agent zeroes it before each pass; one thread makes them all,
/// so that plain additions do.
#[btf_map]
static IN_PROGRESS: Array<InProgress, MAX_AGENTS> = Array::new();

const NS_PER_US: u64 = 1_000;

/// Iterators over tasks exist since 5.8. Runs in the thread that reads the iterator, once for each
/// thread of the node, and may be interrupted and moved to another CPU.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task")]
extern "C" fn every_task(context: *mut IterTask) -> i32 {
    // SAFETY: the kernel calls this with the context.
    let Some(task) = (unsafe { IterTask::task(context) }) else {
        return 0;
    };
    let Some(state) = TASKS.get(task) else {
        if TASKS.get_or_insert(task, first_state(task)).is_none() {
            lost(TASK_STATE);
        }
        return 0;
    };
    add_in_progress(task, state);
    0
}

/// The state of a task that was never seen before: off the CPU from now on, for the reason that it
/// has now. That is right until its first event and becomes right with it: a task that is on a CPU
/// now leaves it before anything else, which overwrites all of this, and until then the sum of
/// what is in progress passes over it.
///
/// A task that waits for a CPU now gets no `queued_ns`: it has waited longer than is known, and is
/// no observation for the histogram.
#[inline(always)]
fn first_state(task: Task) -> TaskState {
    let task_state = switch::state(task);
    TaskState {
        off_ns: if reason::is_dead(task_state) {
            0
        } else {
            now_ns()
        },
        queued_ns: 0,
        voluntary: task.read(VOLUNTARY_OFFSET.load()),
        epoch: label_epoch(),
        agent: agent(task),
        reason: if task_state == 0 || switch::is_on_cpu(task) {
            PREEMPTED
        } else {
            reason::of_sleep(task, task_state)
        },
    }
}

/// Adds the time that a task has been off the CPU until now.
///
/// The task may be switched meanwhile. `off_ns` differs from one time off the CPU to the next, so
/// that the other fields belong to it when it is the same before and after; what began only now is
/// left for the next pass.
#[inline(always)]
fn add_in_progress(task: Task, state: &TaskState) {
    // SAFETY: the value is plain data of the task's own, which is kept from being freed.
    let [off_ns, queued_ns] = unsafe {
        [
            ptr::read_volatile(&raw const state.off_ns),
            ptr::read_volatile(&raw const state.queued_ns),
        ]
    };
    // SAFETY: as above.
    let reason = unsafe { ptr::read_volatile(&raw const state.reason) };
    let now_ns = now_ns();
    // SAFETY: as above.
    let still_off_ns = unsafe { ptr::read_volatile(&raw const state.off_ns) };
    if off_ns == 0 || still_off_ns != off_ns || switch::is_on_cpu(task) {
        return;
    }
    let agent = if state.epoch == label_epoch() {
        state.agent
    } else {
        agent(task)
    };
    let Some(sums) = IN_PROGRESS.get_ptr_mut(agent.into()) else {
        return;
    };
    // SAFETY: only the thread that makes the pass writes to it meanwhile.
    let sums = unsafe { &mut *sums };
    // Not yet woken, or woken before it left: a field of the time before.
    if reason == PREEMPTED || queued_ns < off_ns {
        add(sums, reason, now_ns.saturating_sub(off_ns));
    } else {
        add(sums, reason, queued_ns - off_ns);
        add(sums, RUNQUEUE, now_ns.saturating_sub(queued_ns));
    }
}

#[inline(always)]
fn add(sums: &mut InProgress, reason: u16, duration_ns: u64) {
    let sum_us = &mut sums.offcpu_us[reason_slot(reason)];
    *sum_us = sum_us.wrapping_add(duration_ns / NS_PER_US);
}
