//! What the kernel programs remember of processes: how old the oldest allocation is, and what is
//! left over of processes that are no more. Looked at now and then, not at every collection.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use aya::{Pod, maps::MapData};
use monitoring_common::cuda::{Address, Allocation, ProcessId, Window};
use prometheus::proto::MetricFamily;

use super::{calls::agent, users::Users};
use crate::{
    clock::monotonic_ns,
    families::Family as Metrics,
    loader::Loaded,
    per_cpu::{PerCpuReader, remove_all},
};

const OLDEST_HELP: &str = "Age of the oldest device memory that a process allocated by a CUDA call, \
                           since the agent looks, and has not freed. Looked for every ten seconds, \
                           so that what was freed may be shown for so long.";

/// How often.
const INTERVAL: Duration = Duration::from_secs(10);

/// Where a look takes long, because there are very many, the next one is put off by this many times
/// as long.
const REST: u32 = 2_000;

/// The maps.
pub(super) struct Leftovers {
    allocations: MapData,
    /// By address, and values that are of no interest here: the names' addresses.
    registered: MapData,
    contexts: MapData,
    windows: MapData,
    due: Instant,
    /// When the oldest allocation was made, by agent and device.
    oldest_ns: BTreeMap<(u16, u16), u64>,
}

impl Leftovers {
    pub(super) fn new(loaded: &mut Loaded) -> anyhow::Result<Self> {
        Ok(Self {
            allocations: loaded.take_map("ALLOCATIONS")?,
            registered: loaded.take_map("REGISTERED")?,
            contexts: loaded.take_map("CONTEXTS")?,
            windows: loaded.take_map("WINDOWS")?,
            due: Instant::now(),
            oldest_ns: BTreeMap::new(),
        })
    }

    /// The maps, for their states.
    pub(super) fn maps(&self) -> [(&'static str, &MapData); 4] {
        [
            ("ALLOCATIONS", &self.allocations),
            ("REGISTERED", &self.registered),
            ("CONTEXTS", &self.contexts),
            ("WINDOWS", &self.windows),
        ]
    }

    /// What processes have registered.
    pub(super) fn registered(&self) -> &MapData {
        &self.registered
    }

    /// The age of the oldest allocations, which is looked for when it is time to.
    pub(super) fn collect(
        &mut self,
        agents: &[String],
        users: &mut Users,
    ) -> anyhow::Result<MetricFamily> {
        if self.due <= Instant::now() {
            let begun = Instant::now();
            self.look(users).context("look for what is left over")?;
            self.due = Instant::now() + INTERVAL.max(begun.elapsed() * REST);
        }
        let now_ns = monotonic_ns();
        let mut oldest = Metrics::gauge("cuda_oldest_allocation_age_seconds", OLDEST_HELP);
        for ((number, device), since_ns) in &self.oldest_ns {
            let device = device.to_string();
            let labels = [("agent", agent(agents, *number)), ("device_id", &*device)];
            oldest.push(&labels, now_ns.saturating_sub(*since_ns) as f64 / 1e9);
        }
        Ok(oldest.build())
    }

    fn look(&mut self, users: &mut Users) -> anyhow::Result<()> {
        let mut oldest: BTreeMap<(ProcessId, u16, u16), u64> = BTreeMap::new();
        let mut keys = Vec::new();
        let mut reader = PerCpuReader::<Address, Allocation>::of_one_value();
        reader.for_each(self.allocations.fd(), |key, values| {
            keys.push(key);
            for each in values {
                let of = oldest.entry((key.process, each.agent, each.device));
                let since_ns = of.or_insert(each.since_ns);
                *since_ns = each.since_ns.min(*since_ns);
            }
        })?;
        let alive = users.alive()?;
        keys.retain(|key| !alive.contains(&key.process));
        remove_all(self.allocations.fd(), &keys)?;
        self.oldest_ns.clear();
        for ((process, agent, device), since_ns) in oldest {
            if alive.contains(&process) {
                let of = self.oldest_ns.entry((agent, device)).or_insert(since_ns);
                *of = since_ns.min(*of);
            }
        }
        forget::<u64>(&self.registered, users)?;
        forget::<u64>(&self.contexts, users)?;
        forget::<Window>(&self.windows, users)
    }
}

/// Removes what a map has of processes that are no more.
fn forget<V: Pod>(map: &MapData, users: &mut Users) -> anyhow::Result<()> {
    let mut keys: Vec<Address> = Vec::new();
    PerCpuReader::<Address, V>::of_one_value().for_each(map.fd(), |key, _| keys.push(key))?;
    let alive = users.alive()?;
    keys.retain(|key| !alive.contains(&key.process));
    remove_all(map.fd(), &keys)
}
