//! The kernel object: loads it when it is needed, and hands out what is in it.
//!
//! Its maps take megabytes of the kernel's memory, and its programs the verifier's time, which a
//! node without CUDA need not spend. Once loaded it stays: what it has counted is in its maps. Knows
//! neither processes nor files.

use std::sync::{Arc, Mutex};

use anyhow::Context as _;
use aya::{
    include_bytes_aligned,
    maps::{Map, MapData, RingBuf},
};
use monitoring_common::{agents::MAX_AGENTS, cuda::lost, trace::cuda::ROOMS};
use tokio::runtime::Handle;

use super::{
    calls::CallMaps,
    counting::Counting,
    kernels::{Kernels, Registered},
    launches::LaunchMap,
    leftovers::Leftovers,
    overhead::Overhead,
    probes::Probes,
    sums::SumMaps,
    users::Users,
};
use crate::{
    executed::FileKey,
    kernel_state::Losses,
    labels::Labels,
    loader::{Attach, Family, Loaded, Prepared, SharedMaps, copied, field},
    source::StartError,
    sources::StartContext,
    tracing_globals,
};

const OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/cuda"));

const ATTACH: &[Attach] = &[
    Attach::BtfTracepoint("cuda_exit", "sched_process_exit"),
    Attach::BtfTracepoint("cuda_exec", "sched_process_exec"),
];

/// All that is needed to load the object.
pub(super) struct Loading {
    prepared: Prepared<'static>,
    shared: SharedMaps,
    labels: Arc<Labels>,
    /// Where debug messages of the programs are read.
    runtime: Handle,
    /// See `overhead_budget` in the configuration.
    budget: f64,
}

/// The loaded object.
pub(super) struct Parts {
    /// For all.
    pub(super) kernel: Kernel,
    /// For collections.
    pub(super) counting: Counting,
    /// For who attaches to functions.
    pub(super) probes: Probes<FileKey>,
    /// For who listens: the ring of names.
    pub(super) names: RingBuf<MapData>,
}

/// What of it several threads use.
pub(super) struct Kernel {
    pub(super) loaded: Mutex<Loaded>,
    pub(super) overhead: Mutex<Overhead>,
    /// What processes have registered.
    pub(super) registered: Arc<Registered>,
}

impl Loading {
    /// Loads nothing. Called on the tokio runtime.
    ///
    /// # Errors
    ///
    /// When the kernel describes itself in a way that this agent does not understand.
    pub(super) fn new(context: &mut StartContext<'_>) -> Result<Self, StartError> {
        let tracing = tracing_globals::globals(context)?;
        let rooms = tracing
            .as_ref()
            .map_or(1, |_| u32::try_from(ROOMS).unwrap_or(1));
        let mut global = |name, structure, path| {
            let offset = field(context.offsets, structure, path)?;
            Ok::<_, StartError>((name, vec![offset]))
        };
        let agents = context.labels.names().len().clamp(1, MAX_AGENTS);
        let agents = u32::try_from(agents).unwrap_or(u32::MAX);
        let family = Family {
            name: "cuda",
            object: OBJECT,
            globals: vec![
                global("SIGNAL", "task_struct", "signal")?,
                global("LIVE", "signal_struct", "live.counter")?,
                global("UTASK", "task_struct", "utask")?,
                global("AWAITED", "uprobe_task", "return_instances")?,
                global("AWAITED_STACK", "return_instance", "stack")?,
            ],
            map_sizes: vec![("ENTERED", agents), ("ROOMS", rooms)],
            programs: ATTACH,
            tracing,
            debug: context.config.ebpf_debug,
        };
        Ok(Self {
            prepared: Prepared::new(family, context.offsets)?,
            shared: context.shared.clone(),
            labels: Arc::clone(context.labels),
            runtime: Handle::current(),
            budget: context.config.sources.cuda.overhead_budget,
        })
    }

    /// Loads the object, and measures what a probe costs. Takes some tenths of a second, for most of
    /// which the kernel verifies the program at functions.
    ///
    /// # Errors
    ///
    /// See [`StartError`].
    pub(super) fn load(&self, kernels: &Arc<Mutex<Kernels>>) -> Result<Parts, StartError> {
        let _inside = self.runtime.enter();
        let mut loaded = self.prepared.load(&self.shared)?;
        self.labels.adopt(&self.shared)?;
        let probes = Probes::new(&mut loaded, OBJECT)?;
        let mut calls = CallMaps::new(&mut loaded)?;
        let overhead = Overhead::new(&mut loaded, probes.ends(), &mut calls, self.budget)?;
        let leftovers = Leftovers::new(&mut loaded)?;
        let users = Users::new(&mut loaded)?;
        let registered = copied(leftovers.registered())?;
        let registered = Registered::new(registered, copied(users.map().1)?);
        let registered = registered.context("read what processes register")?;
        let names = Map::RingBuf(loaded.take_map("NAMES")?);
        let names = RingBuf::try_from(names).context("map NAMES")?;
        let counting = Counting {
            calls,
            sums: SumMaps::new(&mut loaded)?,
            launches: LaunchMap::new(&mut loaded, Arc::clone(kernels))?,
            leftovers,
            users,
            losses: Losses::new(&mut loaded, &lost::REASONS)?,
            nothing: None,
            programs: Default::default(),
            at_functions: probes.ends().programs()?,
        };
        let kernel = Kernel {
            loaded: Mutex::new(loaded),
            overhead: Mutex::new(overhead),
            registered: Arc::new(registered),
        };
        Ok(Parts {
            kernel,
            counting,
            probes,
            names,
        })
    }
}
