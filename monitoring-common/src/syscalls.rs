//! Family `syscalls`: counts, errors and durations of system calls.

use crate::{agents::MAX_AGENTS, histogram::Histogram};

/// Numbers below this are calls of the native table; no architecture comes near it.
pub const NATIVE_CALLS: u16 = 512;

/// Set in a [`CallKey::syscall`] that counts in the 32-bit table: a call of a 32-bit process.
pub const COMPAT: u16 = 0x8000;

/// [`CallKey::syscall`] of every number that no table of this machine can hold.
pub const INVALID: u16 = 0x7fff;

/// Most pairs of system call and agent; beyond them calls are counted in `LOST`. The loader makes
/// the map smaller where there are few agents. 2,048 entries are 0.5 MB for each possible CPU, 512
/// are 0.1 MB.
pub const MAX_CALLS: usize = 2_048;

/// Places for calls that are made often, which are found by two array look-ups instead of a hash:
/// measured, 35 ns a call. 512 places are 120 KiB on each CPU.
pub const MAX_HOT: usize = 512;

/// For one agent and one table, the place of each call that has one: an index into the array
/// `HOT`, or 0.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct HotRow {
    /// By [`hot_column`].
    pub places: [u16; NATIVE_CALLS as usize],
}

const _: () = assert!(size_of::<HotRow>() == 2 * NATIVE_CALLS as usize);

/// Rows: the native and the 32-bit table of each agent.
pub const HOT_ROWS: usize = 2 * MAX_AGENTS;

/// Which row a call is in.
#[inline(always)]
pub const fn hot_row(key: CallKey) -> u32 {
    // A row for each table, and not one with both behind each other: 6.1's verifier loses track
    // of an index made of two parts.
    (key.agent as u32) * 2 + (key.syscall & COMPAT != 0) as u32
}

/// Where in its row a call is. [`INVALID`] shares the last column with the table's last number,
/// which is why that one is never given a place.
#[inline(always)]
pub const fn hot_column(syscall: u16) -> usize {
    (syscall & (NATIVE_CALLS - 1)) as usize
}

/// Most triples of system call, agent and error number. 4,096 entries take 32 KiB on each CPU.
pub const MAX_ERRORS: usize = 4_096;

/// What calls are counted under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(C)]
pub struct CallKey {
    /// Number in the native table, or in the 32-bit table with [`COMPAT`] set, or [`INVALID`].
    pub syscall: u16,
    /// The caller's agent.
    pub agent: u16,
}

const _: () = assert!(size_of::<CallKey>() == 2 + 2);

/// What failed calls are counted under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct ErrorKey {
    /// The call.
    pub call: CallKey,
    /// The positive error number, from 1 to 4095.
    pub errno: u32,
}

const _: () = assert!(size_of::<ErrorKey>() == 4 + 4);

/// One CPU's calls of one [`CallKey`].
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Calls {
    /// Completed calls, by duration.
    pub timed: Histogram,
    /// Calls without a duration: those that never return (`exit`, `exit_group`), those already
    /// running when counting began, and those that a seccomp filter refused.
    pub untimed: u64,
}

const _: () = assert!(size_of::<Calls>() == size_of::<Histogram>() + 8);
crate::plain_data!(CallKey, ErrorKey, Calls, HotRow);

impl Calls {
    /// No calls.
    pub const EMPTY: Self = Self {
        timed: Histogram::EMPTY,
        untimed: 0,
    };

    /// All calls, with and without a duration.
    pub fn count(&self) -> u64 {
        self.timed.count().wrapping_add(self.untimed)
    }

    /// Adds another CPU's calls.
    pub fn merge(&mut self, other: &Self) {
        self.timed.merge(&other.timed);
        self.untimed = self.untimed.wrapping_add(other.untimed);
    }
}

/// What a task remembers between the entry and the exit of a call. Kernel side only.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct TaskCall {
    /// Time of entry, or 0 outside a call, or [`UNWATCHED`].
    pub start_ns: u64,
    /// The epoch under which `agent` was read; see [`crate::agents::LABEL_EPOCH`].
    pub epoch: u32,
    /// The task's agent.
    pub agent: u16,
    /// The running call, as in [`CallKey::syscall`].
    pub syscall: u16,
}

const _: () = assert!(size_of::<TaskCall>() == 8 + 4 + 2 + 2);

/// [`TaskCall::start_ns`] of a call that the filter leaves out.
pub const UNWATCHED: u64 = u64::MAX;

/// Slots of the per-CPU array `LOST`.
pub mod lost {
    /// The kernel had no memory for a task's state: the call is counted, its duration is not.
    pub const TASK_STATE: u32 = 0;
    /// More pairs of call and agent than `MAX_CALLS`: the call is not counted.
    pub const CALLS_FULL: u32 = 1;
    /// More triples of call, agent and error than `MAX_ERRORS`: the error is not counted.
    pub const ERRORS_FULL: u32 = 2;
    /// The reasons' label values, by slot.
    pub const REASONS: [&str; 3] = ["task_state", "calls_full", "errors_full"];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_apart() {
        let place = |syscall, agent| {
            let key = CallKey { syscall, agent };
            (hot_row(key), hot_column(syscall))
        };
        assert_eq!(place(0, 0), (0, 0));
        assert_eq!(place(NATIVE_CALLS - 2, 0), (0, 510));
        assert_eq!(place(INVALID, 0), (0, 511));
        assert_eq!(place(COMPAT, 0), (1, 0));
        assert_eq!(place(COMPAT | 511, 63), (127, 511));
    }
}
