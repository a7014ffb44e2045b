//! What agents have copied, allocated, waited for and executed.

use super::{ProcessId, direction};
use crate::histogram::Histogram;

/// Most allocations of device memory that are alive.
pub const MAX_ALLOCATIONS: usize = 131_072;

/// Most pairs of process and device that have memory.
pub const MAX_HOLDERS: usize = 4_096;

/// Pointers that were freed last, by which a second free of one is known.
pub const MAX_FREED: usize = 16_384;

/// Most streams, and processes, with launches that nobody has waited for.
pub const MAX_WINDOWS: usize = 16_384;

/// Counters of windows' turns, which processes share by their pids.
pub const TURNS: usize = 256;

/// Most events that are in streams. When there are more, those that nobody has used for long make
/// room.
pub const MAX_EVENTS: usize = 16_384;

/// Most threads that wait at the same time.
pub const MAX_WAITING: usize = 16_384;

/// What an agent has done on one CPU.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Sums {
    /// Bytes copied, by [`direction`].
    pub copied_bytes: [u64; direction::COUNT],
    /// Bytes set.
    pub set_bytes: u64,
    /// Bytes of device memory allocated.
    pub allocated_bytes: u64,
    /// Bytes of device memory freed.
    pub freed_bytes: u64,
    /// Frees of what is not known to have been allocated.
    pub unknown_frees: u64,
    /// Frees of what was freed before.
    pub double_frees: u64,
    /// Time spent waiting for the device.
    pub waited_ns: u64,
    /// Graphs launched.
    pub graphs: u64,
    /// Counted functions entered within other calls: not calls of their own, but traps.
    pub nested: u64,
    /// From a launch to the end of the wait for it.
    pub execution: Histogram,
}

const _: () = assert!(size_of::<Sums>() == 8 * (direction::COUNT + 8) + size_of::<Histogram>());

impl Sums {
    /// Nothing.
    pub const EMPTY: Self = Self {
        copied_bytes: [0; direction::COUNT],
        set_bytes: 0,
        allocated_bytes: 0,
        freed_bytes: 0,
        unknown_frees: 0,
        double_frees: 0,
        waited_ns: 0,
        graphs: 0,
        nested: 0,
        execution: Histogram::EMPTY,
    };

    /// Adds another CPU's.
    pub fn merge(&mut self, other: &Self) {
        for (sum, more) in self.copied_bytes.iter_mut().zip(other.copied_bytes) {
            *sum = sum.wrapping_add(more);
        }
        for (sum, more) in [
            (&mut self.set_bytes, other.set_bytes),
            (&mut self.allocated_bytes, other.allocated_bytes),
            (&mut self.freed_bytes, other.freed_bytes),
            (&mut self.unknown_frees, other.unknown_frees),
            (&mut self.double_frees, other.double_frees),
            (&mut self.waited_ns, other.waited_ns),
            (&mut self.graphs, other.graphs),
            (&mut self.nested, other.nested),
        ] {
            *sum = sum.wrapping_add(more);
        }
        self.execution.merge(&other.execution);
    }
}

/// Device memory that is in use.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Allocation {
    /// How much was asked for.
    pub bytes: u64,
    /// When, by the kernel's monotonic clock.
    pub since_ns: u64,
    /// The device of the thread that allocated it.
    pub device: u16,
    /// The process's agent at that time.
    pub agent: u16,
    /// Always 0.
    pub padding: u32,
}

const _: () = assert!(size_of::<Allocation>() == 8 + 8 + 2 + 2 + 4);

/// Who holds device memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct HolderKey {
    /// The process.
    pub process: ProcessId,
    /// Its agent at its first allocation.
    pub agent: u16,
    /// The device.
    pub device: u16,
    /// Always 0.
    pub padding: u32,
}

const _: () = assert!(size_of::<HolderKey>() == 8 + 2 + 2 + 4);

/// What a process has allocated and freed on a device.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Held {
    /// Bytes allocated so far.
    pub allocated_bytes: u64,
    /// Bytes freed so far, of those.
    pub freed_bytes: u64,
}

const _: () = assert!(size_of::<Held>() == 8 + 8);

/// Launches on a stream, or of a process on all streams of a device, that nobody has waited for.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Window {
    /// When the first of them was made; 0 if there is none.
    pub first_ns: u64,
    /// When the last launch was made, of those that were the first of their thread since a turn.
    pub last_ns: u64,
    /// Of a device: when the last wait for all streams began.
    pub synced_ns: u64,
    /// Of a device: the process's streams with such launches.
    pub open: u64,
    /// Of a stream: the device of its last launch.
    pub device: u64,
    /// What it is chosen with as a span, or not: see [`crate::trace::chain`]. This and what follows
    /// only where calls are told of as spans.
    pub chain: u64,
    /// Of a stream: number of the [room](crate::trace::cuda::Room) in which its spans are kept, from
    /// 1 on, 0 if it has none. Of a device: 1 if one of its streams may have any.
    pub room: u64,
    /// Of a stream: since when it has the room.
    pub room_since_ns: u64,
}

const _: () = assert!(size_of::<Window>() == 8 * 8);

/// An event that was put into a stream.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct RecordedEvent {
    /// The stream, as windows are called.
    pub stream: u64,
    /// When.
    pub recorded_ns: u64,
}

const _: () = assert!(size_of::<RecordedEvent>() == 2 * 8);

/// A thread in a call that waits for the device.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Waiting {
    /// Since when.
    pub entered_ns: u64,
    /// Its agent.
    pub agent: u16,
    /// Always 0.
    pub padding: [u16; 3],
}

const _: () = assert!(size_of::<Waiting>() == 8 + 2 + 6);

crate::plain_data!(
    Sums,
    Allocation,
    HolderKey,
    Held,
    Window,
    RecordedEvent,
    Waiting
);
