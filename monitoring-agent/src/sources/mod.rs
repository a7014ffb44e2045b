//! The one visible list of sources.

pub mod block;
pub mod cuda;
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
    /// Whether the configuration wants it.
    pub enabled: fn(&Config) -> bool,
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
            enabled: |config| config.sources.$name.enabled,
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
    Entry {
        name: "host",
        enabled: |config| config.sources.host.enabled,
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
];

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
        let families: Vec<_> = SOURCES.iter().map(|entry| entry.name).collect();
        let (host, families) = families.split_last().unwrap();
        assert_eq!(*host, "host");
        check(|config| config.ebpf_debug = true, families);
    }
}
