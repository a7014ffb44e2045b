//! Files whose hooks are not seen, or of which nobody knows whether they have any: counts each by
//! reason, and says so once. Knows neither processes nor probes.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use tracing::{debug, warn};

/// Most files that are remembered to have been counted. With more, some may count again.
const MAX_COUNTED: usize = 4_096;

/// Most warnings: whoever makes files without end must not fill the log. What comes later is counted.
const MAX_WARNINGS: u32 = 100;

/// What is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Why {
    /// The file could not be opened or read.
    Unreadable,
    /// There are too many files.
    Full,
    /// The kernel or a limit refused the probes.
    Refused,
}

/// Reasons by [`Why`].
const REASONS: [&str; 3] = ["unreadable", "files_full", "probe_refused"];

/// How many files, by [`Why`].
#[derive(Debug, Default)]
pub(super) struct Counts([AtomicU64; REASONS.len()]);

impl Counts {
    /// What was not seen, by reason.
    pub(super) fn read(&self) -> [(&'static str, u64); REASONS.len()] {
        std::array::from_fn(|at| (REASONS[at], self.0[at].load(Relaxed)))
    }
}

/// Which were counted.
#[derive(Debug)]
pub(super) struct Unseen {
    counts: Arc<Counts>,
    counted: HashSet<(u64, u64, Why)>,
    warnings: u32,
}

impl Unseen {
    pub(super) fn new(counts: &Arc<Counts>) -> Self {
        Self {
            counts: Arc::clone(counts),
            counted: HashSet::new(),
            warnings: 0,
        }
    }

    /// Counts a file, by device and inode, unless it is counted already. `path` and `reason` are for
    /// a message.
    pub(super) fn add(&mut self, (device, inode): (u64, u64), why: Why, path: &str, reason: &str) {
        if self.counted.len() >= MAX_COUNTED {
            self.counted.clear();
        }
        if !self.counted.insert((device, inode, why)) {
            return;
        }
        self.counts.0[why as usize].fetch_add(1, Relaxed);
        if self.warnings < MAX_WARNINGS {
            self.warnings += 1;
            warn!(
                path,
                "what a program says of its agents may be missed: {reason}"
            );
        } else {
            debug!(
                path,
                "what a program says of its agents may be missed: {reason}"
            );
        }
    }

    /// Counts a file anew should it fail again.
    pub(super) fn forget(&mut self, (device, inode): (u64, u64)) {
        for why in [Why::Unreadable, Why::Full, Why::Refused] {
            self.counted.remove(&(device, inode, why));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_counts_once_for_each_reason() {
        let counts = Arc::default();
        let mut unseen = Unseen::new(&counts);
        for _ in 0..2 {
            unseen.add((1, 2), Why::Unreadable, "/a", "torn");
            unseen.add((1, 3), Why::Unreadable, "/b", "torn");
            unseen.add((1, 3), Why::Refused, "/b", "no");
        }
        let want = [("unreadable", 2), ("files_full", 0), ("probe_refused", 1)];
        assert_eq!(counts.read(), want);
        unseen.forget((1, 3));
        unseen.add((1, 3), Why::Full, "/b", "no");
        unseen.add((1, 3), Why::Refused, "/b", "no");
        let want = [("unreadable", 2), ("files_full", 1), ("probe_refused", 2)];
        assert_eq!(counts.read(), want);
    }
}
