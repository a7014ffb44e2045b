//! What processes have of a GPU, summed by agent.

use std::collections::BTreeMap;

use monitoring::gpu::GpuProcess;

use super::{catalogue::processes as metrics, sheet::Rows};
use crate::labels::OTHER_NAME;

/// What a process has of the device in all.
#[derive(Clone, Copy, Debug, Default)]
struct Share {
    memory_bytes: Option<u64>,
    sm_ratio: Option<f64>,
}

impl Share {
    /// The sum. What only one of the two tells is that one's.
    fn plus(self, other: Self) -> Self {
        let both = [self, other];
        let memory = both.iter().filter_map(|share| share.memory_bytes);
        let ratios = both.iter().filter_map(|share| share.sm_ratio);
        Self {
            memory_bytes: memory.reduce(u64::saturating_add),
            sm_ratio: ratios.reduce(|sum, ratio| sum + ratio),
        }
    }

    /// What this tells, and for the rest what the other does.
    fn or(self, other: Self) -> Self {
        Self {
            memory_bytes: self.memory_bytes.or(other.memory_bytes),
            sm_ratio: self.sm_ratio.or(other.sm_ratio),
        }
    }
}

/// Adds a device's processes to its rows. Each counts once: its MIG instances together are what it
/// has of the device, and the device's own word on it holds for what they do not tell.
pub(super) fn put(
    processes: &[GpuProcess],
    agent_of: impl Fn(u32) -> Option<String>,
    device: &mut Rows<'_>,
) {
    let mut by_pid = BTreeMap::<u32, [Share; 2]>::new();
    for process in processes {
        let shares = by_pid.entry(process.pid).or_default();
        let share = &mut shares[usize::from(process.mig.is_some())];
        *share = share.plus(Share {
            memory_bytes: process.memory_bytes,
            sm_ratio: process.sm_utilization_ratio,
        });
    }
    let mut by_agent = BTreeMap::<String, Share>::new();
    for (pid, [whole, instances]) in by_pid {
        let agent = agent_of(pid).unwrap_or_else(|| OTHER_NAME.to_owned());
        let sum = by_agent.entry(agent).or_default();
        *sum = sum.plus(instances.or(whole));
    }
    for (agent, sum) in &by_agent {
        let label = [("agent", agent.as_str())];
        let memory = sum.memory_bytes.map(|bytes| bytes as f64);
        device.put_with(&metrics::MEMORY, &label, memory);
        device.put_with(&metrics::SM_UTILIZATION, &label, sum.sm_ratio);
    }
}
