//! What the kernel remembers of programs, so that it labels processes that execute them by itself.
//!
//! The maps belong to family `process`. The rules' owner teaches and clears them.

use anyhow::Context as _;
use aya::maps::{Array, HashMap, Map, MapData};
use monitoring_common::{
    agents::AgentId,
    process::{ExecKey, Known, Pending},
};

use super::maps::removed;
use crate::{
    loader::{Loaded, copied},
    per_cpu::PerCpuReader,
};

/// The maps of a loaded family `process`.
pub struct Programs {
    known: HashMap<MapData, ExecKey, Known>,
    /// The same map once more: the typed one does not give its descriptor.
    known_state: MapData,
    pending: HashMap<MapData, Pending, u32>,
    rules: Array<MapData, u32>,
}

impl Programs {
    /// Takes the maps out of the object.
    pub fn new(loaded: &mut Loaded) -> anyhow::Result<Self> {
        let known = loaded.take_map("PROGRAMS")?;
        Ok(Self {
            known_state: copied(&known)?,
            known: Map::LruHashMap(known).try_into().context("map PROGRAMS")?,
            pending: Map::HashMap(loaded.take_map("PENDING")?)
                .try_into()
                .context("map PENDING")?,
            rules: Map::Array(loaded.take_map("RULES")?)
                .try_into()
                .context("map RULES")?,
        })
    }

    /// Forgets everything, and says whether there are rules now.
    pub(super) fn restart(&mut self, rules: bool) -> anyhow::Result<()> {
        // First, so that what is asked meanwhile is answered by the new rules.
        self.rules
            .set(0, u32::from(rules), 0)
            .context("tell the kernel whether there are rules")?;
        let mut known = Vec::new();
        // In batches: going from key to key begins anew when the kernel gives up the last one.
        PerCpuReader::<ExecKey, Known>::of_one_value()
            .for_each(self.known_state.fd(), |key, _| known.push(key))
            .context("list the programs that are known")?;
        for key in known {
            self.unlearn(&key)?;
        }
        Ok(())
    }

    /// Tells the kernel whose agent processes are that execute a program.
    pub(super) fn learn(
        &mut self,
        key: ExecKey,
        agent: AgentId,
        asked_ns: u64,
    ) -> anyhow::Result<()> {
        let known = Known {
            asked_ns,
            agent: agent.into(),
            padding: 0,
        };
        self.known
            .insert(key, known, 0)
            .context("remember a program")
    }

    /// Has the kernel ask again at the next execution.
    pub(super) fn unlearn(&mut self, key: &ExecKey) -> anyhow::Result<()> {
        removed(self.known.remove(key)).context("forget a program")?;
        Ok(())
    }

    /// Whether a process waits for this execution to be looked at, and for no later one.
    pub(super) fn awaits(&self, pid: u32, at_ns: u64) -> bool {
        self.pending.get(&[pid.into(), at_ns], 0).is_ok()
    }

    /// Ends a process's wait for this execution, so that the kernel counts its end by its label.
    /// `false` if it has executed something else since, which will be looked at as well, or has
    /// ended, and the event of that is on its way.
    pub(super) fn settle(&mut self, pid: u32, at_ns: u64) -> anyhow::Result<bool> {
        removed(self.pending.remove(&[pid.into(), at_ns])).context("settle an execution")
    }
}
