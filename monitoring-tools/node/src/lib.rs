//! The numbers of this node and of its GPUs, at once and without an agent: by the very files that the
//! agent reads them with.
//!
//! Only those sources are compiled here that need no kernel program, so that building this takes no
//! eBPF toolchain, and running it no privileges. What they know of the rest of the agent stands
//! below in short. Knows no tool.

#![deny(missing_docs)]

use std::{
    fs,
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use prometheus::{TextEncoder, proto::MetricFamily};

use config::Config;
use labels::Labels;
use source::{Batch, Source, StartError};
use sources::{StartContext, gpu, host};

macro_rules! agents_file {
    ($($path:literal $name:ident),+) => {
        $(
            #[path = $path]
            #[allow(
                clippy::all,
                clippy::pedantic,
                dead_code,
                unreachable_pub,
                reason = "it is checked with the agent, which uses more of it"
            )]
            mod $name;
        )+
    };
}

agents_file!(
    "../../../monitoring-agent/src/clock.rs" clock,
    "../../../monitoring-agent/src/families.rs" families,
    "../../../monitoring-agent/src/gpu_states.rs" gpu_states,
    "../../../monitoring-agent/src/mount_table.rs" mount_table,
    "../../../monitoring-agent/src/nvidia_driver.rs" nvidia_driver,
    "../../../monitoring-agent/src/printable.rs" printable,
    "../../../monitoring-agent/src/source.rs" source
);

#[path = "../../../monitoring-agent/src/sources"]
#[allow(
    clippy::all,
    clippy::pedantic,
    unreachable_pub,
    reason = "they are checked with the agent, which shows them to others"
)]
mod sources {
    //! The agent's sources that need no kernel program.

    pub(crate) mod gpu;
    pub(crate) mod host;

    /// What a source may use to start.
    pub(crate) struct StartContext<'a> {
        pub(crate) config: &'a super::Config,
        pub(crate) labels: &'a std::sync::Arc<super::Labels>,
        pub(crate) gpu_states: &'a std::sync::Arc<super::gpu_states::GpuStates>,
    }
}

mod config {
    //! The settings of these sources.

    use std::{path::PathBuf, time::Duration};

    pub(crate) struct Config {
        pub(crate) node: String,
        pub(crate) node_type: String,
        pub(crate) gpu_poll_interval: Duration,
        pub(crate) sources: Sources,
    }

    #[derive(Default)]
    pub(crate) struct Sources {
        pub(crate) gpu: Gpu,
    }

    #[derive(Default)]
    pub(crate) struct Gpu {
        pub(crate) nvml_library: Option<PathBuf>,
    }
}

mod labels {
    //! Nobody has said which processes are an agent's.

    pub(crate) const OTHER_NAME: &str = "other";

    pub(crate) struct Labels;

    impl Labels {
        #[allow(clippy::unused_self, reason = "the agent's looks up what it knows")]
        pub(crate) fn agent_of(&self, _pid: u32) -> Option<String> {
            None
        }
    }
}

/// GPUs are polled so often until the first numbers are there.
const POLLED: Duration = Duration::from_secs(1);

/// How often these are asked for.
const PAUSE: Duration = Duration::from_millis(20);

/// What could be had.
#[derive(Debug)]
pub struct Collected {
    /// The metrics, in Prometheus' text format.
    pub text: String,
    /// What could not be had, for people.
    pub missing: Vec<String>,
}

/// Reads this node's numbers, and those of its GPUs.
///
/// `nvml_library` is the file of NVIDIA's management library, if it is not the one that the system's
/// loader finds. The driver of GPUs that sleep takes some seconds to wake them; after `patience`
/// they are missing.
///
/// # Errors
///
/// If nothing at all can be read.
pub fn collect(nvml_library: Option<&Path>, patience: Duration) -> anyhow::Result<Collected> {
    let is_gpu_node = nvidia_driver::is_there(Path::new("/"));
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let config = Config {
        node: name.trim_end().to_owned(),
        node_type: if is_gpu_node { "gpu" } else { "cpu" }.to_owned(),
        gpu_poll_interval: POLLED,
        sources: config::Sources {
            gpu: config::Gpu {
                nvml_library: nvml_library.map(Path::to_path_buf),
            },
        },
    };
    let labels = Arc::new(Labels);
    let gpu_states = Arc::default();
    let context = StartContext {
        config: &config,
        labels: &labels,
        gpu_states: &gpu_states,
    };
    // The GPUs are read while the rest is.
    let gpus = gpu::start(&context);
    let mut collected = host::start(&config)?.collect()?;
    let mut families = std::mem::take(&mut collected.families);
    let mut missing = unread(&collected);
    match gpus {
        Ok(gpus) => match first(gpus, patience) {
            Ok(batch) => {
                missing.extend(batch.missing);
                families.extend(batch.families);
            }
            Err(why) => missing.push(format!("GPUs: {why}")),
        },
        Err(StartError::Unsupported(why)) => missing.push(format!("GPUs: {why}")),
        Err(StartError::Broken(error)) => missing.push(format!("GPUs: {error:#}")),
    }
    families.sort_by(|one: &MetricFamily, two| one.name().cmp(two.name()));
    families.retain(|family| !family.get_metric().is_empty());
    let text = TextEncoder::new().encode_to_string(&families)?;
    Ok(Collected { text, missing })
}

/// The parts of the node that could not be read.
fn unread(batch: &Batch) -> Vec<String> {
    let failed = batch.lost.iter().filter(|(_, count)| *count > 0);
    failed.map(|(part, _)| part.replace('_', " ")).collect()
}

/// The first numbers of a source that has threads of its own.
fn first(mut source: Box<dyn Source>, patience: Duration) -> Result<Batch, String> {
    let end = Instant::now() + patience;
    loop {
        let batch = source.collect().map_err(|error| format!("{error:#}"))?;
        if let Some(off) = batch.off {
            // Most nodes have none, and the loader's words would only frighten.
            let why = if off.is_usual {
                "there is no driver of NVIDIA's"
            } else {
                &off.why
            };
            return Err(why.to_owned());
        }
        if let Some(stale) = batch.stale {
            return Err(stale);
        }
        if !batch.starting {
            return Ok(batch);
        }
        if Instant::now() >= end {
            return Err("their driver has not answered in time".to_owned());
        }
        thread::sleep(PAUSE);
    }
}
