//! TOML file, environment and command line → one validated [`Config`]; every error names the key.

use std::{net::SocketAddr, time::Duration};

/// The agent's validated configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Address and port of the metrics endpoint. Port from `metrics_port`, address from
    /// `bind_address`; `--listen` sets both.
    pub listen: SocketAddr,
    /// Path of the metrics endpoint; begins with `/`.
    pub metrics_path: String,
    /// Time between two collections. At least 100 ms, at most one hour.
    pub collection_interval: Duration,
    /// Name of this node in `node_info`. The host name by default.
    pub node: String,
    /// Type of this node in `node_info`, for example `gpu`, `cpu`, `storage`.
    pub node_type: String,
    /// Whether the kernel measures how often and how long each program runs. Costs about 50 ns a
    /// run, so it is off by default.
    pub bpf_stats: bool,
    /// Whether kernel programs write debug messages to the agent's log. For their developers.
    pub ebpf_debug: bool,
    /// `profiling_enabled`.
    pub profiling_enabled: bool,
    /// Share of CPU time that is sampled, 0 to 1.
    pub profile_sample_rate: f64,
    /// `tracing_enabled`.
    pub tracing_enabled: bool,
    /// Share of traces that are kept, 0 to 1.
    pub trace_sample_rate: f64,
    /// Where spans go, by OTLP. From `otlp_endpoint`, or translated from `jaeger_endpoint`.
    pub otlp_endpoint: Option<String>,
    /// `gpu_monitoring_enabled`.
    pub gpu_monitoring_enabled: bool,
    /// Time between two polls of the GPUs.
    pub gpu_poll_interval: Duration,
    /// Days for which continuous profiles are kept.
    pub metrics_retention_days: u32,
    /// Watched process groups, in order: the first rule that matches a process names it.
    pub agents: Vec<AgentRule>,
    /// `[sources.<family>]`.
    pub sources: Sources,
}

/// One `[[agents]]` entry. A process matches when any pattern of any list matches.
#[derive(Clone, Debug, PartialEq)]
pub struct AgentRule {
    /// Value of the `agent` label.
    pub name: String,
    /// Globs on the process's name, `/proc/PID/comm` of the main thread.
    pub comm: Vec<glob::Pattern>,
    /// Globs on the executable: on its whole path when the glob has a `/`, else on its file name.
    pub exe: Vec<glob::Pattern>,
    /// Globs on the cgroup path.
    pub cgroup: Vec<glob::Pattern>,
    /// Globs on `NAME=value` environment entries.
    pub environment: Vec<glob::Pattern>,
}

/// `[sources.<family>]`, one field per source, of the source's own name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sources {
    /// Host metrics from /proc and /sys.
    pub host: HostConfig,
    /// Process events, which keep the agents' labels current.
    pub process: ProcessConfig,
    /// System calls.
    pub syscalls: SyscallsConfig,
}

/// `[sources.host]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostConfig {
    /// Whether the source runs. Default true.
    pub enabled: bool,
}

/// `[sources.process]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessConfig {
    /// Whether the source runs. Default true. Without it, labels are as of the agent's start.
    pub enabled: bool,
}

/// `[sources.syscalls]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyscallsConfig {
    /// Whether the source runs. Default true.
    pub enabled: bool,
    /// Whether only calls of watched agents are counted; filtered in the kernel. Default false.
    pub watched_only: bool,
}
