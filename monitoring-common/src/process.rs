//! Family `process`: what the kernel tells the agent about processes, and what it keeps for it.

pub mod lifecycle;
pub mod usage;

/// Bytes of the ring buffer: about 1,000 events.
pub const EVENTS_BYTES: usize = 512 * 1024;

/// Programs whose agent the kernel knows by itself. A node runs a few hundred different ones; the
/// least recently executed give way. About 0.6 MB of kernel memory.
pub const MAX_PROGRAMS: usize = 4096;

/// Processes that wait for the agent's look into /proc, at most. Twice what the ring holds.
pub const MAX_PENDING: usize = 2048;

/// Most processes that run something which the agent was asked about. Its 65,536 buckets are 1 MiB;
/// each process takes about 64 bytes more.
pub const MAX_ASKED: usize = 65_536;

/// Processes of several threads whose end is remembered, so that threads that end at the same
/// moment do not both count it. On kernels where the tracepoint does not say who was last.
pub const MAX_ENDED: usize = 4096;

/// How long the kernel goes by what it knows of a program before the agent has to look again.
/// The memory behind a key may be given to another file or cgroup; for so long a label could be
/// wrong.
pub const RECHECK_NS: u64 = 100_000_000;

/// Bytes of a process's name, the ending zero included: the kernel's `TASK_COMM_LEN`.
pub const COMM_BYTES: usize = 16;

/// Bytes kept of an executable's file name, the ending zero included.
pub const NAME_BYTES: usize = 128;

/// Bytes kept of the path that was executed, the ending zero included.
pub const PATH_BYTES: usize = 256;

/// All that rules can ask about a process that has just executed a program, but for its
/// environment, as the kernel knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct ExecKey {
    /// The process's new name.
    pub comm: [u8; COMM_BYTES],
    /// Number of the executable's inode.
    pub inode: u64,
    /// Address of its directory entry: tells hard links apart.
    pub dentry: u64,
    /// Address of its mount: tells bind mounts apart.
    pub mount: u64,
    /// Address of the process's memberships in all cgroup hierarchies.
    pub css_set: u64,
    /// The inode's device, as the kernel numbers it.
    pub device: u32,
    /// Zero.
    pub padding: u32,
}

const _: () = assert!(size_of::<ExecKey>() == COMM_BYTES + 4 * 8 + 4 + 4);
crate::plain_data!(ExecKey);

/// What the kernel knows of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Known {
    /// When the agent was last asked, by the monotonic clock.
    pub asked_ns: u64,
    /// The agent of processes that execute it.
    pub agent: u32,
    /// Zero.
    pub padding: u32,
}

const _: () = assert!(size_of::<Known>() == 8 + 4 + 4);
crate::plain_data!(Known);

/// An execution that the agent has to look at: the process's number, and the time by the monotonic
/// clock, which also is in the [`Event`].
pub type Pending = [u64; 2];

/// A process changed in a way that may change its agent, or ended before that was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Event {
    /// When, by the monotonic clock.
    pub at_ns: u64,
    /// Process id (thread group id) in the initial pid namespace.
    pub pid: u32,
    /// The process's start, as in [`crate::agents::Label`].
    pub started_ticks: u32,
    /// What happened: [`EXEC`] or [`EXIT`].
    pub kind: u32,
    /// The agent that the process had before.
    pub agent: u32,
    /// With [`EXEC`]: 1 if the kernel has not counted it, and leaves that to the agent.
    pub uncounted: u32,
    /// With [`EXIT`]: as `wait` says it.
    pub status: u32,
    /// With [`EXIT`]: 1 if the kernel was out of memory and chose this process to end.
    pub out_of_memory: u32,
    /// Zero.
    pub padding: u32,
    /// With [`EXEC`]: what was executed. The rest of an [`EXIT`] is undefined.
    pub key: ExecKey,
    /// The executable's file name, zero-ended, cut.
    pub name: [u8; NAME_BYTES],
    /// The path as it was executed, zero-ended, cut. May be relative, or lead over links.
    pub path: [u8; PATH_BYTES],
}

const _: () =
    assert!(size_of::<Event>() == 8 + 8 * 4 + size_of::<ExecKey>() + NAME_BYTES + PATH_BYTES);
crate::plain_data!(Event);

/// The process executes another program; its name, path and environment are new.
pub const EXEC: u32 = 1;

/// The process ended before the agent had looked at what it executes.
pub const EXIT: u32 = 2;

/// Slots of the per-CPU array `LOST`.
pub mod lost {
    /// An event did not fit into the ring buffer.
    pub const RING_FULL: u32 = 0;
    /// A watched process could not be entered into the label map.
    pub const LABELS_FULL: u32 = 1;
    /// Too many processes wait for the agent's look into /proc.
    pub const PENDING_FULL: u32 = 2;
    /// More tasks than `usage::MAX_TASKS`: the CPU time of one counts under the rest of the node,
    /// and only when it has ended. Counted at each collection until then.
    pub const TASKS_FULL: u32 = 3;
    /// The reasons' label values, by slot.
    pub const REASONS: [&str; 4] = ["ring_full", "labels_full", "pending_full", "tasks_full"];
    /// Counted by the agent: a look at a process's memory or descriptors.
    pub const USAGE_UNREADABLE: &str = "usage_unreadable";
    /// Counted by the agent: a watched process that it could not enter into the label map.
    pub const LABEL_MAP_FULL: &str = "label_map_full";
    /// Counted by the agent: a process that could not be looked at.
    pub const LABEL_FAILED: &str = "label_failed";
    /// Counted by the agent: an event that is none.
    pub const MALFORMED_EVENT: &str = "malformed_event";
}
