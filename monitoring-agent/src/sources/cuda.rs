//! Source `cuda`: calls into CUDA's libraries, counted in the kernel, by agent and by function.

pub mod attach_points;
mod calls;
mod counting;
pub mod discovery;
mod functions;
pub mod kernel_names;
pub mod kernels;
mod launches;
mod leftovers;
mod loading;
mod overhead;
mod probes;
mod sums;
mod users;
mod watcher;

use std::{collections::BTreeMap, path::Path, sync::Arc};

use anyhow::{Context as _, anyhow};
use monitoring_common::cuda::lost;
use prometheus::proto::MetricFamily;
use tracing::info;

use self::{
    counting::Counting,
    discovery::{Coverage, Names},
    functions::Chosen,
    loading::Loading,
    watcher::{Shared, Watcher, lock},
};
use super::StartContext;
use crate::{
    families::Family as Metrics,
    labels::{Labels, OTHER_NAME},
    loader, nvidia_driver,
    privileges::{self, SYS_PTRACE},
    source::{Batch, Off, Source, StartError},
};

pub use functions::is_call;

const COVERAGE_HELP: &str = "Processes that use CUDA, by how much of it is seen: attached and static \
                             are counted in full, stripped only by their calls of the driver, \
                             unreadable not at all.";

struct Cuda {
    shared: Arc<Shared>,
    labels: Arc<Labels>,
    /// Once the kernel object is loaded.
    counting: Option<Counting>,
    _watcher: Watcher,
}

/// Begins to look for what uses CUDA. The kernel object is loaded at once where that is to be
/// expected, and else for the first process that does.
///
/// # Errors
///
/// See [`StartError`].
pub fn start(context: &mut StartContext<'_>) -> Result<Box<dyn Source>, StartError> {
    // Without it, most calls would go uncounted.
    privileges::need(&SYS_PTRACE)?;
    let settings = &context.config.sources.cuda;
    let names = Names::with(&settings.libraries);
    let chosen = Chosen::new(&settings.calls, &settings.exclude_calls);
    let loading = Loading::new(context)?;
    let shared = Arc::new(Shared::new().context("make an event descriptor")?);
    context.kernel_names.are_in(&shared.kernels);
    let probes = if context.at_once || is_expected() {
        let parts = loading.load(&shared.kernels)?;
        Some(shared.take_in(parts))
    } else {
        loader::may_load()?;
        info!("nothing is loaded into the kernel for CUDA until a process uses it");
        None
    };
    Ok(Box::new(Cuda {
        labels: Arc::clone(context.labels),
        counting: None,
        _watcher: Watcher::start(&shared, loading, probes, names, chosen)?,
        shared,
    }))
}

/// Whether processes are about to use CUDA: without the driver, each call of theirs fails.
fn is_expected() -> bool {
    nvidia_driver::is_there(Path::new("/"))
}

impl Source for Cuda {
    fn collect(&mut self) -> anyhow::Result<Batch> {
        let names = self.labels.names();
        if self.counting.is_none() {
            self.counting = self.shared.counting();
        }
        let mut batch = match (&mut self.counting, self.shared.kernel()) {
            (Some(counting), Some(kernel)) => counting.collect(&names, &self.shared, kernel)?,
            _ => self.unloaded()?,
        };
        if batch.off.is_some() {
            return Ok(batch);
        }
        batch.families.push(self.coverage());
        let of_names = lock(&self.shared.kernels).lost();
        batch.lost.push(("malformed_event", of_names.malformed));
        batch.lost.push(("names_forgotten", of_names.forgotten));
        batch.lost.extend(self.shared.missed());
        Ok(batch)
    }
}

impl Cuda {
    /// What there is to say as long as the kernel object is not loaded.
    fn unloaded(&self) -> anyhow::Result<Batch> {
        match self.shared.failure() {
            Some(StartError::Unsupported(why)) => {
                let off = Off {
                    why,
                    is_usual: false,
                };
                return Ok(Batch {
                    off: Some(off),
                    ..Batch::default()
                });
            }
            Some(StartError::Broken(why)) => return Err(anyhow!("{why:#}")),
            // The driver may have been installed since.
            None if is_expected() => self.shared.expect_calls(),
            None => {}
        }
        // From the beginning, so that the first loss is a rise.
        let reasons = lost::REASONS.into_iter().chain(["recursion"]);
        Ok(Batch {
            lost: reasons.map(|reason| (reason, 0)).collect(),
            ..Batch::default()
        })
    }

    fn coverage(&self) -> MetricFamily {
        let mut sums: BTreeMap<(String, &'static str), u64> = BTreeMap::new();
        for (pid, coverage) in lock(&self.shared.coverage).iter() {
            let agent = self.labels.agent_of(*pid);
            let agent = agent.unwrap_or_else(|| OTHER_NAME.to_owned());
            *sums.entry((agent, Coverage::state(coverage))).or_default() += 1;
        }
        let mut family = Metrics::gauge("cuda_probe_coverage", COVERAGE_HELP);
        for ((agent, state), count) in &sums {
            family.push(&[("agent", agent), ("state", state)], *count as f64);
        }
        family.build()
    }
}
