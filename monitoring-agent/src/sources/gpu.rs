//! Source `gpu`: NVIDIA GPUs, as `monitoring::gpu` reads them through NVML.
//!
//! The monitor has threads of its own and polls by itself; a collection takes the newest poll and
//! never waits for NVML. This file decides what a collection is: numbers, nothing to read here, or
//! a failure. Knows no exporter, and nothing of NVML.

mod catalogue;
mod device;
mod journal;
mod mig;
mod processes;
mod sheet;
#[cfg(test)]
mod tests;
mod xids;

use std::sync::Arc;

use monitoring::gpu::{GpuError, GpuMonitor, Poll};
use prometheus::proto::MetricFamily;

use self::{journal::Journal, sheet::Sheet, xids::Xids};
use super::StartContext;
use crate::{
    labels::Labels,
    printable::printable,
    source::{Batch, Source},
};

/// Longest text of a device that becomes a label or a part of a log line, in characters. NVML's own
/// limit for names and UUIDs is 96 bytes.
const TEXT_LENGTH: usize = 96;

/// Longest reason in the log, in characters: the loader's words with a path or two.
const REASON_LENGTH: usize = 400;

/// What a driver without GPUs is said to be.
const NO_DEVICES: &str = "NVIDIA's driver is loaded, and knows no GPU";

struct Gpu {
    monitor: GpuMonitor,
    labels: Arc<Labels>,
    journal: Journal,
    xids: Xids,
}

/// Starts to poll. Never fails: a library, a driver or a GPU may come later.
pub fn start(context: &StartContext<'_>) -> Box<dyn Source> {
    let config = context.config;
    let mut monitor = GpuMonitor::builder().poll_interval(config.gpu_poll_interval);
    if let Some(library) = &config.sources.gpu.nvml_library {
        monitor = monitor.library(library);
    }
    Box::new(Gpu {
        monitor: monitor.poll(),
        labels: Arc::clone(context.labels),
        journal: Journal::default(),
        xids: Xids::default(),
    })
}

impl Source for Gpu {
    fn collect(&mut self) -> anyhow::Result<Batch> {
        self.xids.take(&self.monitor.take_xid_events());
        match self.monitor.latest() {
            Ok(poll) => {
                self.journal.look_at(&poll);
                self.xids.look_at(&poll);
                Ok(batch(&poll, &self.xids, |pid| self.labels.agent_of(pid)))
            }
            Err(missing @ GpuError::NoLibrary(_)) => {
                // Its words end with the advice to name the library's file.
                Ok(off(&format!("{missing} in sources.gpu.nvml_library")))
            }
            Err(missing @ GpuError::NoDriver(_)) => Ok(off(&missing.to_string())),
            Err(GpuError::Starting) => Ok(Batch {
                starting: true,
                ..Batch::default()
            }),
            Err(error) => Err(error.into()),
        }
    }
}

/// What a poll brings. `agent_of` is a process's agent, if it has one.
fn batch(poll: &Poll, xids: &Xids, agent_of: impl Fn(u32) -> Option<String>) -> Batch {
    if poll.devices.is_empty() && poll.lost.is_empty() {
        return off(NO_DEVICES);
    }
    Batch {
        families: families(poll, xids, agent_of),
        age: poll.at.elapsed(),
        ..Batch::default()
    }
}

fn off(why: &str) -> Batch {
    Batch {
        off: Some(printable(why.as_bytes(), REASON_LENGTH)),
        ..Batch::default()
    }
}

/// All metrics of all GPUs that answer, and the critical errors of those that do not.
fn families(
    poll: &Poll,
    xids: &Xids,
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
    xids.put_of_silent(poll, &mut sheet);
    sheet.finish()
}

/// Text that a device gave, as a label or in a log line.
fn text(given: &str) -> String {
    printable(given.as_bytes(), TEXT_LENGTH)
}
