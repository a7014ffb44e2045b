//! Family `sched`: waiting for a CPU, and not being on one.

/// What a task remembers. Kernel side only.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct TaskState {
    /// When the task left its CPU, or 0 while it is on one.
    pub off_ns: u64,
}

const _: () = assert!(size_of::<TaskState>() == 8);
crate::plain_data!(TaskState);

/// Slots of the per-CPU array `LOST`.
pub mod lost {
    /// The kernel had no memory for a task's state.
    pub const TASK_STATE: u32 = 0;
    /// The reasons' label values, by slot.
    pub const REASONS: [&str; 1] = ["task_state"];
}
