//! The processes that use CUDA, as the kernel programs have them.

use std::collections::HashSet;

use aya::maps::MapData;
use monitoring_common::cuda::ProcessId;

use crate::{loader::Loaded, per_cpu::PerCpuReader};

/// The map of them.
///
/// A process is in it before anything is kept under it, and until it ends or executes another
/// program. So what was found under a process that is not in it *afterwards* is left over.
pub(super) struct Users {
    processes: MapData,
    reader: PerCpuReader<u32, ProcessId>,
}

impl Users {
    pub(super) fn new(loaded: &mut Loaded) -> anyhow::Result<Self> {
        Ok(Self {
            processes: loaded.take_map("PROCESSES")?,
            reader: PerCpuReader::of_one_value(),
        })
    }

    pub(super) fn map(&self) -> (&'static str, &MapData) {
        ("PROCESSES", &self.processes)
    }

    /// Those that are alive.
    pub(super) fn alive(&mut self) -> anyhow::Result<HashSet<ProcessId>> {
        let mut alive = HashSet::new();
        self.reader
            .for_each(self.processes.fd(), |_, process| alive.extend(process))?;
        Ok(alive)
    }
}
