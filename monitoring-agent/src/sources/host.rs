//! Source `host`: the node's own numbers, from /proc and /sys, under `node_exporter`'s names.
//!
//! One part for each kernel file. A part that fails loses its own numbers only, is warned of once,
//! and is counted at each collection as `unreadable_<part>`. A part that the machine does not have
//! (no pressure stall information, no link speed) is absent, which is no failure.
//!
//! Knows no exporter, no other source, and nothing of processes or kernel programs.
//!
//! Of the `procfs` crate it takes the lines of `/proc/diskstats` and the clock tick. The crate's
//! other parsers cannot give `node_exporter`'s numbers: that of `/proc/stat` forgets the CPUs'
//! numbers (wrong as soon as one is offline), that of `/proc/loadavg` rounds to `f32`, that of the
//! mount table leaves `\040` in place, that of pressure wants a `full` line that older kernels do
//! not have, that of `/proc/meminfo` builds a map of all fields and fails on any one of them, and
//! those of devices give up all lines for one name that is not UTF-8.

mod cpu;
mod disk;
mod files;
mod filesystem;
mod memory;
mod mounts;
mod network;
mod pressure;
mod rounds;
mod system;
#[cfg(test)]
mod tests;

use std::path::Path;

use anyhow::Context as _;
use prometheus::proto::MetricFamily;

use crate::{
    config::Config,
    families::Family,
    source::{Batch, Source, StartError},
};

use cpu::Cpu;
use files::Files;
use filesystem::Filesystem;

/// Starts the source on this machine's `/proc` and `/sys`.
pub fn start(config: &Config) -> Result<Box<dyn Source>, StartError> {
    // Without it nothing here works, and no later collection would heal that.
    std::fs::metadata("/proc/stat").context("/proc/stat: is procfs mounted?")?;
    let host = Host::with_roots(
        Path::new("/proc"),
        Path::new("/sys"),
        &config.node,
        &config.node_type,
    );
    Ok(Box::new(host))
}

/// The host's numbers.
#[derive(Debug)]
pub struct Host {
    files: Files,
    info: MetricFamily,
    cpu: Cpu,
    filesystem: Filesystem,
    /// Failed readings by part, since the start.
    unreadable: [u64; PARTS.len()],
}

/// The parts' names in `Batch.lost`, in the order in which they are read.
const PARTS: [&str; 8] = [
    "unreadable_cpu",
    "unreadable_load",
    "unreadable_memory",
    "unreadable_disk",
    "unreadable_network",
    "unreadable_filefd",
    "unreadable_pressure",
    "unreadable_filesystem",
];

impl Host {
    /// A host whose procfs and sysfs are found under other paths, such as a test's.
    ///
    /// `node` and `node_type` are the labels of `node_info`.
    pub fn with_roots(proc: &Path, sys: &Path, node: &str, node_type: &str) -> Self {
        Self {
            files: Files::new(proc, sys),
            info: Family::gauge(
                "node_info",
                "This node, as the agent is configured. Always 1.",
            )
            .with(&[("node", node), ("type", node_type)], 1.0)
            .build(),
            cpu: Cpu::new(procfs::ticks_per_second()),
            filesystem: Filesystem::new(),
            unreadable: [0; PARTS.len()],
        }
    }

    /// Counts the failed parts, and warns of each the first time.
    fn note(&mut self, part: usize, error: &anyhow::Error) {
        if self.unreadable[part] == 0 {
            tracing::warn!(
                part = PARTS[part],
                "{error:#}; counted from now on, not logged"
            );
        }
        self.unreadable[part] += 1;
    }
}

impl Source for Host {
    fn collect(&mut self) -> anyhow::Result<Batch> {
        let mut families = Vec::with_capacity(48);
        let (files, out) = (&mut self.files, &mut families);
        // In the order of `PARTS`. A part that fails has still put what it could read into `out`.
        let results: [anyhow::Result<()>; PARTS.len()] = [
            self.cpu.collect(files, out),
            system::load(files, out),
            memory::collect(files, out),
            disk::collect(files, out),
            network::collect(files, out),
            system::filefd(files, out),
            pressure::collect(files, out),
            // Last, because it may wait a little for its thread.
            self.filesystem.collect(files, out),
        ];
        families.retain(|family| !family.get_metric().is_empty());
        if families.is_empty() {
            let [Err(error), ..] = results else {
                anyhow::bail!("nothing could be read")
            };
            return Err(error.context("nothing could be read, for one"));
        }
        system::uname(&mut families)?;
        families.push(self.info.clone());
        for (part, result) in results.iter().enumerate() {
            if let Err(error) = result {
                self.note(part, error);
            }
        }

        // All reasons from the first batch on: a counter that is born at 1 has no rate.
        let mut lost: Vec<_> = PARTS.into_iter().zip(self.unreadable).collect();
        lost.push(("mount_hung", self.filesystem.skipped()));
        Ok(Batch {
            families,
            lost,
            ..Batch::default()
        })
    }
}
