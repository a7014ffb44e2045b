//! What agents have copied, allocated, freed, waited for and executed.

use std::collections::BTreeMap;

use aya::maps::MapData;
use monitoring_common::{
    agents::MAX_AGENTS,
    cuda::{Held, HolderKey, Sums, Waiting, direction},
};
use prometheus::proto::MetricFamily;

use super::{calls::agent, overhead::Activity, users::Users};
use crate::{
    clock,
    families::Family as Metrics,
    loader::Loaded,
    per_cpu::{PerCpuElements, PerCpuReader, remove},
};

const COPIED_HELP: &str = "Bytes of copies by CUDA calls that succeeded, by direction; unknown \
                           where the driver finds it out from the addresses.";
const ALLOCATED_HELP: &str = "Device memory allocated by CUDA calls, summed up.";
const FREED_HELP: &str = "Device memory freed by CUDA calls, of what was seen to be allocated.";
const SET_HELP: &str = "Bytes set by CUDA's memset calls that succeeded.";
const UNKNOWN_FREES_HELP: &str = "Frees of device memory, refused ones included, that was not seen to \
                                  be allocated: allocated before the agent looked, or never. \
                                  Handles that are released once more are not in it, because who \
                                  retains one releases it too.";
const DOUBLE_FREES_HELP: &str = "Frees of device memory, refused ones included, that had been freed \
                                 already.";
const WAITED_HELP: &str = "Time in CUDA calls that return only when the device has done something: \
                           synchronisations and synchronous copies; those still waiting included.";
const GRAPHS_HELP: &str =
    "CUDA graphs launched. The kernels in a graph are not counted one by one.";
const EXECUTION_HELP: &str = "From the first launch that nobody had waited for, on a stream or by \
                              a process, to the end of the synchronisation, or of the successful \
                              query, that waited for it: an upper bound of how long the device \
                              worked.";
const HELD_HELP: &str = "Device memory that processes have allocated by CUDA calls, since the agent \
                         looks, and not freed.";

/// The maps of sums.
pub(super) struct SumMaps {
    sums: MapData,
    held: MapData,
    waiting: MapData,
    sum_reader: PerCpuElements<Sums>,
    held_reader: PerCpuReader<HolderKey, Held>,
    waiting_reader: PerCpuReader<u32, Waiting>,
    /// What was shown of each agent's waits: what a call that ends adds to the sums, and what it no
    /// longer adds as one that waits, is not read at the same moment.
    waited_ns: Vec<u64>,
    /// By agent, at the last collection.
    nested: [u64; MAX_AGENTS],
}

impl SumMaps {
    pub(super) fn new(loaded: &mut Loaded) -> anyhow::Result<Self> {
        Ok(Self {
            sums: loaded.take_map("SUMS")?,
            held: loaded.take_map("HELD")?,
            waiting: loaded.take_map("WAITING")?,
            sum_reader: PerCpuElements::new()?,
            held_reader: PerCpuReader::of_one_value(),
            waiting_reader: PerCpuReader::of_one_value(),
            waited_ns: Vec::new(),
            nested: [0; MAX_AGENTS],
        })
    }

    pub(super) fn maps(&self) -> [(&'static str, &MapData); 3] {
        [
            ("SUMS", &self.sums),
            ("HELD", &self.held),
            ("WAITING", &self.waiting),
        ]
    }

    /// Functions that were entered within calls until the last collection, by agent.
    pub(super) fn nested(&self) -> [u64; MAX_AGENTS] {
        self.nested
    }

    /// All metrics of sums, of agents that have made calls. From then on they have all of them, so
    /// that the first of anything is a rise.
    pub(super) fn collect(
        &mut self,
        agents: &[String],
        users: &mut Users,
        activities: &[Activity; MAX_AGENTS],
    ) -> anyhow::Result<Vec<MetricFamily>> {
        let sums = self.read_sums(agents.len())?;
        for (nested, sum) in self.nested.iter_mut().zip(&sums) {
            *nested = sum.nested;
        }
        // After the sums, so that no time is counted twice.
        let waited_ns = self.waits(&sums)?;
        let mut copied = Metrics::counter("cuda_memcpy_bytes_total", COPIED_HELP);
        let mut allocated = Metrics::counter("cuda_alloc_bytes_total", ALLOCATED_HELP);
        let mut freed = Metrics::counter("cuda_free_bytes_total", FREED_HELP);
        let mut set = Metrics::counter("cuda_memset_bytes_total", SET_HELP);
        let mut double = Metrics::counter("cuda_double_frees_total", DOUBLE_FREES_HELP);
        let mut unknown = Metrics::counter("cuda_unknown_frees_total", UNKNOWN_FREES_HELP);
        let mut waited = Metrics::counter("cuda_sync_wait_seconds_total", WAITED_HELP);
        let mut graphs = Metrics::counter("cuda_graph_launches_total", GRAPHS_HELP);
        let mut execution = Metrics::histogram("gpu_kernel_execution_seconds", EXECUTION_HELP);
        let agents_sums = agents.iter().zip(&sums).zip(waited_ns).zip(activities);
        for (((name, sum), waited_ns), activity) in agents_sums {
            if *activity == Activity::default() && waited_ns == 0 {
                continue;
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
                (&mut set, sum.set_bytes as f64),
                (&mut unknown, sum.unknown_frees as f64),
                (&mut double, sum.double_frees as f64),
                (&mut waited, waited_ns as f64 / 1e9),
                (&mut graphs, sum.graphs as f64),
            ] {
                family.push(&[label], value);
            }
            execution.push_durations(&[label], &sum.execution);
        }
        let mut families = vec![self.held(agents, users)?];
        let sums = [
            copied, set, allocated, freed, unknown, double, waited, graphs, execution,
        ];
        families.extend(sums.map(Metrics::build));
        Ok(families)
    }

    fn read_sums(&mut self, agents: usize) -> anyhow::Result<Vec<Sums>> {
        let numbers = 0..u32::try_from(agents)?;
        let sums = numbers.map(|number| {
            let mut sum = Sums::EMPTY;
            for per_cpu in self.sum_reader.read(&self.sums, number)? {
                sum.merge(per_cpu);
            }
            Ok(sum)
        });
        sums.collect()
    }

    /// How long each agent has waited, with what it waits for just now.
    fn waits(&mut self, sums: &[Sums]) -> anyhow::Result<Vec<u64>> {
        let mut waited_ns: Vec<u64> = sums.iter().map(|sum| sum.waited_ns).collect();
        let now_ns = clock::monotonic_ns();
        self.waiting_reader
            .for_each(self.waiting.fd(), |_, values| {
                for waiting in values {
                    if let Some(sum) = waited_ns.get_mut(usize::from(waiting.agent)) {
                        *sum += now_ns.saturating_sub(waiting.entered_ns);
                    }
                }
            })?;
        self.waited_ns.resize(waited_ns.len(), 0);
        for (shown, now) in self.waited_ns.iter_mut().zip(waited_ns) {
            *shown = now.max(*shown);
        }
        Ok(self.waited_ns.clone())
    }

    /// What living processes hold, by agent and device.
    fn held(&mut self, agents: &[String], users: &mut Users) -> anyhow::Result<MetricFamily> {
        let mut rows = Vec::new();
        self.held_reader.for_each(self.held.fd(), |key, values| {
            let bytes = values.iter().fold(0, |sum: u64, held| {
                sum + held.allocated_bytes.saturating_sub(held.freed_bytes)
            });
            rows.push((key, bytes));
        })?;
        let alive = users.alive()?;
        let mut sums: BTreeMap<(u16, u16), u64> = BTreeMap::new();
        for (key, bytes) in &rows {
            if alive.contains(&key.process) {
                *sums.entry((key.agent, key.device)).or_default() += bytes;
            } else {
                remove(self.held.fd(), key)?;
            }
        }
        let mut held = Metrics::gauge("cuda_allocated_bytes", HELD_HELP);
        for ((number, device), bytes) in sums {
            let device = device.to_string();
            let labels = [("agent", agent(agents, number)), ("device_id", &*device)];
            held.push(&labels, bytes as f64);
        }
        Ok(held.build())
    }
}
