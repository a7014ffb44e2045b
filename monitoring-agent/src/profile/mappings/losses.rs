//! What was not heard or not kept, by reason.

/// Why something is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    /// Records for which the kernel had no room.
    Records,
    /// Processes that could not be read, or were forgotten early for want of room.
    Processes,
    /// Mappings for which there was no room.
    Mappings,
    /// Files for which there was no room.
    Files,
    /// Files that were not opened, and processes that were not read, because that took too long:
    /// they can be found later only if they are still there.
    Postponed,
}

const REASONS: [&str; 5] = [
    "ring_full",
    "process",
    "mappings_full",
    "files_full",
    "slow",
];

/// Counts what is missing.
#[derive(Debug, Default)]
pub(super) struct Losses {
    counts: [u64; REASONS.len()],
    times: u64,
    since_ns: u64,
}

impl Losses {
    pub(super) fn add(&mut self, loss: Loss, count: u64) {
        self.counts[loss as usize] += count;
    }

    /// Something may have happened unheard: since `since_ns`, when all was heard.
    pub(super) fn unheard(&mut self, records: u64, since_ns: u64) {
        self.add(Loss::Records, records);
        self.times += 1;
        self.since_ns = since_ns;
    }

    /// How many times that was so.
    pub(super) fn times(&self) -> u64 {
        self.times
    }

    /// The last time that all had been heard before something was not.
    pub(super) fn since_ns(&self) -> u64 {
        self.since_ns
    }

    pub(super) fn counts(&self) -> Vec<(&'static str, u64)> {
        REASONS.into_iter().zip(self.counts).collect()
    }
}
