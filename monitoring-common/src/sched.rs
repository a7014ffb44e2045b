//! Family `sched`: context switches, waiting for a CPU, and why tasks are not on one.

use crate::histogram::Histogram;

/// Why a task is not on a CPU: an index into [`Totals::offcpu_ns`], and label values.
pub mod reason {
    /// Asleep until a disk or another device has done its work: what the kernel calls iowait.
    pub const IO_WAIT: u16 = 0;
    /// Asleep in a `futex` call: mutexes, condition variables, channels, joins.
    pub const LOCK: u16 = 1;
    /// Asleep for anything else that a signal may interrupt: timers, sockets, pipes, children.
    pub const SLEEP: u16 = 2;
    /// Asleep for something that no signal interrupts: mostly locks of the kernel's own.
    pub const UNINTERRUPTIBLE: u16 = 3;
    /// Stopped by a signal, a tracer or the freezer.
    pub const STOPPED: u16 = 4;
    /// Could run, but another task took the CPU.
    pub const PREEMPTED: u16 = 5;
    /// Was woken, and waits for a CPU.
    pub const RUNQUEUE: u16 = 6;
    /// The reasons' label values, by index.
    pub const NAMES: [&str; 7] = [
        "io_wait",
        "lock",
        "sleep",
        "uninterruptible",
        "stopped",
        "preempted",
        "runqueue",
    ];
}

/// Number of reasons.
pub const REASONS: usize = reason::NAMES.len();

/// Room for reasons: a power of two, so that the kernel programs can index by a mask, which old
/// verifiers follow where they lose track of a comparison.
pub const REASON_SLOTS: usize = 8;

const _: () = assert!(REASONS <= REASON_SLOTS && REASON_SLOTS.is_power_of_two());

/// The slot of a [`reason`].
#[inline(always)]
pub const fn reason_slot(reason: u16) -> usize {
    reason as usize & (REASON_SLOTS - 1)
}

/// Which kind a context switch is of: an index into [`Totals::switches`], and label values.
pub mod kind {
    /// The task gave its CPU up.
    pub const VOLUNTARY: usize = 0;
    /// The task lost its CPU, or yielded it while it could have gone on.
    pub const INVOLUNTARY: usize = 1;
    /// The kinds' label values, by index.
    pub const NAMES: [&str; 2] = ["voluntary", "involuntary"];
}

/// One CPU's numbers of one agent. 312 bytes; for 64 agents 20 KiB on each possible CPU.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Totals {
    /// Waits for a CPU that have ended, of tasks that were woken or preempted.
    pub waits: Histogram,
    /// Time off the CPU that has ended, by [`reason`]. Wraps after 584 years of summed time; the
    /// agent takes differences.
    pub offcpu_ns: [u64; REASON_SLOTS],
    /// Context switches away from a task, by [`kind`].
    pub switches: [u64; 2],
}

const _: () = assert!(size_of::<Totals>() == size_of::<Histogram>() + 8 * REASON_SLOTS + 8 * 2);

impl Totals {
    /// Nothing counted.
    pub const EMPTY: Self = Self {
        waits: Histogram::EMPTY,
        offcpu_ns: [0; REASON_SLOTS],
        switches: [0; 2],
    };

    /// Adds another CPU's numbers.
    pub fn merge(&mut self, other: &Self) {
        self.waits.merge(&other.waits);
        for (sum, more) in self.offcpu_ns.iter_mut().zip(other.offcpu_ns) {
            *sum = sum.wrapping_add(more);
        }
        for (sum, more) in self.switches.iter_mut().zip(other.switches) {
            *sum = sum.wrapping_add(more);
        }
    }
}

/// Time off the CPU that still lasts, of all tasks of one agent.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct InProgress {
    /// By [`reason`]. Microseconds, because ten thousand tasks that have slept for three weeks
    /// overflow a sum of nanoseconds.
    pub offcpu_us: [u64; REASON_SLOTS],
}

const _: () = assert!(size_of::<InProgress>() == 8 * REASON_SLOTS);

impl InProgress {
    /// Nobody is off the CPU.
    pub const EMPTY: Self = Self {
        offcpu_us: [0; REASON_SLOTS],
    };
}

/// What a task remembers. Kernel side only.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct TaskState {
    /// When the task left its CPU; 0 while it is on one, and once it is dead.
    pub off_ns: u64,
    /// When the task could run again; 0 while it cannot, or when that moment was not seen.
    pub queued_ns: u64,
    /// The kernel's number of voluntary switches after the last switch that was counted.
    pub voluntary: u64,
    /// The epoch under which `agent` was read; see [`crate::agents::LABEL_EPOCH`].
    pub epoch: u32,
    /// The task's agent.
    pub agent: u16,
    /// Why it left its CPU: one of [`reason`].
    pub reason: u16,
}

const _: () = assert!(size_of::<TaskState>() == 8 * 3 + 4 + 2 + 2);
crate::plain_data!(Totals, InProgress, TaskState);

/// Slots of the per-CPU array `LOST`.
pub mod lost {
    /// The kernel had no memory for a task's state; its switches then count as the next reason.
    pub const TASK_STATE: u32 = 0;
    /// A switch away from a task without a state: neither counted nor timed. Counts only once every
    /// task of the node should have one.
    pub const SWITCH: u32 = 1;
    /// A wakeup was not seen: the wait for a CPU after it counts as more of what came before.
    pub const WAKEUP: u32 = 2;
    /// A task was not seen to get its CPU: the time before, and its wait, are not counted.
    pub const ARRIVAL: u32 = 3;
    /// The reasons' label values, by slot.
    pub const REASONS: [&str; 4] = ["task_state", "switch", "wakeup", "arrival"];
}
