//! Source `gpu`: NVIDIA GPUs, as `monitoring::gpu` reads them through NVML.
//!
//! The monitor has threads of its own and polls by itself; a collection takes the newest poll and
//! never waits for NVML. This file decides what a collection is: numbers, the last ones again, or
//! nothing to read here. Knows no exporter, and nothing of NVML.

mod catalogue;
mod device;
mod journal;
mod limit;
mod mig;
mod processes;
mod sheet;
#[cfg(test)]
mod tests;
mod xids;

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use anyhow::Context as _;
use monitoring::gpu::{GpuError, GpuMetrics, GpuMonitor, Poll};
use prometheus::proto::MetricFamily;

use self::{journal::Journal, limit::Limit, sheet::Sheet};
use super::StartContext;
use crate::{
    gpu_states::GpuStates,
    labels::Labels,
    printable::printable,
    source::{Batch, Off, Source, StartError},
};

/// Longest text of a device that becomes a label or a part of a log line, in characters. NVML's own
/// limit for names and UUIDs is 96 bytes.
const TEXT_LENGTH: usize = 96;

/// Longest reason in the log, in characters: the loader's words with a path or two.
const REASON_LENGTH: usize = 400;

/// What a driver without GPUs is said to be.
const NO_DEVICES: &str = "NVIDIA's driver is loaded, and knows no GPU";

/// Reason under which critical errors count as lost.
const LOST_EVENT: &str = "xid_event";

struct Gpu {
    monitor: GpuMonitor,
    labels: Arc<Labels>,
    /// For others who want to know.
    states: Arc<GpuStates>,
    /// Which start of this source they are filled by.
    start: u64,
    /// Whether the configuration names the library.
    is_named: bool,
    journal: Journal,
    /// The log's lines of critical errors.
    lines: Limit,
    /// Critical errors that had no room or no device.
    lost_events: u64,
    last: Readings,
}

/// What a poll brought. Critical errors do not need one, and are not among it.
#[derive(Debug, Default)]
struct Readings {
    /// The poll's number; 0 if there was none.
    poll: u64,
    families: Vec<MetricFamily>,
    /// The numbers of the GPUs that answered, by UUID.
    numbers: BTreeMap<String, u32>,
}

/// Starts to poll. A library, a driver or a GPU may come later.
///
/// # Errors
///
/// If the system has no thread left to start.
pub fn start(context: &StartContext<'_>) -> Result<Box<dyn Source>, StartError> {
    let config = context.config;
    let mut monitor = GpuMonitor::builder().poll_interval(config.gpu_poll_interval);
    let library = config.sources.gpu.nvml_library.as_ref();
    if let Some(library) = library {
        monitor = monitor.library(library);
    }
    let monitor = monitor.poll().context("read the GPUs")?;
    let labels = Arc::clone(context.labels);
    let states = Arc::clone(context.gpu_states);
    Ok(Box::new(Gpu::new(
        monitor,
        labels,
        states,
        library.is_some(),
    )))
}

impl Gpu {
    fn new(
        monitor: GpuMonitor,
        labels: Arc<Labels>,
        states: Arc<GpuStates>,
        is_named: bool,
    ) -> Self {
        Self {
            monitor,
            labels,
            start: states.begin(),
            states,
            is_named,
            journal: Journal::default(),
            lines: Limit::default(),
            lost_events: 0,
            last: Readings::default(),
        }
    }

    /// What a poll brings. The next collections may find the same one.
    fn delivered(&mut self, poll: &Poll) -> Batch {
        self.states.polled(self.start, poll);
        self.journal.look_at(poll, Instant::now());
        if poll.devices.is_empty() && self.journal.devices().next().is_none() {
            return self.off(NO_DEVICES);
        }
        if self.last.poll != poll.number {
            self.last = Readings {
                poll: poll.number,
                families: families(poll, &self.journal, |pid| self.labels.agent_of(pid)),
                numbers: numbers(poll),
            };
        }
        Batch {
            families: self.with_errors(),
            age: poll.at.elapsed(),
            missing: self.journal.lost().collect(),
            ..Batch::default()
        }
    }

    /// The last poll's metrics, and the critical errors that have been counted until now.
    fn with_errors(&self) -> Vec<MetricFamily> {
        let mut errors = Sheet::default();
        xids::put(&self.monitor.xid_counts(), &self.last.numbers, &mut errors);
        let mut families = self.last.families.clone();
        families.extend(errors.finish());
        families
    }

    fn without_library(&mut self, why: &str) -> Batch {
        let missing = GpuError::NoLibrary(why.to_owned());
        if self.is_named {
            return self.off(&format!(
                "no NVIDIA management library: {why}; sources.gpu.nvml_library names this file"
            ));
        }
        // The error's words end with the advice to name the library's file.
        let mut batch = self.off(&format!("{missing} in sources.gpu.nvml_library"));
        if let Some(off) = &mut batch.off {
            off.is_usual = true;
        }
        batch
    }

    /// Nothing to deliver, and nothing that would still hold of what was.
    fn off(&mut self, why: &str) -> Batch {
        self.last = Readings::default();
        Batch {
            off: Some(Off {
                why: printable(why.as_bytes(), REASON_LENGTH),
                is_usual: false,
            }),
            ..Batch::default()
        }
    }
}

impl Source for Gpu {
    fn collect(&mut self) -> anyhow::Result<Batch> {
        let events = self.monitor.take_xid_events();
        self.states.failed(&events.events);
        xids::say(&events, &mut self.lines, Instant::now());
        self.lost_events = self.lost_events.saturating_add(events.dropped);
        let mut batch = match self.monitor.latest() {
            Ok(poll) => self.delivered(&poll),
            Err(GpuError::NoLibrary(why)) => self.without_library(&why),
            Err(missing @ GpuError::NoDriver(_)) => self.off(&missing.to_string()),
            Err(GpuError::Starting) => Batch {
                starting: true,
                ..Batch::default()
            },
            Err(error) => Batch {
                families: self.with_errors(),
                stale: Some(printable(error.to_string().as_bytes(), REASON_LENGTH)),
                ..Batch::default()
            },
        };
        batch.lost.push((LOST_EVENT, self.lost_events));
        Ok(batch)
    }
}

/// All metrics of all GPUs that answer, and which do not. `agent_of` is a process's agent, if it
/// has one.
fn families(
    poll: &Poll,
    journal: &Journal,
    agent_of: impl Fn(u32) -> Option<String>,
) -> Vec<MetricFamily> {
    let mut sheet = Sheet::default();
    for gpu in poll.devices.values() {
        let number = gpu.device_id.to_string();
        let uuid = text(&gpu.identity.uuid);
        let mut rows = sheet.rows(&[("device_id", &number), ("uuid", &uuid)]);
        device::put(gpu, &mut rows);
        mig::put(&gpu.mig, &mut rows);
        processes::put(&gpu.processes, &agent_of, &mut rows);
    }
    for ((number, uuid), is_lost) in journal.devices().collect::<BTreeMap<_, _>>() {
        let (number, uuid) = (number.to_string(), text(uuid));
        let mut rows = sheet.rows(&[("device_id", &number), ("uuid", &uuid)]);
        rows.put(&catalogue::LOST, f64::from(u8::from(is_lost)));
    }
    sheet.finish()
}

/// By what errors are counted under: the UUID, or the PCI address of a GPU that tells none.
fn numbers(poll: &Poll) -> BTreeMap<String, u32> {
    let number = |gpu: &GpuMetrics| {
        let identity = &gpu.identity;
        let keys = [&identity.uuid, &identity.pci_bus_id];
        let key = keys.into_iter().find(|key| !key.is_empty())?;
        Some((key.clone(), gpu.device_id))
    };
    poll.devices.values().filter_map(number).collect()
}

/// Text that a device gave, as a label or in a log line.
fn text(given: &str) -> String {
    printable(given.as_bytes(), TEXT_LENGTH)
}
