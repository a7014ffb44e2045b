//! Processes and their threads, as the kernel programs tell them apart.

use crate::trace::ThreadContext;

/// A process from its start, or from the last program that it executed, to its end: its pid in the
/// upper half, and in the lower when it was first seen. Never 0, and never another's.
pub type ProcessId = u64;

/// The pid of a process.
#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "the upper half")]
pub const fn pid_of(process: ProcessId) -> u32 {
    (process >> 32) as u32
}

/// What a process is called that is seen for the first time. Milliseconds, about, of which 32 bits
/// last for 52 days: longer than anything of an ended process is kept.
#[inline(always)]
pub const fn process_at(pid: u32, now_ns: u64) -> ProcessId {
    (pid as u64) << 32 | (now_ns >> 20 & 0xffff_ffff)
}

/// Most processes that use CUDA at the same time.
pub const MAX_USERS: usize = 16_384;

/// Most contexts and their devices.
pub const MAX_CONTEXTS: usize = 4_096;

/// An address, or a handle, in a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Address {
    /// The number; of a stream, an event, an allocation, a context or a function.
    pub value: u64,
    /// The process.
    pub process: ProcessId,
}

const _: () = assert!(size_of::<Address>() == 8 + 8);

/// What a thread remembers of the outermost call that it is in. Kernel side only.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Thread {
    /// Stack pointer at the call's entry; 0 outside of calls.
    pub stack: u64,
    /// The call's [`Hook`].
    pub hook: u64,
    /// When the call was entered.
    pub entered_ns: u64,
    /// Its arguments, in the order of its kind.
    pub arguments: [u64; 4],
    /// Its process, 0 if that was not asked yet.
    pub process: ProcessId,
    /// The devices of the contexts below the current one, the uppermost in the lowest 16 bits.
    pub devices_below: u64,
    /// The epoch under which `agent` was read; see [`crate::agents::LABEL_EPOCH`].
    pub epoch: u32,
    /// The thread's agent.
    pub agent: u16,
    /// The device that the thread has chosen, 0 if it never did.
    pub device: u16,
    /// Counted functions that were entered within the call.
    pub nested: u32,
    /// The device of `window`.
    pub window_device: u32,
    /// The stream of the thread's last launch, as windows are called; 0 if there is none.
    pub window: u64,
    /// The turn of its process's windows in which that one was seen to be open.
    pub window_turn: u64,
    /// When that one began. This and what follows only where calls are told of as spans.
    pub window_start_ns: u64,
    /// Number of the room of that one, from 1 on, 0 if it has none; and since when it has it.
    pub room: u64,
    /// As above.
    pub room_since_ns: u64,
    /// A place in it.
    pub place: u64,
    /// The application's span in which the thread began a window last.
    pub opener: ThreadContext,
    /// A launch's arguments 1 to 7, as far as they were read: the last two if `room` is not 0.
    pub shape: [u64; 7],
    /// The bytes that the call has copied, set, allocated or freed.
    pub bytes: u64,
    /// What the call returned.
    pub code: u32,
    /// In which direction it has copied.
    pub direction: u16,
    /// The attachment by which the call was met once more, 0 if it was not: see
    /// [`Hook::attachment`](super::Hook::attachment).
    pub again: u16,
    /// What the call ended, of which it is a part then: one of [`ended`].
    pub ended: u64,
    /// What the window is called that it ended.
    pub ended_window: u64,
    /// When that one had begun.
    pub begun_ns: u64,
    /// When the next one of the stream had begun, 0 if none had; or of a device's streams, how many
    /// had open windows.
    pub next_ns: u64,
    /// What that one is chosen with, the number of its room, and since when it had that: as it was
    /// ended. The next one may have others by now.
    pub ended_chain: u64,
    /// As above.
    pub ended_room: u64,
    /// As above.
    pub ended_room_since_ns: u64,
}

/// Values of [`Thread::ended`].
pub mod ended {
    /// No window, or none that is of interest as a span.
    pub const NOTHING: u64 = 0;
    /// That of a stream.
    pub const STREAM: u64 = 1;
    /// Those of all streams of a device.
    pub const DEVICE: u64 = 2;
}

const _: () = assert!(
    size_of::<Thread>()
        == 3 * 8 + 4 * 8 + 2 * 8 + 4 + 2 + 2 + 4 + 4 + 2 * 8 + (4 + 3 + 7 + 8) * 8 + 4 + 2 * 2
);

crate::plain_data!(Address);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_is_used_again_is_another_process() {
        let first = process_at(77, 5 << 20);
        let second = process_at(77, 6 << 20);
        assert_eq!((pid_of(first), pid_of(second)), (77, 77));
        assert_ne!(first, second);
        assert_eq!(pid_of(process_at(u32::MAX, u64::MAX)), u32::MAX);
    }
}
