//! Why a task sleeps, from what the kernel keeps about it. Knows neither times nor sums.

use aya_ebpf::Global;
use monitoring_common::sched::reason::{IO_WAIT, LOCK, SLEEP, STOPPED, UNINTERRUPTIBLE};

use crate::{ABSENT, task_storage::Task};

/// Offset in `task_struct` of the word with the bit `in_iowait`, and the bit.
#[unsafe(no_mangle)]
static IOWAIT_OFFSET: Global<u32> = Global::new(ABSENT);
#[unsafe(no_mangle)]
static IOWAIT_MASK: Global<u32> = Global::new(0);

/// In the same word, the bit `frozen`: the version 2 cgroup of the task is. 0 where it is elsewhere.
#[unsafe(no_mangle)]
static FROZEN_MASK: Global<u32> = Global::new(0);

/// Offset in `pt_regs` of the number of the running call. Absent, nothing counts as a lock.
#[unsafe(no_mangle)]
static CALL_OFFSET: Global<u32> = Global::new(ABSENT);

/// Offset in `pt_regs` of the stack pointer, on machines where a thread of the kernel may have its
/// maker's registers; absent on the others.
#[unsafe(no_mangle)]
static STACK_OFFSET: Global<u32> = Global::new(ABSENT);

/// The calls in which a task waits for a futex.
#[unsafe(no_mangle)]
static FUTEX_CALLS: Global<[u32; 8]> = Global::new([ABSENT; 8]);

// States of tasks, from the kernel's `include/linux/sched.h`; these values are in programs'
// output since 4.14 and have not moved since.
const TASK_UNINTERRUPTIBLE: u32 = 0x0002;
const TASK_STOPPED: u32 = 0x0004;
const TASK_TRACED: u32 = 0x0008;
const TASK_DEAD: u32 = 0x0080;
/// With `TASK_UNINTERRUPTIBLE`: a thread of the kernel that has nothing to do.
const TASK_NOLOAD: u32 = 0x0400;
/// Waits for a lock that is a spin lock without `PREEMPT_RT`. Since 5.15.
const TASK_RTLOCK_WAIT: u32 = 0x1000;
/// Since 6.1.
const TASK_FROZEN: u32 = 0x8000;

/// Whether a task that leaves its CPU in this state will never come back.
#[inline(always)]
pub fn is_dead(task_state: u32) -> bool {
    task_state & TASK_DEAD != 0
}

/// Why a task sleeps that left its CPU in this state.
#[inline(always)]
pub fn of_sleep(task: Task, task_state: u32) -> u16 {
    let bits: u32 = task.read(IOWAIT_OFFSET.load());
    if bits & IOWAIT_MASK.load() != 0 {
        IO_WAIT
    } else if task_state & (TASK_STOPPED | TASK_TRACED | TASK_FROZEN) != 0
        || bits & FROZEN_MASK.load() != 0
    {
        STOPPED
    } else if task_state & (TASK_UNINTERRUPTIBLE | TASK_RTLOCK_WAIT) != 0
        && task_state & TASK_NOLOAD == 0
    {
        UNINTERRUPTIBLE
    } else if in_futex(task) {
        LOCK
    } else {
        SLEEP
    }
}

/// Whether the task is in a `futex` call.
///
/// Outside a call the number is negative, and 0 in threads of the kernel. Workers that the kernel
/// makes in a process may have a copy of their maker's registers, but no stack in them.
#[inline(always)]
fn in_futex(task: Task) -> bool {
    let offset = CALL_OFFSET.load();
    if offset == ABSENT {
        return false;
    }
    let registers = task.registers();
    let number: u32 = registers.read(offset);
    if number.cast_signed() < 0 || !FUTEX_CALLS.load().contains(&number) {
        return false;
    }
    let stack = STACK_OFFSET.load();
    stack == ABSENT || registers.read::<u64>(stack) != 0
}
