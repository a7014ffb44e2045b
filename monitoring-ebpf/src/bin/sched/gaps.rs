//! Spans of threads that were off their CPU for long.
//!
//! A gap has up to two parts, which are told of by themselves, as they are counted: the sleep, for its
//! reason, and after it the wait for a CPU. They are told of when the thread is back, in the name of
//! whoever was on the CPU before: so nothing of the thread's own memory can be read, and a gap does not
//! know in which span of its application it is. It belongs to the system call in which it was.

use aya_ebpf::Global;
use monitoring_common::{
    sched::{
        TaskState,
        reason::{PREEMPTED, RUNQUEUE},
    },
    trace::{
        chain,
        detail::{NO_CALL, OffCpuDetail},
        kind::OFF_CPU,
    },
};
use monitoring_ebpf::{
    switch,
    task_storage::Task,
    trace::{self, Event},
};

/// The reasons that are told of: a bit for each.
#[unsafe(no_mangle)]
static TRACE_REASONS: Global<u32> = Global::new(0);

/// A thread is back on a CPU, `now_ns`, after it left one. One comparison.
#[inline(always)]
pub(crate) fn ended(task: Task, state: &TaskState, off_ns: u64, now_ns: u64) {
    if trace::is_long::<OFF_CPU>(now_ns.saturating_sub(off_ns)) {
        tell_of_gap(task, state, off_ns, now_ns);
    }
}

#[inline(never)]
fn tell_of_gap(task: Task, state: &TaskState, off_ns: u64, now_ns: u64) {
    let queued_ns = state.queued_ns;
    if matches!(state.reason, PREEMPTED | RUNQUEUE) || queued_ns == 0 {
        tell_of_part(task, state, Part(state.reason, off_ns, now_ns));
        return;
    }
    tell_of_part(task, state, Part(state.reason, off_ns, queued_ns));
    tell_of_part(task, state, Part(RUNQUEUE, queued_ns, now_ns));
}

/// Why, and from when to when.
#[derive(Clone, Copy)]
struct Part(u16, u64, u64);

#[inline(never)]
fn tell_of_part(task: Task, state: &TaskState, part: Part) {
    let Part(reason, start_ns, end_ns) = part;
    // Where all gaps are told of, those that were none are not.
    if end_ns <= start_ns
        || TRACE_REASONS.load() >> (reason & 31) & 1 == 0
        || !trace::is_long::<OFF_CPU>(end_ns - start_ns)
        || !trace::is_traced(state.agent.into())
    {
        return;
    }
    let (pid, tid) = (switch::process(task), switch::thread(task));
    let call = trace::running_call_of(task);
    let mut origin = trace::origin_of(task, pid, tid, state.agent);
    let (syscall, began_ns) = match call {
        Some(call) => {
            origin.call_start_ns = call.start_ns;
            (call.syscall.into(), call.start_ns)
        }
        None => (NO_CALL, start_ns),
    };
    let mut event = Event {
        start_ns,
        end_ns,
        window_start_ns: 0,
        chain: chain(tid, began_ns),
        code: 0,
        flags: 0,
        is_failure: false,
    };
    if trace::chosen::<OFF_CPU>(&origin, &mut event) {
        let detail = OffCpuDetail {
            queued_ns: state.queued_ns,
            reason: reason.into(),
            syscall,
        };
        trace::tell::<OFF_CPU, _>(&origin, &event, &detail);
    }
}
