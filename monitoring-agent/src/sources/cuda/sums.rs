//! What agents have copied, allocated, freed, waited for and executed.

use std::collections::BTreeMap;

use aya::maps::MapData;
use monitoring_common::{
    agents::MAX_AGENTS,
    cuda::{Held, HolderKey, Sums, direction},
};
use prometheus::proto::MetricFamily;

use super::calls::agent;
use crate::{
    families::Family as Metrics,
    loader::Loaded,
    per_cpu::{PerCpuElements, PerCpuReader},
};

const COPIED_HELP: &str = "Bytes of copies by CUDA calls that succeeded, by direction; unknown \
                           where the driver finds it out from the addresses.";
const ALLOCATED_HELP: &str = "Device memory allocated by CUDA calls, summed up.";
const FREED_HELP: &str = "Device memory freed by CUDA calls, of what was seen to be allocated.";
const UNKNOWN_FREES_HELP: &str = "Frees of device memory that was not seen to be allocated: freed \
                                  before, or allocated before the agent looked.";
const WAITED_HELP: &str = "Time in CUDA calls that return only when the device has done something: \
                           synchronisations and synchronous copies.";
const GRAPHS_HELP: &str =
    "CUDA graphs launched. The kernels in a graph are not counted one by one.";
const EXECUTION_HELP: &str = "From the first launch that nobody had waited for, on a stream or by \
                              a process, to the end of the synchronisation that waited for it: an \
                              upper bound of how long the device worked.";
const HELD_HELP: &str = "Device memory that processes have allocated by CUDA calls, since the agent \
                         looks, and not freed.";

/// The maps of sums.
pub(super) struct SumMaps {
    sums: MapData,
    held: MapData,
    sum_reader: PerCpuElements<Sums>,
    held_reader: PerCpuReader<HolderKey, Held>,
    /// By agent, at the last collection.
    nested: [u64; MAX_AGENTS],
}

impl SumMaps {
    pub(super) fn new(loaded: &mut Loaded) -> anyhow::Result<Self> {
        Ok(Self {
            sums: loaded.take_map("SUMS")?,
            held: loaded.take_map("HELD")?,
            sum_reader: PerCpuElements::new()?,
            held_reader: PerCpuReader::of_one_value(),
            nested: [0; MAX_AGENTS],
        })
    }

    pub(super) fn maps(&self) -> [(&'static str, &MapData); 2] {
        [("SUMS", &self.sums), ("HELD", &self.held)]
    }

    /// Functions that were entered within calls until the last collection, by agent.
    pub(super) fn nested(&self) -> [u64; MAX_AGENTS] {
        self.nested
    }

    /// All metrics of sums. An agent has those that are not zero.
    pub(super) fn collect(&mut self, agents: &[String]) -> anyhow::Result<Vec<MetricFamily>> {
        let mut copied = Metrics::counter("cuda_memcpy_bytes_total", COPIED_HELP);
        let mut allocated = Metrics::counter("cuda_alloc_bytes_total", ALLOCATED_HELP);
        let mut freed = Metrics::counter("cuda_free_bytes_total", FREED_HELP);
        let mut unknown = Metrics::counter("cuda_unknown_frees_total", UNKNOWN_FREES_HELP);
        let mut waited = Metrics::counter("cuda_sync_wait_seconds_total", WAITED_HELP);
        let mut graphs = Metrics::counter("cuda_graph_launches_total", GRAPHS_HELP);
        let mut execution = Metrics::histogram("gpu_kernel_execution_seconds", EXECUTION_HELP);
        for (number, name) in (0..).zip(agents) {
            let mut sum = Sums::EMPTY;
            for per_cpu in self.sum_reader.read(&self.sums, number)? {
                sum.merge(per_cpu);
            }
            if let Some(nested) = self.nested.get_mut(number as usize) {
                *nested = sum.nested;
            }
            let label = ("agent", name.as_str());
            for (bytes, direction) in sum.copied_bytes.iter().zip(direction::NAMES) {
                if *bytes > 0 {
                    copied.push(&[label, ("direction", direction)], *bytes as f64);
                }
            }
            for (family, value) in [
                (&mut allocated, sum.allocated_bytes as f64),
                (&mut freed, sum.freed_bytes as f64),
                (&mut unknown, sum.unknown_frees as f64),
                (&mut waited, sum.waited_ns as f64 / 1e9),
                (&mut graphs, sum.graphs as f64),
            ] {
                if value > 0.0 {
                    family.push(&[label], value);
                }
            }
            if sum.execution.count() > 0 {
                execution.push_durations(&[label], &sum.execution);
            }
        }
        let mut families = vec![self.held(agents)?];
        families.extend(
            [copied, allocated, freed, unknown, waited, graphs, execution].map(Metrics::build),
        );
        Ok(families)
    }

    /// What living processes hold, by agent and device.
    fn held(&mut self, agents: &[String]) -> anyhow::Result<MetricFamily> {
        let mut sums: BTreeMap<(u16, u16), u64> = BTreeMap::new();
        self.held_reader.for_each(self.held.fd(), |key, values| {
            let bytes = values.iter().fold(0, |sum: u64, held| {
                sum + held.allocated_bytes.saturating_sub(held.freed_bytes)
            });
            *sums.entry((key.agent, key.device)).or_default() += bytes;
        })?;
        let mut held = Metrics::gauge("cuda_allocated_bytes", HELD_HELP);
        for ((number, device), bytes) in sums {
            let device = device.to_string();
            let labels = [("agent", agent(agents, number)), ("device_id", &*device)];
            held.push(&labels, bytes as f64);
        }
        Ok(held.build())
    }
}
