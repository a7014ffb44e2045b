//! Launches, as the kernel programs have counted them, by the names of what was launched.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard},
    thread,
    time::{Duration, Instant},
};

use aya::maps::MapData;
use monitoring_common::cuda::{LaunchKey, ProcessId};
use prometheus::proto::MetricFamily;

use super::{calls::agent, kernels::Kernels, users::Users, watcher::lock};
use crate::{
    families::Family as Metrics,
    loader::Loaded,
    per_cpu::{PerCpuReader, remove},
};

const HELP: &str = "Calls that launch a kernel, failed ones included, by the kernel's name without \
                    its parameters; each launch once, whether it entered by the runtime or by the \
                    driver. Kernels in graphs are not in it.";

/// How long a collection waits for names that are on their way: a launch counts for good under what
/// its function was called when it was first counted.
const NAMES_PATIENCE: Duration = Duration::from_millis(50);

/// And how long between two looks for them.
const NAMES_PAUSE: Duration = Duration::from_millis(1);

/// The map of launches by function, and their sums by name.
pub(super) struct LaunchMap {
    launched: MapData,
    reader: PerCpuReader<LaunchKey, u64>,
    kernels: Arc<Mutex<Kernels>>,
    /// Processes that had ended when this was read last: what the map has of them now is all.
    ended: HashSet<ProcessId>,
}

impl LaunchMap {
    pub(super) fn new(loaded: &mut Loaded, kernels: Arc<Mutex<Kernels>>) -> anyhow::Result<Self> {
        Ok(Self {
            launched: loaded.take_map("LAUNCHED")?,
            reader: PerCpuReader::new()?,
            kernels,
            ended: HashSet::new(),
        })
    }

    /// The map, for its state.
    pub(super) fn map(&self) -> (&'static str, &MapData) {
        ("LAUNCHED", &self.launched)
    }

    /// Launches by name, with the number of entries in the map. `find_names` is to have names found
    /// that are waited for.
    pub(super) fn collect(
        &mut self,
        agents: &[String],
        users: &mut Users,
        find_names: impl Fn(),
    ) -> anyhow::Result<(MetricFamily, u64)> {
        // Before the living: one that begins from now on is not among those that have ended.
        let told_of = lock(&self.kernels).processes();
        let mut counts = Vec::new();
        self.reader.for_each(self.launched.fd(), |key, per_cpu| {
            counts.push((key, per_cpu.iter().sum::<u64>()));
        })?;
        let alive = users.alive()?;
        let rows = {
            let mut kernels = self.kernels_with_names(&counts, find_names);
            let rows = kernels.launches(counts.iter().copied());
            kernels.ended(&self.ended);
            rows
        };
        let mut ended: HashSet<ProcessId> = told_of.difference(&alive).copied().collect();
        for (key, _) in &counts {
            if self.ended.contains(&key.process) {
                // It is in the sums now, and its place in the map is free for others.
                remove(self.launched.fd(), key)?;
            } else if !alive.contains(&key.process) {
                ended.insert(key.process);
            }
        }
        self.ended = ended;
        let mut launches = Metrics::counter("gpu_kernel_launches_total", HELP);
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
        Ok((launches.build(), counts.len() as u64))
    }

    /// The names, when those of what is counted have come; or without them, if they do not.
    fn kernels_with_names(
        &self,
        counts: &[(LaunchKey, u64)],
        find_names: impl Fn(),
    ) -> MutexGuard<'_, Kernels> {
        let patience = Instant::now() + NAMES_PATIENCE;
        loop {
            let kernels = lock(&self.kernels);
            let keys = counts.iter().map(|(key, _)| key);
            if kernels.has_names_of(keys) || Instant::now() >= patience {
                return kernels;
            }
            drop(kernels);
            find_names();
            thread::sleep(NAMES_PAUSE);
        }
    }
}
