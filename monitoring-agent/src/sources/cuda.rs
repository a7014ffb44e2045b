//! Source `cuda`: calls into CUDA's libraries, counted in the kernel, by agent and by function.

pub mod attach_points;
mod calls;
pub mod discovery;
mod functions;
pub mod kernels;
mod probes;
mod sums;
mod watcher;

use std::{
    collections::{BTreeMap, HashSet},
    path::Path,
    sync::{Arc, Mutex, MutexGuard},
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use aya::{include_bytes_aligned, maps::MapData};
use monitoring_common::cuda::{LaunchKey, lost};
use prometheus::proto::MetricFamily;

use self::{
    calls::{CallMaps, agent},
    discovery::Coverage,
    kernels::Kernels,
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
    source::{Batch, ProgramState, Source, StartError},
};

const OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/cuda"));

const ATTACH: &[Attach] = &[Attach::Function(PROGRAMS[0]), Attach::Function(PROGRAMS[1])];

const LAUNCHES_HELP: &str = "Calls that launch a kernel, failed ones included, by the kernel's \
                             name without its parameters; each launch once, whether it entered by \
                             the runtime or by the driver. Kernels in graphs are not in it.";
const COVERAGE_HELP: &str = "Processes that use CUDA, by how much of it is seen: attached and static \
                             are counted in full, stripped only by their calls of the driver, \
                             unreadable not at all.";

/// How long a collection waits for names that are on their way from the kernel: without its name a
/// launch counts as unknown for ever. Mostly that is less than a millisecond.
const NAMES_PATIENCE: Duration = Duration::from_millis(50);

/// Pause between two looks whether names have come.
const NAMES_PAUSE: Duration = Duration::from_millis(1);

struct Cuda {
    shared: Arc<Shared>,
    labels: Arc<Labels>,
    calls: CallMaps,
    sums: SumMaps,
    launched: MapData,
    launch_reader: PerCpuReader<LaunchKey, u64>,
    losses: Losses,
    /// The programs' states, and recursions, when they could last be looked at.
    programs: (Vec<ProgramState>, u64),
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
    let calls = CallMaps::new(&mut loaded)?;
    let sums = SumMaps::new(&mut loaded)?;
    let losses = Losses::new(&mut loaded, &lost::REASONS)?;
    let launched = loaded.take_map("LAUNCHED")?;
    let names = loaded.take_map("NAMES")?;
    let registered = loaded.take_map("REGISTERED")?;
    let programs = kernel_state::programs(&loaded);
    let shared = Arc::new(Shared {
        loaded: Mutex::new(loaded),
        kernels: Mutex::new(Kernels::with_registered(registered).context("map REGISTERED")?),
        coverage: Mutex::default(),
    });
    Ok(Box::new(Cuda {
        labels: Arc::clone(context.labels),
        calls,
        sums,
        launched,
        launch_reader: PerCpuReader::new()?,
        losses,
        programs,
        _watcher: Watcher::start(Arc::clone(&shared), probes, names)?,
        shared,
    }))
}

impl Source for Cuda {
    fn collect(&mut self) -> anyhow::Result<Batch> {
        let names = self.labels.names();
        let (calls, entries) = self.calls.collect(&names)?;
        let mut families = self.sums.collect(&names)?;
        families.extend(calls);
        families.push(self.launches(&names)?);
        families.push(self.coverage());
        // The lock is held while functions are probed, which takes a while in a busy process: then
        // the programs are as they were.
        if let Ok(loaded) = self.shared.loaded.try_lock() {
            self.programs = kernel_state::programs(&loaded);
        }
        let (programs, recursions) = self.programs.clone();
        let mut lost = self.losses.read()?;
        lost.push(("recursion", recursions));
        let of_names = lock(&self.shared.kernels).lost();
        lost.push(("malformed_event", of_names.malformed));
        let mut maps = Vec::new();
        for ((name, map), entries) in self.calls.maps().into_iter().zip(entries) {
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
        let mut kernels = self.kernels_with_names(&counts);
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

    /// The names, when those of what is counted have come; or without them, if they do not.
    fn kernels_with_names(&self, counts: &[(LaunchKey, u64)]) -> MutexGuard<'_, Kernels> {
        let patience = Instant::now() + NAMES_PATIENCE;
        loop {
            let kernels = lock(&self.shared.kernels);
            let keys = counts.iter().map(|(key, _)| key);
            if kernels.has_names_of(keys) || Instant::now() >= patience {
                return kernels;
            }
            drop(kernels);
            thread::sleep(NAMES_PAUSE);
        }
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
