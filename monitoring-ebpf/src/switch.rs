//! What a task says of itself when it leaves a CPU: who it is, and whether it wants to go on. Why it
//! sleeps, if it does, says [`reason`](crate::reason).

use aya_ebpf::{Global, programs::BtfTracePointContext};

use crate::{ABSENT, task_storage::Task};

/// Offsets in `task_struct`. The agent loads programs only where it knows them all.
#[unsafe(no_mangle)]
static PID_OFFSET: Global<u32> = Global::new(ABSENT);
#[unsafe(no_mangle)]
static TGID_OFFSET: Global<u32> = Global::new(ABSENT);
#[unsafe(no_mangle)]
static STATE_OFFSET: Global<u32> = Global::new(ABSENT);
#[unsafe(no_mangle)]
static ON_CPU_OFFSET: Global<u32> = Global::new(ABSENT);

/// Whether `sched_switch` has its fourth argument.
#[unsafe(no_mangle)]
static HAS_PREV_STATE: Global<u32> = Global::new(0);

/// The task's own number; each CPU's idle task has 0.
#[inline(always)]
pub fn thread(task: Task) -> u32 {
    task.read(PID_OFFSET.load())
}

/// The number of the task's process.
#[inline(always)]
pub fn process(task: Task) -> u32 {
    task.read(TGID_OFFSET.load())
}

/// The task's state; 0 if it can run.
#[inline(always)]
pub fn state(task: Task) -> u32 {
    task.read(STATE_OFFSET.load())
}

/// Whether the task is on a CPU, or on its way from one.
#[inline(always)]
pub fn is_on_cpu(task: Task) -> bool {
    task.read::<u32>(ON_CPU_OFFSET.load()) != 0
}

/// The state in which `prev` leaves its CPU to sleep or to end; `None` if it could go on. For
/// programs on the BTF tracepoint `sched_switch` only: `TP_PROTO(bool preempt, struct task_struct
/// *prev, struct task_struct *next, unsigned int prev_state)`, the last since 5.18.
#[inline(always)]
pub fn slept_in(ctx: &BtfTracePointContext, prev: Task) -> Option<u32> {
    // Whether it can go on is for the task to say. While its run queue is locked nobody makes a
    // task runnable that has left it, so that 0 is the truth; other values may have changed.
    let current = state(prev);
    let preempted = ctx.arg::<u64>(0) & 0xff != 0;
    if preempted || current == 0 {
        return None;
    }
    // Before 5.18 a waker on another CPU may have overwritten the state meanwhile.
    Some(if HAS_PREV_STATE.load() == 0 {
        current
    } else {
        ctx.arg(3)
    })
}
