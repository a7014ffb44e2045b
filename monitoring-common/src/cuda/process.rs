//! Processes and their threads, as the kernel programs tell them apart.

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
    /// Always 0.
    pub padding: u32,
}

const _: () = assert!(size_of::<Thread>() == 3 * 8 + 4 * 8 + 2 * 8 + 4 + 2 + 2 + 4 + 4);

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
