//! What a source is: something that can be asked for its current numbers.
//!
//! A source knows no exporter and no other source. It may block: it runs on a thread of its own,
//! and one that hangs holds up only itself.

use std::time::Duration;

use prometheus::proto::MetricFamily;

/// One family of numbers: host files, a set of kernel programs, a device library.
pub trait Source: Send {
    /// Reads the current totals. Called once per collection interval, on the source's own thread.
    ///
    /// # Errors
    ///
    /// When the numbers could not be read this time. The source's last good batch stays exported,
    /// its `monitoring_agent_source_up` turns 0, and it is asked again at the next interval.
    fn collect(&mut self) -> anyhow::Result<Batch>;
}

/// Why a source can collect no more: a part of it has ended that does not come back by itself. When
/// the configuration is loaded anew, the source is started anew.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}; it begins again when the configuration is loaded anew")]
pub struct Ended(
    /// What has ended, for people.
    pub &'static str,
);

/// What a source hands over at a collection. All counts are totals since the source started.
#[derive(Debug, Default)]
pub struct Batch {
    /// The source's metrics, with the catalogue's names.
    pub families: Vec<MetricFamily>,
    /// Events that the source could not account for, by reason.
    pub lost: Vec<(&'static str, u64)>,
    /// Kernel programs, if the source has any.
    pub programs: Vec<ProgramState>,
    /// Kernel maps, if the source has any.
    pub maps: Vec<MapState>,
    /// How old its numbers were when the collection began. Zero, unless the source reads them at
    /// times of its own.
    pub age: Duration,
    /// Why the source has nothing to deliver for now, though nothing failed: what it reads is not
    /// there. Its `monitoring_agent_source_up` is 0, its metrics end, and nothing counts as lost.
    /// It is asked again at each interval, and is back as soon as this is `None`.
    pub off: Option<Off>,
    /// Why these are the last numbers once more, as far as they could not be read this time.
    /// Counts as a collection that failed: its `monitoring_agent_source_up` is 0, and its numbers
    /// grow old.
    pub stale: Option<String>,
    /// Whether its first numbers are still on their way. Like `off`, and not worth a word.
    pub starting: bool,
    /// Parts of what the source reads that do not answer, and why, for people.
    pub missing: Vec<String>,
}

/// Why a source has nothing to deliver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Off {
    /// For people.
    pub why: String,
    /// Whether many a node is like that, and nobody asked for what is not there.
    pub is_usual: bool,
}

/// A kernel program of a source.
#[derive(Clone, Debug)]
pub struct ProgramState {
    /// The program's function name.
    pub name: String,
    /// Whether it is attached and counting.
    pub attached: bool,
    /// Runs since loading; 0 unless BPF statistics are switched on.
    pub runs: u64,
    /// Time spent in it since loading, in nanoseconds; 0 unless BPF statistics are switched on.
    pub run_ns: u64,
}

/// A kernel map of a source.
#[derive(Clone, Debug)]
pub struct MapState {
    /// The map's name.
    pub name: String,
    /// Entries in use, where the source counts them.
    pub entries: Option<u64>,
    /// Kernel memory in bytes, as the kernel accounts for it.
    pub bytes: u64,
}

/// Why a source did not start. The caller's decision differs: carry on without it, or report it.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// This kernel, machine or set of privileges has no such thing. Not a fault of the agent.
    #[error("not available here: {0}")]
    Unsupported(String),
    /// It should have worked.
    #[error("broken: {0:#}")]
    Broken(#[from] anyhow::Error),
}
