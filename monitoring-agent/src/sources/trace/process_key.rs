//! What tells a process from all others of this machine's boot, those before and after it under the
//! same number included.

use monitoring_common::trace::Header;

/// A process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ProcessKey {
    pub(super) pid: u32,
    /// When it started, by `CLOCK_BOOTTIME`; 0 where the kernel could not tell.
    pub(super) start_ns: u64,
}

impl ProcessKey {
    /// Whose event it is.
    pub(super) fn of(header: &Header) -> Self {
        Self {
            pid: header.pid,
            start_ns: header.process_start_ns,
        }
    }
}
