//! Launches, as the kernel programs have counted them, by the names of what was launched.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
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

    /// Launches by name, with the number of entries in the map.
    pub(super) fn collect(
        &mut self,
        agents: &[String],
        users: &mut Users,
    ) -> anyhow::Result<(MetricFamily, u64)> {
        let mut counts = Vec::new();
        self.reader.for_each(self.launched.fd(), |key, per_cpu| {
            counts.push((key, per_cpu.iter().sum::<u64>()));
        })?;
        let alive = users.alive()?;
        let rows = {
            let mut kernels = lock(&self.kernels);
            let rows = kernels.launches(counts.iter().copied());
            kernels.ended(&self.ended);
            rows
        };
        let mut ended = HashSet::new();
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
}
