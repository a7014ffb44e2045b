//! Family `process`: what the kernel tells the agent about processes.

pub mod usage;

/// Most events that wait in the ring buffer, in bytes. 8,192 events of 8 bytes and their headers.
pub const EVENTS_BYTES: usize = 128 * 1024;

/// A process changed in a way that may change its agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Event {
    /// Process id (thread group id) in the initial pid namespace.
    pub pid: u32,
    /// What happened: one of the constants [`EXEC`].
    pub kind: u32,
}

const _: () = assert!(size_of::<Event>() == 4 + 4);
crate::plain_data!(Event);

/// The process executes another program; its name, path and environment are new.
pub const EXEC: u32 = 1;

/// Slots of the per-CPU array `LOST`.
pub mod lost {
    /// An event did not fit into the ring buffer.
    pub const RING_FULL: u32 = 0;
    /// A child of a watched process could not be entered into the label map.
    pub const LABELS_FULL: u32 = 1;
    /// More tasks than `usage::MAX_TASKS`: the CPU time of one counts under the rest of the node,
    /// and only when it has ended.
    pub const TASKS_FULL: u32 = 2;
    /// The reasons' label values, by slot.
    pub const REASONS: [&str; 3] = ["ring_full", "labels_full", "tasks_full"];
}
