//! The one visible list of sources.

pub mod block;
pub mod cuda;
pub mod gpu;
pub mod host;
pub mod net;
pub mod process;
pub mod profile;
pub mod sched;
pub mod swarm;
pub mod syscalls;
pub mod trace;

use std::sync::Arc;

use crate::{
    config::Config,
    exemplars::Exemplars,
    gpu_states::GpuStates,
    labels::Labels,
    loader::SharedMaps,
    offsets::Offsets,
    profile::{history::History, profiler::Profiler},
    source::{Source, StartError},
    sources::{cuda::kernel_names::KernelNames, trace::PastRoots},
    spans::Spans,
};

/// A source's entry in the list.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The family's one name.
    pub name: &'static str,
    /// The key that switches it off in this configuration, if one does.
    pub off_by: fn(&Config) -> Option<&'static str>,
    /// Whether two configurations are the same to it, so that it can go on running.
    pub unchanged: fn(&Config, &Config) -> bool,
    /// Starts it. Kernel programs count from here on.
    pub start: fn(&mut StartContext<'_>) -> Result<Box<dyn Source>, StartError>,
}

/// What a source may use to start. Called on the tokio runtime.
pub struct StartContext<'a> {
    /// The validated configuration.
    pub config: &'a Config,
    /// The agents' names and processes.
    pub labels: &'a Arc<Labels>,
    /// Maps that all kernel objects share.
    pub shared: &'a SharedMaps,
    /// Field offsets of this kernel.
    pub offsets: &'a mut Offsets,
    /// What recordings of stacks share.
    pub profiler: &'a Arc<Profiler>,
    /// Where profiles are kept, if they are.
    pub history: Option<&'a History>,
    /// Where traces of slow events are held for those who scrape.
    pub exemplars: &'a Arc<Exemplars>,
    /// Where source `gpu` leaves what GPUs do, for source `trace`.
    pub gpu_states: &'a Arc<GpuStates>,
    /// Where source `cuda` leaves what functions are called, for source `trace`.
    pub kernel_names: &'a Arc<KernelNames>,
    /// Where finished spans go.
    pub spans: &'a Spans,
    /// What one start of the source `trace` leaves to the next.
    pub past_roots: &'a Arc<PastRoots>,
    /// Whether all is loaded now that may be needed later: to find out whether it can be.
    pub at_once: bool,
}

/// A family of kernel programs, whose settings are those of its section, and those named behind it.
/// One that is `traced` has those of tracing as well.
macro_rules! family {
    ($name:ident $(, $setting:ident)*; traced) => {
        Entry {
            unchanged: |old, new| {
                (family!($name $(, $setting)*).unchanged)(old, new)
                    && old.trace_settings() == new.trace_settings()
            },
            ..family!($name $(, $setting)*)
        }
    };
    ($name:ident $(, $setting:ident)*) => {
        Entry {
            name: stringify!($name),
            off_by: |config| {
                (!config.sources.$name.enabled)
                    .then_some(concat!("sources.", stringify!($name), ".enabled"))
            },
            unchanged: |old, new| {
                (&old.sources.$name, old.ebpf_debug $(, &old.$setting)*)
                    == (&new.sources.$name, new.ebpf_debug $(, &new.$setting)*)
            },
            start: $name::start,
        }
    };
}

/// Every source, in the order of their start: `process` labels what the others count.
pub const SOURCES: &[Entry] = &[
    family!(process; traced),
    family!(sched; traced),
    family!(block; traced),
    family!(net, peers; traced),
    family!(syscalls; traced),
    family!(cuda; traced),
    family!(swarm),
    Entry {
        name: "profile",
        off_by: profile::off_by,
        unchanged: |old, new| {
            let settings = |config: &Config| {
                let profile = config.sources.profile.clone();
                let days = config.metrics_retention_days;
                (profile, config.profile_hertz(), days, config.ebpf_debug)
            };
            settings(old) == settings(new)
        },
        start: profile::start,
    },
    Entry {
        name: "host",
        off_by: |config| (!config.sources.host.enabled).then_some("sources.host.enabled"),
        unchanged: |old, new| {
            let settings = |config: &Config| {
                let Config {
                    sources,
                    node,
                    node_type,
                    ..
                } = config.clone();
                (sources.host, node, node_type)
            };
            settings(old) == settings(new)
        },
        start: |context| host::start(context.config),
    },
    Entry {
        name: "gpu",
        off_by: |config| {
            if config.gpu_monitoring_enabled {
                (!config.sources.gpu.enabled).then_some("sources.gpu.enabled")
            } else {
                Some("monitoring.gpu_monitoring_enabled")
            }
        },
        unchanged: |old, new| {
            (&old.sources.gpu, old.gpu_poll_interval) == (&new.sources.gpu, new.gpu_poll_interval)
        },
        start: |context| gpu::start(context),
    },
    // After the families, whose maps it reads. What they choose by is theirs.
    Entry {
        name: "trace",
        off_by: trace::off_by,
        unchanged: |old, new| (&old.node, &old.node_type) == (&new.node, &new.node_type),
        start: trace::start,
    },
];

impl Entry {
    /// Whether the configuration wants the source.
    pub fn is_wanted(&self, config: &Config) -> bool {
        (self.off_by)(config).is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::PeerConfig;

    #[test]
    fn a_source_restarts_when_settings_that_it_uses_change() {
        let check = |change: fn(&mut Config), want: &[&str]| {
            let (old, mut new) = (Config::default(), Config::default());
            change(&mut new);
            let changed = SOURCES
                .iter()
                .filter(|entry| !(entry.unchanged)(&old, &new));
            let names: Vec<_> = changed.map(|entry| entry.name).collect();
            assert_eq!(names, want);
        };
        check(|_| {}, &[]);
        check(|config| config.agents.clear(), &[]);
        check(|config| config.node.push('x'), &["host", "trace"]);
        check(
            |config| config.sources.syscalls.watched_only = true,
            &["syscalls"],
        );
        let peers = |config: &mut Config| {
            config.peers.push(PeerConfig {
                name: "a".to_owned(),
                addresses: Vec::new(),
                node_type: String::new(),
            });
        };
        check(peers, &["net"]);
        let library = |config: &mut Config| config.sources.gpu.nvml_library = Some("a".into());
        check(library, &["gpu"]);
        check(|config| config.gpu_poll_interval *= 2, &["gpu"]);
        let families: Vec<_> = SOURCES.iter().map(|entry| entry.name).collect();
        let families = families.strip_suffix(&["host", "gpu", "trace"]).unwrap();
        check(|config| config.ebpf_debug = true, families);
        // Nothing is traced by default, so that these have no effect.
        check(|config| config.trace_sample_rate = 1.0, &[]);
        let traced = &["process", "sched", "block", "net", "syscalls", "cuda"];
        check(|config| config.otlp_endpoint_given = true, traced);
    }

    #[test]
    fn a_source_is_switched_off_by_the_key_that_is_named() {
        let check = |change: fn(&mut Config), want: Option<&str>| {
            let mut config = Config::default();
            change(&mut config);
            let gpu = SOURCES.iter().find(|entry| entry.name == "gpu").unwrap();
            assert_eq!((gpu.off_by)(&config), want);
            assert_eq!(gpu.is_wanted(&config), want.is_none());
        };
        check(|_| {}, None);
        let section = "sources.gpu.enabled";
        check(|config| config.sources.gpu.enabled = false, Some(section));
        let all = "monitoring.gpu_monitoring_enabled";
        check(|config| config.gpu_monitoring_enabled = false, Some(all));
    }
}
