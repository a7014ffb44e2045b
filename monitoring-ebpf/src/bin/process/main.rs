//! Family `process`: keeps the agents' labels current as processes come and change.

#![no_std]
#![no_main]
#![allow(
    clippy::needless_pass_by_value,
    reason = "the attribute macros hand the context over"
)]

mod cpu;

use aya_ebpf::{
    Global,
    bindings::task_struct,
    btf_maps::RingBuf,
    helpers::{bpf_get_current_pid_tgid, bpf_probe_read_kernel},
    macros::{btf_map, raw_tracepoint},
    programs::RawTracePointContext,
};
use aya_log_ebpf::debug;
use monitoring_common::{
    agents::OTHER,
    process::{
        EVENTS_BYTES, EXEC, Event,
        lost::{LABELS_FULL, RING_FULL},
    },
};
use monitoring_ebpf::{
    ABSENT,
    agents::{agent_of, clear_agent, set_agent},
    lost::lost,
    object,
};

object!();

/// Offset of `tgid` in `task_struct`.
#[unsafe(no_mangle)]
static TGID_OFFSET: Global<u32> = Global::new(ABSENT);

#[btf_map]
static EVENTS: RingBuf<Event, EVENTS_BYTES> = RingBuf::new();

/// `TP_PROTO(struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm)`, since 4.17 for
/// raw tracepoints. Runs in the task that executes, after its name and memory were replaced.
#[raw_tracepoint(tracepoint = "sched_process_exec")]
fn sched_process_exec(ctx: RawTracePointContext) -> i32 {
    let pid = (bpf_get_current_pid_tgid() >> 32) as u32;
    debug!(&ctx, "process {} executes", pid);
    match EVENTS.reserve(0) {
        Some(mut event) => {
            event.write(Event { pid, kind: EXEC });
            event.submit(0);
        }
        None => lost(RING_FULL),
    }
    0
}

/// `TP_PROTO(struct task_struct *parent, struct task_struct *child)`, since 4.17 for raw
/// tracepoints. Runs in the parent.
///
/// A child runs its parent's program until it executes another, so it has its parent's agent from
/// its first instruction on. A label left behind by an earlier process of the same number goes.
#[raw_tracepoint(tracepoint = "sched_process_fork")]
fn sched_process_fork(ctx: RawTracePointContext) -> i32 {
    let offset = TGID_OFFSET.load();
    if offset == ABSENT {
        return 0;
    }
    let child: *const task_struct = ctx.arg(1);
    // SAFETY: the tracepoint's second argument is the new task; the read is checked.
    let read = unsafe { bpf_probe_read_kernel(child.byte_add(offset as usize).cast::<u32>()) };
    let Ok(child_pid) = read else { return 0 };
    let parent_pid = (bpf_get_current_pid_tgid() >> 32) as u32;
    if child_pid == parent_pid {
        return 0;
    }
    let agent = agent_of(parent_pid);
    if agent == OTHER {
        clear_agent(child_pid);
    } else if set_agent(child_pid, agent).is_err() {
        lost(LABELS_FULL);
    }
    0
}
