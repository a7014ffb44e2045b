//! Profiles: stacks that are counted in the kernel, and how they come to the agent.
//!
//! A count has a [`Key`]; there are two maps of counts, of which one is filled while the agent
//! empties the other. A key that is new in its window sends its stack up the ring, once.

/// Whether a stack was taken while its thread ran a program, or the kernel.
pub mod mode {
    /// The program.
    pub const USER: u8 = 0;
    /// The kernel, on behalf of the thread.
    pub const KERNEL: u8 = 1;
    /// The modes' label values, by number.
    pub const NAMES: [&str; 2] = ["user", "kernel"];
}

/// How the walk over a program's stack ended.
pub mod status {
    /// At its beginning: where the thread or the program starts. Threads of the kernel, which have
    /// no such stack, are complete too.
    pub const COMPLETE: u8 = 0;
    /// After [`MAX_USER_FRAMES`](super::MAX_USER_FRAMES) frames; those next to the leaf are there.
    pub const TRUNCATED: u8 = 1;
    /// At what is no frame pointer: who called the last of the frames cannot be told.
    pub const NO_UNWIND_INFO: u8 = 2;
    /// There was nothing to begin with, or the stack did not reach the agent.
    pub const ERROR: u8 = 3;
    /// The label values, by number.
    pub const NAMES: [&str; 4] = ["complete", "truncated", "no_unwind_info", "error"];
}

/// What a stack of a memory profile has grown: [`Key::reason`].
pub mod memory {
    /// Memory that is there: pages that page faults brought.
    pub const RESIDENT: u16 = 0;
    /// Address space: `mmap`, `mremap` and `brk`.
    pub const MAPPED: u16 = 1;
    /// The label values, by number.
    pub const NAMES: [&str; 2] = ["resident", "mapped"];
}

/// Most frames of a program that are walked.
pub const MAX_USER_FRAMES: usize = 200;

/// Most frames of the kernel: what its own walk gives as long as nobody changes
/// `kernel.perf_event_max_stack`.
pub const MAX_KERNEL_FRAMES: usize = 127;

/// Room for the frames of a stack: a power of two, for the sake of bounds that verifiers follow.
pub const FRAME_SLOTS: usize = 512;

const _: () = assert!(MAX_USER_FRAMES + MAX_KERNEL_FRAMES <= FRAME_SLOTS);

/// What counts as the same. Two samples with equal keys have equal stacks: that any two of ten
/// thousand stacks of one thread share a hash has a chance of 3 in 10¹².
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(C)]
pub struct Key {
    /// The address space, by its address in the kernel: it differs between programs that a process
    /// executes one after the other. 0 for threads of the kernel.
    pub space: u64,
    /// A hash of the program's frames. 0 if there are none.
    pub user: u64,
    /// A hash of the kernel's frames. 0 if there are none.
    pub kernel: u64,
    /// The process.
    pub process: u32,
    /// The thread.
    pub thread: u32,
    /// The agent that the process belonged to; see [`crate::agents`].
    pub agent: u16,
    /// Of a profile off the CPU, one of [`crate::sched::reason`]; of a memory profile, one of
    /// [`memory`]; else 0.
    pub reason: u16,
    /// One of [`mode`].
    pub mode: u8,
    /// One of [`status`].
    pub status: u8,
    /// Always 0.
    pub padding: u16,
}

const _: () = assert!(size_of::<Key>() == 8 * 3 + 4 * 2 + 2 * 2 + 1 + 1 + 2);

/// What has been counted of a key in a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Count {
    /// Samples, switches away from a CPU, faults or calls.
    pub samples: u64,
    /// Nanoseconds on or off a CPU, or bytes.
    pub value: u64,
    /// Not 0 once the stack has gone up the ring.
    pub sent: u64,
}

const _: () = assert!(size_of::<Count>() == 8 * 3);

/// The head of a record in the ring. Behind it are the program's frames and then the kernel's,
/// each 64 bits wide, leaf first.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct StackHead {
    /// Whose stack it is.
    pub key: Key,
    /// When it was taken, on the monotonic clock.
    pub time_ns: u64,
    /// When its process started, since boot.
    pub process_start_ns: u64,
    /// Samples that are in no map, for lack of room, and counted by this record alone. Mostly 0.
    pub samples: u64,
    /// Their value.
    pub value: u64,
    /// The window in which it was taken.
    pub window: u32,
    /// Number of the program's frames.
    pub user_frames: u16,
    /// Number of the kernel's frames.
    pub kernel_frames: u16,
    /// The thread's name.
    pub comm: [u8; 16],
    /// The name of the process's first thread.
    pub process_comm: [u8; 16],
}

const _: () = assert!(size_of::<StackHead>() == size_of::<Key>() + 8 * 4 + 4 + 2 + 2 + 16 * 2);

/// What a thread remembers while it is off its CPU. Kernel side, and what the pass over all tasks
/// hands to the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Waiting {
    /// What its time counts under.
    pub key: Key,
    /// In the kernel, since when its time is not counted yet, and 0 while it is on a CPU. In what the
    /// pass hands over, the time until the pass, which is counted by that.
    pub ns: u64,
}

const _: () = assert!(size_of::<Waiting>() == size_of::<Key>() + 8);

/// What a thread remembers of a page fault, or of a call, that it is in. Kernel side only.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Growing {
    /// Pages that were allocated for it in this fault.
    pub pages: u64,
    /// Not 0 during a fault.
    pub in_fault: u64,
    /// The end of its heap when it entered the call `brk`.
    pub heap_end: u64,
}

const _: () = assert!(size_of::<Growing>() == 8 * 3);

/// Which map is filled: `COUNTS_A` in windows with even numbers, `COUNTS_B` in the others.
pub const WINDOW: &str = "WINDOW";

crate::plain_data!(Key, Count, StackHead, Waiting, Growing);

/// Slots of the per-CPU array `LOST`.
pub mod lost {
    /// Neither the map of counts nor the ring had room: a sample that nobody knows of.
    pub const SAMPLE: u32 = 0;
    /// The kernel had no memory for what a thread has to remember.
    pub const TASK_STATE: u32 = 1;
    /// A thread without such memory left its CPU; how long it was away is not known.
    pub const SWITCH: u32 = 2;
    /// The reasons' label values, by slot.
    pub const REASONS: [&str; 3] = ["sample", "task_state", "switch"];
}
