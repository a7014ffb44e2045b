//! What threads wait for: the stack with which each leaves its CPU, and the time until it is back, by
//! reason.
//!
//! A thread's time is counted by whoever takes it off the thread, in one step that nothing can come
//! between: a wakeup, which ends the sleep and begins the wait for a CPU; the arrival on a CPU; or the
//! pass over all tasks with which the agent ends a window. So each nanosecond counts once, whoever
//! comes first. Only if the pass and a wakeup meet within some nanoseconds, what the thread has waited
//! in between may count under the other's reason.
//!
//! As in family `sched`, a thread's switches and wakeups come one after the other, and its memory is
//! made when the thread is, or by the pass: at a switch nothing is allocated.

use core::ptr;

use aya_ebpf::{
    EbpfContext as _,
    btf_maps::Array,
    helpers::generated::bpf_ktime_get_ns,
    macros::{btf_map, btf_tracepoint},
    programs::BtfTracePointContext,
};
use monitoring_common::{
    profile::{
        Key, Waiting,
        lost::{SWITCH, TASK_STATE},
        mode::KERNEL,
        status::ERROR,
    },
    sched::reason::{PREEMPTED, RUNQUEUE},
};
use monitoring_ebpf::{
    agents::agent_of,
    atomic,
    iter::IterTask,
    lost::lost,
    reason, switch,
    task_storage::{Task, TaskStorage},
};

use crate::{SPACE_OFFSET, Who, counts, is_wanted, stack};

/// What each thread remembers.
#[btf_map]
static WAITING: TaskStorage<Waiting> = TaskStorage::new();

/// Not 0 once every task of the node has been given memory. From then on one without is a loss.
#[btf_map]
static COMPLETE: Array<u32, 1> = Array::new();

/// How often it is tried to take a thread's time: others that could take it at the same moment are one
/// pass, and a wakeup or an arrival.
const TRIES: u32 = 4;

/// `TP_PROTO(bool preempt, struct task_struct *prev, struct task_struct *next, unsigned int
/// prev_state)`, the last since 5.18; typed since 5.5. Runs in `prev`, with the run queue locked and
/// interrupts off.
#[btf_tracepoint(function = "sched_switch")]
fn on_switch(ctx: BtfTracePointContext) -> i32 {
    if let Some(who) = Who::is_current() {
        leave(&ctx, &who);
    }
    let next = Task::from_argument(ctx.arg(2));
    if let Some(waiting) = WAITING.get(next) {
        let now_ns = now_ns();
        if let Some(waited_ns) = take(waiting, now_ns, 0) {
            counts::count_for(&waiting.key, 1, waited_ns);
        }
    }
    0
}

/// The running thread leaves its CPU.
#[inline(always)]
fn leave(ctx: &BtfTracePointContext, who: &Who) {
    let prev = Task::from_argument(ctx.arg(1));
    let Some(waiting) = WAITING.get(prev) else {
        if COMPLETE.get(0).is_some_and(|complete| *complete != 0) {
            lost(SWITCH);
        }
        return;
    };
    let reason = match switch::slept_in(ctx, prev) {
        None => PREEMPTED,
        Some(slept_in) if reason::is_dead(slept_in) => return,
        Some(slept_in) => reason::of_sleep(prev, slept_in),
    };
    let Some(stack) = stack::take(ctx.as_ptr(), who, KERNEL) else {
        return;
    };
    stack.head.key.reason = reason;
    waiting.key = stack.head.key;
    // The stack can be had only now; it counts when the thread is back.
    counts::count(stack, 0, 0);
    put(waiting, now_ns());
}

/// `TP_PROTO(struct task_struct *p)`, typed since 5.5. Runs in the waker or in an interrupt, with
/// the run queue locked that `p` was put on.
#[btf_tracepoint(function = "sched_wakeup")]
fn on_wakeup(ctx: BtfTracePointContext) -> i32 {
    let Some(waiting) = WAITING.get(Task::from_argument(ctx.arg(0))) else {
        return 0;
    };
    if waiting.key.reason == PREEMPTED || waiting.key.reason == RUNQUEUE {
        return 0;
    }
    let now_ns = now_ns();
    if let Some(slept_ns) = take(waiting, now_ns, now_ns) {
        let key = waiting.key;
        waiting.key.reason = RUNQUEUE;
        counts::count_for(&key, 1, slept_ns);
    }
    0
}

/// `TP_PROTO(struct task_struct *task, unsigned long clone_flags)`, typed since 5.5. Runs in the
/// parent, without locks, before the new task is woken for the first time.
#[btf_tracepoint(function = "task_newtask")]
fn on_new_task(ctx: BtfTracePointContext) -> i32 {
    let task = Task::from_argument(ctx.arg(0));
    if who(task).is_some() && WAITING.get_or_create(task).is_none() {
        lost(TASK_STATE);
    }
    0
}

/// Iterators over tasks exist since 5.8. Runs in the thread that reads the iterator, once for each
/// thread of the node, and may be interrupted and moved to another CPU.
///
/// Takes the time that threads have waited so far and hands it to the agent, with its key. A thread
/// that had no memory yet is given some; its stack is not known before it leaves a CPU again.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task")]
extern "C" fn every_task(context: *mut IterTask) -> i32 {
    // SAFETY: the kernel calls this with the context.
    let Some(task) = (unsafe { IterTask::task(context) }) else {
        return 0;
    };
    let Some((process, thread)) = who(task) else {
        return 0;
    };
    let Some(waiting) = WAITING.get(task) else {
        let first = first(task, process, thread);
        if WAITING.get_or_insert(task, first).is_none() {
            lost(TASK_STATE);
        }
        return 0;
    };
    let since_ns = since(waiting);
    let now_ns = now_ns();
    if since_ns == 0 || since_ns >= now_ns {
        return 0;
    }
    let record = Waiting {
        key: waiting.key,
        ns: now_ns - since_ns,
    };
    if atomic::compare_exchange(&raw mut waiting.ns, since_ns, now_ns) == since_ns {
        // SAFETY: the context is the kernel's, and a record has no padding.
        if !unsafe { IterTask::write(context, &record) } {
            // There is no room for it now. The kernel comes back for the same task: its time goes
            // back. If somebody has taken what came after, this is counted here.
            if atomic::compare_exchange(&raw mut waiting.ns, now_ns, since_ns) != now_ns {
                counts::count_time(&record.key, record.ns);
            }
        }
    }
    0
}

/// A thread that nobody has seen leave its CPU.
#[inline(always)]
fn first(task: Task, process: u32, thread: u32) -> Waiting {
    let state = switch::state(task);
    let reason = if state == 0 {
        RUNQUEUE
    } else {
        reason::of_sleep(task, state)
    };
    Waiting {
        key: Key {
            space: task.read(SPACE_OFFSET.load()),
            user: 0,
            kernel: 0,
            process,
            thread,
            agent: agent_of(process),
            reason,
            mode: KERNEL,
            status: ERROR,
            padding: 0,
        },
        ns: if switch::is_on_cpu(task) || reason::is_dead(state) {
            0
        } else {
            now_ns()
        },
    }
}

/// The process and the thread, if it is to be looked at.
#[inline(always)]
fn who(task: Task) -> Option<(u32, u32)> {
    let (process, thread) = (switch::process(task), switch::thread(task));
    is_wanted(process, thread).then_some((process, thread))
}

/// Takes the time that a thread has waited, and leaves it waiting from `from_ns` on, or, if that is 0,
/// not any more.
#[inline(always)]
fn take(waiting: &mut Waiting, now_ns: u64, from_ns: u64) -> Option<u64> {
    for _ in 0..TRIES {
        let since_ns = since(waiting);
        if since_ns == 0 {
            return None;
        }
        if atomic::compare_exchange(&raw mut waiting.ns, since_ns, from_ns) == since_ns {
            return Some(now_ns.saturating_sub(since_ns));
        }
    }
    None
}

#[inline(always)]
fn since(waiting: &Waiting) -> u64 {
    // SAFETY: a field of the thread's memory.
    unsafe { ptr::read_volatile(&raw const waiting.ns) }
}

/// Last, so that whoever sees it sees the key as well.
#[inline(always)]
fn put(waiting: &mut Waiting, now_ns: u64) {
    // SAFETY: a field of the thread's memory.
    unsafe { ptr::write_volatile(&raw mut waiting.ns, now_ns) }
}

#[inline(always)]
fn now_ns() -> u64 {
    // SAFETY: the helper has no preconditions.
    unsafe { bpf_ktime_get_ns() }
}
