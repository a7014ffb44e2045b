//! What a node is shown as: numbers ready to be drawn, worked out once for each snapshot. All text
//! in them is harmless. Knows metrics by name, and nothing of terminals.

pub(super) mod agents;
pub(super) mod cuda;
pub(super) mod gpus;
pub(super) mod host;
pub(super) mod latency;
pub(super) mod losses;

use agents::Agent;
use cuda::Cuda;
use gpus::Gpu;
use host::Host;
use latency::Latency;
use losses::Losses;

use super::change::Change;
use crate::scrape::printable;

/// All of a node's numbers.
#[derive(Debug)]
pub(super) struct Figures {
    pub(super) host: Host,
    pub(super) agents: Vec<Agent>,
    pub(super) gpus: Vec<Gpu>,
    pub(super) cuda: Cuda,
    pub(super) latencies: Vec<Latency>,
    pub(super) losses: Losses,
    /// The interval that rates are of, in seconds. There are none without.
    pub(super) interval_seconds: Option<f64>,
    /// Whether it is an agent that tells these numbers.
    pub(super) is_an_agents: bool,
}

impl Figures {
    pub(super) fn of(change: &Change<'_>) -> Self {
        Self {
            host: Host::of(change),
            agents: agents::of(change),
            gpus: gpus::of(change),
            cuda: Cuda::of(change),
            latencies: latency::of(change),
            losses: Losses::of(change),
            interval_seconds: change.seconds(),
            is_an_agents: change.new.is_an_agents(),
        }
    }
}

/// Most rows of a table, far more than anybody reads. Each is looked up among all values of its family,
/// so that an answer of nothing but rows would take for ever.
const ROWS: usize = 300;

/// Longest name that is shown, in characters: wider than most columns, and no kilobytes.
const LONGEST: usize = 120;

/// A name that somebody gave, as one short line of harmless text.
fn name(given: &str) -> String {
    short(given, LONGEST)
}

/// At most so many characters of a text, which may be endless, as one line of harmless text.
pub(super) fn short(given: &str, longest: usize) -> String {
    // Escaping takes no character away: more than these are never shown.
    let end = given.char_indices().nth(longest + 1);
    let shown = printable(end.map_or(given, |(end, _)| &given[..end]));
    if shown.chars().count() <= longest {
        return shown;
    }
    shown.chars().take(longest - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests;
