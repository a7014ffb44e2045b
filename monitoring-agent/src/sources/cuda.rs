//! Source `cuda`: calls into CUDA's libraries, counted in the kernel, by agent and by function.

pub mod attach_points;
mod calls;
pub mod discovery;
mod functions;
pub mod kernels;
mod overhead;
mod probes;
mod sums;
mod watcher;

use std::{
    collections::{BTreeMap, HashSet},
    path::Path,
    sync::{Arc, Mutex},
};

use aya::{include_bytes_aligned, maps::MapData};
use monitoring_common::cuda::{LaunchKey, lost};
use prometheus::proto::MetricFamily;

use self::{
    calls::{CallMaps, agent},
    discovery::Coverage,
    kernels::Kernels,
    overhead::Overhead,
    probes::{PROGRAMS, Probes},
    sums::SumMaps,
    watcher::{Shared, Watcher, lock},
};
use super::StartContext;
use crate::{
    families::Family as Metrics,
    kernel_state::{self, Losses},
    labels::{Labels, OTHER_NAME},
    loader::{self, Attach, Family},
    per_cpu::PerCpuReader,
    source::{Batch, Source, StartError},
};

const OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/cuda"));

const ATTACH: &[Attach] = &[Attach::Function(PROGRAMS[0]), Attach::Function(PROGRAMS[1])];

const LAUNCHES_HELP: &str = "Calls that launch a kernel, failed ones included, by the kernel's \
                             name without its parameters; each launch once, whether it entered by \
                             the runtime or by the driver. Kernels in graphs are not in it.";
const COVERAGE_HELP: &str = "Processes that use CUDA, by how much of it is seen: attached and static \
                             are counted in full, stripped only by their calls of the driver, \
                             unreadable not at all.";

struct Cuda {
    shared: Arc<Shared>,
    labels: Arc<Labels>,
    calls: CallMaps,
    sums: SumMaps,
    launched: MapData,
    launch_reader: PerCpuReader<LaunchKey, u64>,
    losses: Losses,
    _watcher: Watcher,
}

/// Loads the programs, and begins to look for what uses CUDA.
///
/// # Errors
///
/// See [`StartError`].
pub fn start(context: &mut StartContext<'_>) -> Result<Box<dyn Source>, StartError> {
    let family = Family {
        name: "cuda",
        object: OBJECT,
        globals: Vec::new(),
        map_sizes: Vec::new(),
        programs: ATTACH,
        debug: context.config.ebpf_debug,
    };
    let mut loaded = loader::load(&family, context.shared, context.offsets)?;
    context.labels.adopt(context.shared)?;
    let probes = Probes::new(&loaded, OBJECT)?;
    let mut calls = CallMaps::new(&mut loaded)?;
    let limit = context.config.sources.cuda.overhead_budget;
    let overhead = Overhead::new(&mut loaded, probes.ends(), &mut calls, limit)?;
    let sums = SumMaps::new(&mut loaded)?;
    let losses = Losses::new(&mut loaded, &lost::REASONS)?;
    let launched = loaded.take_map("LAUNCHED")?;
    let names = loaded.take_map("NAMES")?;
    let shared = Arc::new(Shared {
        loaded: Mutex::new(loaded),
        kernels: Mutex::new(Kernels::new()),
        coverage: Mutex::default(),
        overhead: Mutex::new(overhead),
    });
    Ok(Box::new(Cuda {
        labels: Arc::clone(context.labels),
        calls,
        sums,
        launched,
        launch_reader: PerCpuReader::new()?,
        losses,
        _watcher: Watcher::start(Arc::clone(&shared), probes, names)?,
        shared,
    }))
}

impl Source for Cuda {
    fn collect(&mut self) -> anyhow::Result<Batch> {
        let names = self.labels.names();
        let mut calls = self.calls.collect(&names)?;
        let mut families = self.sums.collect(&names)?;
        for (activity, nested) in calls.activities.iter_mut().zip(self.sums.nested()) {
            activity.nested = nested;
        }
        let overhead = lock(&self.shared.overhead).collect(&names, &calls.activities);
        families.extend(overhead?);
        families.extend(calls.families);
        families.push(self.launches(&names)?);
        families.push(self.coverage());
        let (programs, recursions) = kernel_state::programs(&lock(&self.shared.loaded));
        let mut lost = self.losses.read()?;
        lost.push(("recursion", recursions));
        let of_names = lock(&self.shared.kernels).lost();
        lost.push(("malformed_event", of_names.malformed));
        let mut maps = Vec::new();
        for ((name, map), entries) in self.calls.maps().into_iter().zip(calls.entries) {
            maps.push(kernel_state::map(name, map.fd(), Some(entries)));
        }
        for (name, map) in self.sums.maps() {
            maps.push(kernel_state::map(name, map.fd(), None));
        }
        Ok(Batch {
            families,
            lost,
            programs,
            maps,
            ..Batch::default()
        })
    }
}

impl Cuda {
    fn launches(&mut self, agents: &[String]) -> anyhow::Result<MetricFamily> {
        let mut counts = Vec::new();
        self.launch_reader
            .for_each(self.launched.fd(), |key, per_cpu| {
                counts.push((key, per_cpu.iter().sum::<u64>()));
            })?;
        let mut kernels = lock(&self.shared.kernels);
        let rows = kernels.launches(counts.iter().copied());
        // What has ended is in the sums now, and its place in the map is free for others.
        let ended: HashSet<u32> = counts
            .iter()
            .map(|(key, _)| key.pid)
            .filter(|pid| !Path::new(&format!("/proc/{pid}")).exists())
            .collect();
        if !ended.is_empty() {
            for (key, _) in counts.iter().filter(|(key, _)| ended.contains(&key.pid)) {
                crate::per_cpu::remove(self.launched.fd(), key)?;
            }
            kernels.ended(&ended);
        }
        let mut launches = Metrics::counter("gpu_kernel_launches_total", LAUNCHES_HELP);
        for row in &rows {
            let device = row
                .device_id
                .map_or_else(|| "unknown".to_owned(), |id| id.to_string());
            let labels = [
                ("agent", agent(agents, row.agent)),
                ("device_id", &*device),
                ("kernel_type", &*row.kernel_type),
            ];
            launches.push(&labels, row.count as f64);
        }
        Ok(launches.build())
    }

    fn coverage(&self) -> MetricFamily {
        let mut sums: BTreeMap<(String, &'static str), u64> = BTreeMap::new();
        for (pid, coverage) in lock(&self.shared.coverage).iter() {
            let agent = self.labels.agent_of(*pid);
            let agent = agent.unwrap_or_else(|| OTHER_NAME.to_owned());
            *sums.entry((agent, Coverage::state(coverage))).or_default() += 1;
        }
        let mut family = Metrics::gauge("cuda_probe_coverage", COVERAGE_HELP);
        for ((agent, state), count) in &sums {
            family.push(&[("agent", agent), ("state", state)], *count as f64);
        }
        family.build()
    }
}
