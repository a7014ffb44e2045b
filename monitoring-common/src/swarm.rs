//! Family `swarm`: what applications say of their agents, by the hooks of the crate `monitoring`.

/// The hooks, as the cookie of an attach point says which one it is.
pub mod hook {
    /// An agent begins to work. Arguments of all: an agent's name.
    pub const AGENT_SPAWNED: u64 = 0;
    /// An agent has ended.
    pub const AGENT_STOPPED: u64 = 1;
    /// An agent has sent a message. Further argument: its bytes.
    pub const MESSAGE_SENT: u64 = 2;
    /// An agent has received a message. Further argument: its bytes.
    pub const MESSAGE_RECEIVED: u64 = 3;
    /// An agent has reached a goal.
    pub const GOAL_COMPLETED: u64 = 4;
    /// An agent has failed a goal.
    pub const GOAL_FAILED: u64 = 5;
    /// An agent's evolution has come to a generation. Further arguments: its number, the best and
    /// the mean fitness.
    pub const GENERATION: u64 = 6;
    /// A queue has so many jobs. Arguments: the queue's name, and how many.
    pub const JOB_QUEUE_DEPTH: u64 = 7;
    /// An agent has so much of a resource. Arguments: the resource's name, the agent's, and how much.
    pub const RESOURCE_ALLOCATED: u64 = 8;
}

/// Room for a name, and a byte for its length.
pub const NAME_BYTES: usize = 64;

/// Longest name in bytes. It is one less than a power of two, so that a mask is a bound.
pub const MAX_NAME: u64 = NAME_BYTES as u64 - 1;

/// A name that a program gave: its bytes, zeros, and in the last byte how many bytes it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(C)]
pub struct Name(pub [u8; NAME_BYTES]);

const _: () = assert!(size_of::<Name>() == NAME_BYTES);

impl Name {
    /// The empty name.
    pub const EMPTY: Self = Self([0; NAME_BYTES]);

    /// What the program gave.
    pub fn bytes(&self) -> &[u8] {
        let length = usize::from(self.0[NAME_BYTES - 1]);
        self.0.get(..length).unwrap_or_default()
    }
}

/// Places in [`Counts`]: of the six hooks that count by their number, then of the two that have
/// bytes.
pub const COUNTS: usize = 8;

/// Where the bytes of [`hook::MESSAGE_SENT`] and of [`hook::MESSAGE_RECEIVED`] are in [`Counts`],
/// from the hook's own place on.
pub const TO_BYTES: u64 = 4;

/// One CPU's counts under one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Counts {
    /// By place.
    pub sums: [u64; COUNTS],
}

const _: () = assert!(size_of::<Counts>() == 8 * COUNTS);

impl Counts {
    /// Nothing was counted.
    pub const EMPTY: Self = Self { sums: [0; COUNTS] };

    /// Adds another CPU's counts.
    pub fn merge(&mut self, other: &Self) {
        for (sum, more) in self.sums.iter_mut().zip(other.sums) {
            *sum = sum.wrapping_add(more);
        }
    }
}

/// Most names under which is counted; what comes under further ones counts as `other`. Entries are made
/// when needed: 1,024 of them take 64 KiB on each CPU.
pub const MAX_NAMES: usize = 1_024;

/// Most values that processes have said and that may be shown. 4,096 entries are 1 MB, if needed.
pub const MAX_REPORTS: usize = 4_096;

/// What a value is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct ReportKey {
    /// In the order of the hook's arguments; the second may be unused, and is empty then.
    pub names: [Name; 2],
    /// Where the stack of the process's program begins: another one after it executes another
    /// program.
    pub stack: u64,
    /// The hook's number.
    pub hook: u64,
    /// The process.
    pub pid: u32,
    /// When it started; see [`crate::agents::start_ticks`].
    pub started_ticks: u32,
}

const _: () = assert!(size_of::<ReportKey>() == 2 * NAME_BYTES + 8 + 8 + 4 + 4);

/// What a process said last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Report {
    /// When, on the monotonic clock.
    pub at_ns: u64,
    /// The hook's numbers, in their order; those that need not be whole as the bits of an `f64`.
    pub values: [u64; 3],
}

const _: () = assert!(size_of::<Report>() == 8 + 3 * 8);

crate::plain_data!(Name, Counts, ReportKey, Report);

/// Slots of the per-CPU array `LOST`.
pub mod lost {
    /// A name of more than [`super::MAX_NAME`] bytes: what came under it counts as `other`, and a
    /// value is not shown.
    pub const NAME_TOO_LONG: u32 = 0;
    /// A name that could not be read; likewise.
    pub const NAME_UNREADABLE: u32 = 1;
    /// More names than [`super::MAX_NAMES`]; likewise.
    pub const NAMES_FULL: u32 = 2;
    /// More values than [`super::MAX_REPORTS`]: one is not shown.
    pub const REPORTS_FULL: u32 = 3;
    /// The reasons' label values, by slot.
    pub const REASONS: [&str; 4] = [
        "name_too_long",
        "name_unreadable",
        "names_full",
        "reports_full",
    ];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_their_own_length() {
        let name = |bytes: &[u8], length| {
            let mut name = Name::EMPTY;
            name.0[..bytes.len()].copy_from_slice(bytes);
            name.0[NAME_BYTES - 1] = length;
            name
        };
        assert_eq!(Name::EMPTY.bytes(), b"");
        assert_eq!(name(b"a\0", 2).bytes(), b"a\0");
        assert_ne!(name(b"a", 1), name(b"a\0", 2));
        assert_eq!(name(&[7; 63], 63).bytes(), [7; 63]);
        // Nobody writes that.
        assert_eq!(name(b"a", 200).bytes(), b"");
    }

    #[test]
    fn bytes_stand_behind_all_hooks_that_count() {
        assert_eq!(hook::MESSAGE_SENT + TO_BYTES, hook::GOAL_FAILED + 1);
        assert_eq!(hook::MESSAGE_RECEIVED + TO_BYTES, COUNTS as u64 - 1);
    }
}
