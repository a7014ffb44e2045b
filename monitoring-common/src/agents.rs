//! Who a process belongs to: the label maps that all families share.
//!
//! The agent matches processes against `[[agents]]` and writes the answer into [`AGENT_OF`]. Each
//! task remembers its own answer together with the [`LABEL_EPOCH`] it was read under, so that the
//! look-up is paid once per task and epoch and not once per event.

/// Number of an agent (a watched process group). Index into the agent's list of names.
pub type AgentId = u16;

/// The agent of every process that no `[[agents]]` rule matches: the rest of the node.
pub const OTHER: AgentId = 0;

/// Most agents that can be told apart, [`OTHER`] included.
///
/// Agents multiply the series of every family, and a node that runs more than 63 kinds of watched
/// process is better served by broader rules.
pub const MAX_AGENTS: usize = 64;

/// Name of the map process id → [`Label`]. Holds watched processes only.
pub const AGENT_OF: &str = "AGENT_OF";

/// Most watched processes at a time. 16,384 entries are about 1.2 MB of kernel memory.
pub const MAX_PROCESSES: usize = 16_384;

/// Name of the one-element array that changes whenever [`AGENT_OF`] does; see [`epoch_at`].
pub const LABEL_EPOCH: &str = "LABEL_EPOCH";

/// A process's agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Label {
    /// The [`AgentId`].
    pub agent: u32,
    /// When the process started, by [`start_ticks`]: it tells an entry of an earlier process of
    /// the same number apart.
    pub started_ticks: u32,
}

const _: () = assert!(size_of::<Label>() == 4 + 4);
crate::plain_data!(Label);

/// Nanoseconds of one tick of `/proc/PID/stat`: its `USER_HZ` is 100 on x86-64 and arm64.
const TICK_NS: u64 = 10_000_000;

/// A process's start since boot in the ticks of `/proc/PID/stat`, cut to 32 bits: 497 days, longer
/// than any process number waits for its next owner.
#[inline(always)]
#[must_use]
#[allow(clippy::cast_possible_truncation, reason = "the low half is meant")]
pub const fn start_ticks(since_boot_ns: u64) -> u32 {
    (since_boot_ns / TICK_NS) as u32
}

/// The epoch that begins at this time of the kernel's monotonic clock.
///
/// Kernel programs on all CPUs and the agent begin epochs without a lock, so an epoch is a time
/// and not a count: whoever writes last, no task has looked under that value before the change
/// that it announces. A slot is 64 ns, shorter than any change takes; values repeat after 275 s,
/// and whoever sleeps so long meets its old one with a chance of 1 in 4 billion. 0 is no epoch:
/// tasks start with it, as "never looked".
#[inline(always)]
#[must_use]
#[allow(clippy::cast_possible_truncation, reason = "the low half is meant")]
pub const fn epoch_at(monotonic_ns: u64) -> u32 {
    let epoch = (monotonic_ns >> 6) as u32;
    if epoch == 0 { 1 } else { epoch }
}

#[cfg(test)]
mod tests {
    use super::{epoch_at, start_ticks};

    #[test]
    fn epochs_are_never_zero_and_follow_the_clock() {
        assert_eq!(epoch_at(0), 1);
        assert_eq!(epoch_at(64 << 32), 1);
        assert_eq!(epoch_at(640), 10);
        assert_ne!(epoch_at(640), epoch_at(704));
    }

    #[test]
    fn starts_are_in_hundredths_of_a_second() {
        assert_eq!(start_ticks(9_999_999), 0);
        assert_eq!(start_ticks(10_000_000), 1);
        assert_eq!(
            start_ticks(u64::from(u32::MAX) * 10_000_000 + 20_000_000),
            1
        );
    }
}
