//! Family `process`: counts how processes start, change and end, and keeps their labels current.
//!
//! What a process is called and who it belongs to is decided by the agent; the kernel side
//! remembers its answers, so that most processes have their label before their first instruction.

#![no_std]
#![no_main]
#![allow(
    clippy::needless_pass_by_value,
    reason = "the attribute macros hand the context over"
)]

mod cpu;
mod exec;
mod exit;
mod fields;
mod spans;

use aya_ebpf::{
    bindings::BPF_F_NO_PREALLOC,
    btf_maps::{Array, HashMap, PerCpuArray, RingBuf},
    macros::{btf_map, btf_tracepoint},
    programs::BtfTracePointContext,
};
use monitoring_common::{
    agents::{AgentId, MAX_AGENTS, OTHER},
    process::{
        EVENTS_BYTES, Event, MAX_ASKED, MAX_PENDING, Pending, lifecycle::Lifecycle,
        lost::LABELS_FULL,
    },
};
use monitoring_ebpf::{
    agents::{agent_of, forget, set_agent},
    lost::lost,
    object,
    object::Object,
    task_storage::Task,
    trace,
};

use crate::fields::{GROUP_LEADER, PID, TGID, started_ticks};

object!();

/// Not 0 if there are rules by which processes are labelled.
#[btf_map]
static RULES: Array<u32, 1> = Array::new();

#[btf_map]
static EVENTS: RingBuf<Event, EVENTS_BYTES> = RingBuf::new();

/// Executions that the agent has not looked at yet. Whoever removes an entry has taken the
/// process's end upon itself: the kernel, which then sends it as an event, or the agent, which then
/// has labelled the process, so that the kernel can count it.
#[btf_map]
static PENDING: HashMap<Pending, u32, MAX_PENDING> = HashMap::new();

/// By process, the time of its last execution that the agent was asked about. The kernel's own, so
/// that the agent can never remove a later entry of `PENDING` than it means. An entry stays until
/// its process ends; it is allocated when it is needed, in task context.
#[btf_map]
static ASKED: HashMap<u32, u64, MAX_ASKED, { BPF_F_NO_PREALLOC as usize }> = HashMap::new();

/// By agent.
#[btf_map]
static LIFECYCLE: PerCpuArray<Lifecycle, MAX_AGENTS> = PerCpuArray::new();

/// `TP_PROTO(struct task_struct *parent, struct task_struct *child)`, as BTF tracepoint since 5.5.
/// Runs in the parent, before the child runs.
///
/// A child runs its parent's program until it executes another, so it has its parent's agent from
/// its first instruction on. A label left behind by an earlier process of the same number goes.
#[btf_tracepoint(function = "sched_process_fork")]
fn sched_process_fork(ctx: BtfTracePointContext) -> i32 {
    let parent = task(&ctx, 0);
    let child = task(&ctx, 1);
    let child_pid: u32 = child.read(TGID.load());
    let parent_pid: u32 = parent.read(TGID.load());
    if child_pid == parent_pid {
        return 0;
    }
    if trace::is_on() && trace::publishes(parent_pid) {
        let parent_ticks = started_ticks(parent.follow(GROUP_LEADER.load()));
        let child = (child_pid, started_ticks(child));
        trace::inherit((parent_pid, parent_ticks), child);
    }
    let mut agent = agent_of(parent_pid);
    if set_agent(child_pid, agent, started_ticks(child)).is_err() {
        lost(LABELS_FULL);
        agent = OTHER;
    }
    count(agent, |counts| counts.started += 1);
    spans::made(Task::from_argument(ctx.arg(1)), agent);
    0
}

/// `TP_PROTO(struct task_struct *p)`, as BTF tracepoint since 5.5. Runs in a soft interrupt, after
/// the last use of a task that has ended, or in whoever drops that.
///
/// Until then the dying process's calls count under its agent. The number may be another's by now.
#[btf_tracepoint(function = "sched_process_free")]
fn sched_process_free(ctx: BtfTracePointContext) -> i32 {
    cpu::at_free(Task::from_argument(ctx.arg(0)));
    let task = task(&ctx, 0);
    let pid: u32 = task.read(TGID.load());
    if task.read::<u32>(PID.load()) == pid {
        forget(pid, started_ticks(task));
        trace::forget(pid, started_ticks(task));
    }
    0
}

/// A task among a tracepoint's arguments.
#[inline(always)]
fn task(ctx: &BtfTracePointContext, argument: usize) -> Object {
    Object::from_argument(ctx.arg::<*mut aya_ebpf::bindings::task_struct>(argument))
}

/// Counts something under an agent.
#[inline(always)]
fn count(agent: AgentId, change: impl FnOnce(&mut Lifecycle)) {
    if let Some(counts) = LIFECYCLE.get_ptr_mut(agent.into()) {
        // SAFETY: the value is this CPU's. Those that write it run in tasks, with preemption off;
        // `sched_process_free`, which may interrupt them, does not.
        change(unsafe { &mut *counts });
    }
}

/// The process's last execution that the agent was asked about.
#[inline(always)]
fn asked(pid: u32) -> Option<Pending> {
    // SAFETY: only the process itself changes its entry.
    let at_ns = unsafe { ASKED.get(pid) };
    at_ns.map(|at_ns| [pid.into(), *at_ns])
}

/// Whether processes are labelled at all.
#[inline(always)]
fn has_rules() -> bool {
    RULES.get(0).is_some_and(|rules| *rules != 0)
}
