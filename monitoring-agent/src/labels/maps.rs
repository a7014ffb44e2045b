//! The kernel's label maps, from this side: `AGENT_OF` and `LABEL_EPOCH`.

use std::io;

use anyhow::Context as _;
use aya::maps::{Array, HashMap, Map, MapData, MapError};
use monitoring_common::agents::{AGENT_OF, AgentId, LABEL_EPOCH, Label, OTHER, epoch_at};

use crate::{
    clock::monotonic_ns,
    loader::{SharedMaps, copied},
    per_cpu::PerCpuReader,
};

pub(super) struct Maps {
    agent_of: HashMap<MapData, u32, Label>,
    /// The same map once more: the typed one does not give its descriptor.
    pub(super) agent_of_state: MapData,
    reader: PerCpuReader<u32, Label>,
    epoch: Array<MapData, u32>,
}

impl Maps {
    /// The shared maps, if an object has made them already.
    pub(super) fn open(shared: &SharedMaps) -> anyhow::Result<Option<Self>> {
        let (Some(agent_of), Some(epoch)) = (shared.get(AGENT_OF)?, shared.get(LABEL_EPOCH)?)
        else {
            return Ok(None);
        };
        Ok(Some(Self {
            agent_of_state: copied(&agent_of)?,
            agent_of: Map::HashMap(agent_of).try_into().context("map AGENT_OF")?,
            epoch: Map::Array(epoch).try_into().context("map LABEL_EPOCH")?,
            reader: PerCpuReader::of_one_value(),
        }))
    }

    /// A process's label, also one that an earlier process of the number left.
    pub(super) fn get(&self, pid: u32) -> Option<Label> {
        self.agent_of.get(&pid, 0).ok()
    }

    /// Every label there is, each process's once.
    ///
    /// In batches: going from key to key begins anew whenever the kernel removes the last one
    /// read, as often as processes end.
    pub(super) fn all(&mut self) -> anyhow::Result<Vec<(u32, Label)>> {
        let mut all = Vec::new();
        let map = self.agent_of_state.fd();
        self.reader.for_each(map, |pid, labels| {
            all.extend(labels.iter().map(|label| (pid, *label)));
        })?;
        Ok(all)
    }

    /// Labels a process, or removes its label if that is [`OTHER`].
    pub(super) fn set(
        &mut self,
        pid: u32,
        agent: AgentId,
        started_ticks: u32,
    ) -> anyhow::Result<()> {
        if agent == OTHER {
            return self.remove(pid);
        }
        let label = Label {
            agent: agent.into(),
            started_ticks,
        };
        Ok(self.agent_of.insert(pid, label, 0)?)
    }

    pub(super) fn remove(&mut self, pid: u32) -> anyhow::Result<()> {
        // The kernel may have been first, when the process ended.
        removed(self.agent_of.remove(&pid)).context("remove a label")?;
        Ok(())
    }

    /// Makes all tasks look their labels up again.
    pub(super) fn new_epoch(&mut self) -> anyhow::Result<()> {
        let epoch = epoch_at(monotonic_ns());
        self.epoch
            .set(0, epoch, 0)
            .context("begin a new label epoch")
    }
}

/// Whether an entry was removed: `false` if there was none.
pub(super) fn removed(result: Result<(), MapError>) -> Result<bool, MapError> {
    match result {
        Ok(()) => Ok(true),
        Err(MapError::KeyNotFound | MapError::ElementNotFound) => Ok(false),
        Err(MapError::SyscallError(error)) if error.io_error.kind() == io::ErrorKind::NotFound => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}
