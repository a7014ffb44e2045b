//! Source `cuda`: calls into CUDA's libraries, counted in the kernel, by agent and by function.

pub mod attach_points;
mod calls;
pub mod discovery;
mod functions;
pub mod kernels;
mod launches;
mod leftovers;
mod overhead;
mod patience;
mod probes;
mod sums;
mod users;
mod watcher;

use std::{
    collections::BTreeMap,
    os::fd::{AsFd as _, OwnedFd},
    sync::{Arc, Mutex, TryLockError},
};

use anyhow::Context as _;
use aya::{include_bytes_aligned, maps::MapData};
use monitoring_common::{agents::MAX_AGENTS, cuda::lost};
use prometheus::proto::MetricFamily;

use self::{
    calls::CallMaps,
    discovery::{Coverage, Names},
    functions::Chosen,
    kernels::{Kernels, Registered},
    launches::LaunchMap,
    leftovers::Leftovers,
    overhead::{Activity, Overhead},
    probes::{PROGRAMS, Probes},
    sums::SumMaps,
    users::Users,
    watcher::{Shared, Watcher, lock},
};
use super::StartContext;
use crate::{
    families::Family as Metrics,
    kernel_state::{self, Losses},
    labels::{Labels, OTHER_NAME},
    loader::{self, Attach, Family, field},
    source::{Batch, ProgramState, Source, StartError},
};

pub use functions::is_call;

const OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/cuda"));

const ATTACH: &[Attach] = &[
    Attach::Function(PROGRAMS[0]),
    Attach::Function(PROGRAMS[1]),
    Attach::BtfTracepoint("cuda_exit", "sched_process_exit"),
    Attach::BtfTracepoint("cuda_exec", "sched_process_exec"),
];

const COVERAGE_HELP: &str = "Processes that use CUDA, by how much of it is seen: attached and static \
                             are counted in full, stripped only by their calls of the driver, \
                             unreadable not at all.";

struct Cuda {
    shared: Arc<Shared>,
    labels: Arc<Labels>,
    calls: CallMaps,
    sums: SumMaps,
    launches: LaunchMap,
    leftovers: Leftovers,
    users: Users,
    losses: Losses,
    /// What was read when no file had been probed yet: as long as none is, nothing can be counted.
    nothing: Option<Counted>,
    /// What the kernel said last of the programs, and how often it did not run them.
    programs: (Vec<ProgramState>, u64),
    /// The programs at functions.
    at_functions: Vec<(&'static str, Option<OwnedFd>)>,
    _watcher: Watcher,
}

/// What the kernel programs have counted.
#[derive(Clone)]
struct Counted {
    families: Vec<MetricFamily>,
    activities: [Activity; MAX_AGENTS],
    /// Entries in the maps of calls.
    calls: [u64; 2],
    /// Entries in the map of launches.
    functions: u64,
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
        globals: vec![
            (
                "SIGNAL",
                vec![field(context.offsets, "task_struct", "signal")?],
            ),
            (
                "LIVE",
                vec![field(context.offsets, "signal_struct", "live.counter")?],
            ),
        ],
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
    let told = loaded.take_map("NAMES")?;
    let settings = &context.config.sources.cuda;
    let names = Names::with(&settings.libraries);
    let chosen = Chosen::new(&settings.calls, &settings.exclude_calls);
    let kernels = Arc::new(Mutex::new(Kernels::new()));
    let launches = LaunchMap::new(&mut loaded, Arc::clone(&kernels))?;
    let leftovers = Leftovers::new(&mut loaded)?;
    let users = Users::new(&mut loaded)?;
    let registered = copied(leftovers.registered())?;
    let registered = Registered::new(registered, copied(users.map().1)?);
    let registered = registered.context("read what processes register")?;
    let shared = Shared::new(loaded, kernels, registered, overhead);
    let shared = Arc::new(shared.context("make an event descriptor")?);
    Ok(Box::new(Cuda {
        labels: Arc::clone(context.labels),
        calls,
        sums,
        launches,
        leftovers,
        users,
        losses,
        nothing: None,
        programs: Default::default(),
        at_functions: probes.ends().programs()?,
        _watcher: Watcher::start(&shared, probes, told, names, chosen)?,
        shared,
    }))
}

/// A map once more, for another thread.
fn copied(map: &MapData) -> anyhow::Result<MapData> {
    let descriptor = map.fd().as_fd().try_clone_to_owned();
    Ok(MapData::from_fd(
        descriptor.context("copy a map's descriptor")?,
    )?)
}

impl Source for Cuda {
    fn collect(&mut self) -> anyhow::Result<Batch> {
        let names = self.labels.names();
        // Before anything is read: until a file is probed, nothing is there.
        let probed = self.shared.has_probed();
        let counted = match &self.nothing {
            Some(nothing) if !probed => nothing.clone(),
            _ => self.counted(&names)?,
        };
        if !probed {
            self.nothing = Some(counted.clone());
        }
        let mut families = counted.families;
        families.extend(self.overhead(&names, &counted.activities)?);
        families.push(self.coverage());
        let (programs, recursions) = self.programs();
        let mut lost = self.losses.read()?;
        lost.push(("recursion", recursions));
        let of_names = lock(&self.shared.kernels).lost();
        lost.push(("malformed_event", of_names.malformed));
        lost.push(("names_forgotten", of_names.forgotten));
        lost.extend(self.shared.missed());
        let mut maps = Vec::new();
        for ((name, map), entries) in self.calls.maps().into_iter().zip(counted.calls) {
            maps.push(kernel_state::map(name, map.fd(), Some(entries)));
        }
        let (name, map) = self.launches.map();
        maps.push(kernel_state::map(name, map.fd(), Some(counted.functions)));
        for (name, map) in self.maps() {
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
    /// Maps whose entries nobody counts at a collection.
    fn maps(&self) -> impl Iterator<Item = (&'static str, &MapData)> {
        let maps = self.sums.maps().into_iter().chain(self.leftovers.maps());
        maps.chain([self.users.map()])
    }

    /// Reads all that the kernel programs have counted.
    fn counted(&mut self, names: &[String]) -> anyhow::Result<Counted> {
        let mut calls = self.calls.collect(names)?;
        let find_names = || self.shared.look_for_names();
        let launches = &mut self.launches;
        let (launches, functions) = launches.collect(names, &mut self.users, find_names)?;
        let sums = &mut self.sums;
        let mut families = sums.collect(names, &mut self.users, &calls.activities)?;
        for (activity, nested) in calls.activities.iter_mut().zip(self.sums.nested()) {
            activity.nested = nested;
        }
        families.extend(calls.families);
        families.push(launches);
        families.push(self.leftovers.collect(names, &mut self.users)?);
        Ok(Counted {
            families,
            activities: calls.activities,
            calls: calls.entries,
            functions,
        })
    }

    /// The programs' states. While one of them is attached to a file, those of the last time: that
    /// may take as long as a file system wants.
    fn programs(&mut self) -> (Vec<ProgramState>, u64) {
        match self.shared.loaded.try_lock() {
            Ok(loaded) => self.programs = kernel_state::programs(&loaded),
            Err(TryLockError::Poisoned(broken)) => {
                self.programs = kernel_state::programs(&broken.into_inner());
            }
            Err(TryLockError::WouldBlock) => {}
        }
        let (mut states, recursions) = self.programs.clone();
        let is_used = |name: &str| self.at_functions.iter().any(|(used, _)| *used == name);
        states.retain(|state| !PROGRAMS.contains(&&*state.name) || is_used(&state.name));
        for (name, descriptor) in &self.at_functions {
            if let Some(descriptor) = descriptor {
                states.retain(|state| state.name != *name);
                states.push(kernel_state::program(name, descriptor));
            }
        }
        (states, recursions)
    }

    fn overhead(
        &self,
        agents: &[String],
        activities: &[Activity; MAX_AGENTS],
    ) -> anyhow::Result<Vec<MetricFamily>> {
        let mut overhead = lock(&self.shared.overhead);
        let families = overhead.collect(agents, activities)?;
        if overhead.is_dropping() {
            drop(overhead);
            self.shared.follow_budget();
        }
        Ok(families)
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
