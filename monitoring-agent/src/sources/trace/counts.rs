//! What the kernel says of candidates: how many there were, and what became of those that did not
//! come up the ring. Knows no spans.

use anyhow::Context as _;
use aya::maps::{Map, MapData, PerCpuArray};
use monitoring_common::trace::{TRACE_COUNTS, TraceCounts, kind};

use crate::{
    loader::{SharedMaps, copied},
    spans::KernelCounts,
};

/// The kernel's counts.
pub(super) struct Counts {
    counts: PerCpuArray<MapData, TraceCounts>,
    /// The same map once more: the typed one does not give its descriptor.
    pub(super) state: MapData,
}

impl Counts {
    /// The shared map, if a family has made it.
    pub(super) fn open(shared: &SharedMaps) -> anyhow::Result<Option<Self>> {
        let Some(counts) = shared.get(TRACE_COUNTS)? else {
            return Ok(None);
        };
        Ok(Some(Self {
            state: copied(&counts)?,
            counts: Map::PerCpuArray(counts)
                .try_into()
                .context("map TRACE_COUNTS")?,
        }))
    }

    /// All CPUs' counts together, and how many contexts could not be read.
    ///
    /// A candidate is counted before what becomes of it. So what became of them is read first, and
    /// how many there were afterwards: none is missing then.
    pub(super) fn read(&self) -> anyhow::Result<(KernelCounts, u64)> {
        let outcomes = self.sum()?;
        let later = self.sum()?;
        let generated = kind::NAMES.into_iter().zip(later.generated);
        let counts = KernelCounts {
            // Roots come about in the agent.
            generated: generated.take(kind::ROOT).collect(),
            sampled_out: outcomes.sampled_out.iter().sum(),
            capped: outcomes.capped,
            ring_full: outcomes.ring_full,
        };
        Ok((counts, outcomes.context_unread))
    }

    fn sum(&self) -> anyhow::Result<TraceCounts> {
        let per_cpu = self.counts.get(&0, 0).context("read TRACE_COUNTS")?;
        let mut sum = TraceCounts::EMPTY;
        for counts in per_cpu.iter() {
            sum.merge(counts);
        }
        Ok(sum)
    }
}
