//! Spans of processes: from their start to their end, each under the process that made it, and within
//! the span in which that one's application was when it did.

use aya_ebpf::{helpers::generated::bpf_ktime_get_ns, macros::btf_map};
use monitoring_common::{
    agents::AgentId,
    trace::{Origin, chain, detail::ProcessDetail, flags::FAILED, kind::PROCESS},
};
use monitoring_ebpf::{
    agents::agent_of,
    object::Object,
    task_storage::{Task, TaskStorage},
    trace::{self, Event},
};

use crate::{
    exit::End,
    fields::{REAL_PARENT, START_BOOTTIME, START_TIME, TGID},
};

/// The thread that made a process, kept with the process's first thread. The kernel itself remembers
/// the parent only as long as that lives.
#[btf_map]
static MAKERS: TaskStorage<Origin> = TaskStorage::new();

/// The running thread makes a process.
#[inline(always)]
pub(crate) fn made(child: Task, agent: AgentId) {
    if trace::is_on() && trace::is_traced(agent.into()) {
        remember_maker(child, agent);
    }
}

#[inline(never)]
fn remember_maker(child: Task, agent: AgentId) {
    // Without memory for it, the parent at the end is as good as known.
    if let Some(maker) = MAKERS.get_or_create(child) {
        *maker = trace::origin(agent, trace::running_call());
    }
}

/// A process ends, with the last of its threads.
#[inline(always)]
pub(crate) fn ended(leader: Task, end: End) {
    if trace::is_on() {
        tell_of_end(leader, &end);
    }
}

#[inline(never)]
fn tell_of_end(leader: Task, end: &End) {
    let start_ns = leader.read(START_TIME.load());
    // SAFETY: the helper has no preconditions.
    let end_ns = unsafe { bpf_ktime_get_ns() };
    let signal = end.status & 0x7f;
    let is_killed = signal != 0 && trace::is_kind_on::<PROCESS>();
    if !is_killed && !trace::is_long::<PROCESS>(end_ns.saturating_sub(start_ns)) {
        return;
    }
    let agent = agent_of(end.pid);
    if !trace::is_traced(agent.into()) {
        return;
    }
    let mut origin = trace::origin_of(leader, end.pid, end.pid, agent);
    let maker = MAKERS.get(leader);
    if let Some(maker) = &maker {
        origin.context = maker.context;
        origin.parent = maker.parent;
    }
    let mut event = Event {
        start_ns,
        end_ns,
        window_start_ns: 0,
        chain: chain(end.pid, start_ns),
        code: code(end.status),
        flags: if end.status == 0 { 0 } else { FAILED },
        // Many programs answer a question by their exit code.
        is_failure: is_killed,
    };
    if !trace::chosen::<PROCESS>(&origin, &mut event) {
        return;
    }
    let (parent_pid, parent_start_ns) = match maker {
        Some(maker) => (maker.pid, maker.process_start_ns),
        None => parent_at_end(leader),
    };
    let detail = ProcessDetail {
        parent_start_ns,
        parent_pid,
        status: end.status,
        out_of_memory: end.out_of_memory.into(),
        reserved: 0,
    };
    trace::tell::<PROCESS, _>(&origin, &event, &detail);
}

/// The code with which a process ended, as shells show it: that of a signal follows 128.
#[inline(always)]
fn code(status: u32) -> i32 {
    let signal = status & 0x7f;
    let code = if signal == 0 {
        status >> 8 & 0xff
    } else {
        128 + signal
    };
    code.cast_signed()
}

/// Number and start of the process that a process is a child of now.
#[inline(always)]
fn parent_at_end(leader: Task) -> (u32, u64) {
    let parent: Object = leader.follow(REAL_PARENT.load());
    (parent.read(TGID.load()), parent.read(START_BOOTTIME.load()))
}
