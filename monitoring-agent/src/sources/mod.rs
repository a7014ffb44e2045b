//! The one visible list of sources.

pub mod block;
pub mod cuda;
pub mod gpu;
pub mod host;
pub mod net;
pub mod process;
pub mod sched;
pub mod syscalls;

use std::sync::Arc;

use crate::{
    config::Config,
    labels::Labels,
    loader::SharedMaps,
    offsets::Offsets,
    source::{Source, StartError},
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
    pub shared: &'a mut SharedMaps,
    /// Field offsets of this kernel.
    pub offsets: &'a mut Offsets,
}

/// A family of kernel programs, whose settings are those of its section, and those named behind it.
macro_rules! family {
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
    family!(process),
    family!(sched),
    family!(block),
    family!(net, peers),
    family!(syscalls),
    family!(cuda),
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
        check(|config| config.node.push('x'), &["host"]);
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
        let families = families.strip_suffix(&["host", "gpu"]).unwrap();
        check(|config| config.ebpf_debug = true, families);
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
