//! TOML file, environment and command line → one validated [`Config`]; every error names the key.
//!
//! Owns what may be configured, its defaults and its limits. Knows nothing of what the values are
//! for: it starts no source, opens no socket and writes no log; what is worth saying it hands over
//! as notes.
//!
//! [`load`] lays five layers over each other: defaults, then OpenTelemetry's variables for OTLP, then
//! the file, then `MONITORING_*` variables, then flags. All problems of all layers are reported at once.

mod agents;
mod cuda;
mod document;
mod layers;
mod otlp;
mod peers;
mod profile;
mod rules;
mod settings;
mod trace;
mod values;

#[cfg(test)]
mod tests;

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

pub use cuda::CudaConfig;
pub use layers::{DEFAULT_FILE, Loaded, load};
use monitoring::config::reading::{endpoint, problem};
pub use monitoring::config::{ConfigError, Place, Problem};
pub use otlp::{Delivery, OtlpConfig};
pub use profile::{MAX_HERTZ, ProfileAccess, ProfileConfig, ProfileEvent};
pub use rules::Identity;
pub use trace::{TraceAgents, TraceConfig};

use crate::nvidia_driver;

/// The agent's validated configuration.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::struct_excessive_bools)] // Each is a switch of the specification, not a state.
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
    /// `profiling_enabled`: whether profiles are taken at all, all the time or on demand.
    /// `sources.profile.enabled` has to be true as well for those that are taken all the time.
    pub profiling_enabled: bool,
    /// How densely CPU time is sampled all the time, 0 to 1: [`Config::profile_hertz`].
    pub profile_sample_rate: f64,
    /// `tracing_enabled`: whether there are spans at all; see [`Config::is_tracing`].
    pub tracing_enabled: bool,
    /// Share of traces that are taken, 0 to 1.
    pub trace_sample_rate: f64,
    /// Where OTLP is taken. From `otlp_endpoint`, or translated from `jaeger_endpoint`, or else from
    /// OpenTelemetry's variables of the environment. A base URL
    /// without a slash at its end: `/v1/traces` is to be appended. Set even when tracing is off.
    pub otlp_endpoint: Option<String>,
    /// Whether somebody gave an endpoint. Nothing is sent to the default one, where nobody may listen.
    pub otlp_endpoint_given: bool,
    /// `gpu_monitoring_enabled`: whether GPUs are read at all. `sources.gpu.enabled` has to be true
    /// as well.
    pub gpu_monitoring_enabled: bool,
    /// Time between two polls of the GPUs. At least 100 ms, at most one hour.
    pub gpu_poll_interval: Duration,
    /// Days for which profiles that are taken all the time are kept on disk.
    pub metrics_retention_days: u32,
    /// Watched process groups, in order: the first rule that matches a process names it.
    pub agents: Vec<AgentRule>,
    /// Other nodes that this one exchanges data with. None by default.
    pub peers: Vec<PeerConfig>,
    /// `[sources.<family>]`.
    pub sources: Sources,
    /// `[otlp]`.
    pub otlp: OtlpConfig,
}

/// One `[[agents]]` entry. A process matches when any pattern of any list matches.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AgentRule {
    /// Value of the `agent` label.
    pub name: String,
    /// Globs on the process's name, `/proc/PID/comm` of the main thread.
    pub comm: Vec<glob::Pattern>,
    /// Globs on the executable: on its whole path when the glob has a `/`, else on its file name.
    pub exe: Vec<glob::Pattern>,
    /// Globs on the cgroup path.
    pub cgroup: Vec<glob::Pattern>,
    /// Globs on the container's id, 64 hexadecimal digits, as its cgroup's path has it.
    pub container: Vec<glob::Pattern>,
    /// Globs on the Kubernetes pod's uid, as its cgroup's path has it, written with dashes.
    pub pod: Vec<glob::Pattern>,
    /// Globs on `NAME=value` environment entries.
    pub environment: Vec<glob::Pattern>,
}

/// One `[[peers]]` entry. Traffic with an address in any of its networks is traffic with this peer;
/// of several networks that hold an address, the one with the longest prefix decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerConfig {
    /// Value of the `peer` label.
    pub name: String,
    /// Its networks; no two peers share one. At least one.
    pub addresses: Vec<PeerNetwork>,
    /// What kind of node it is, for example `gpu`. Empty where nobody said.
    pub node_type: String,
}

/// A network: an address whose bits beyond the prefix are zero. One whose prefix is as long as the
/// address is a single address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PeerNetwork {
    /// The first address. Never one of IPv4 in IPv6 notation (`::ffff:10.0.0.1`).
    pub address: IpAddr,
    /// At most 32 for IPv4, 128 for IPv6.
    pub prefix_length: u8,
}

/// `[sources.<family>]`, one field per source, of the source's own name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sources {
    /// Host metrics from /proc and /sys.
    pub host: Switch,
    /// Process events, which keep the agents' labels current. Without them, labels are as of the
    /// agent's start.
    pub process: Switch,
    /// The scheduler: waiting for a CPU, and why tasks are not on one.
    pub sched: Switch,
    /// Disk requests.
    pub block: Switch,
    /// Sockets and TCP connections.
    pub net: Switch,
    /// System calls.
    pub syscalls: SyscallsConfig,
    /// Calls into CUDA's libraries.
    pub cuda: CudaConfig,
    /// What applications say of their agents.
    pub swarm: Switch,
    /// GPUs.
    pub gpu: GpuConfig,
    /// Profiles: what CPUs do, where time off them goes, where memory grows.
    pub profile: ProfileConfig,
    /// Spans: what processes waited for.
    pub trace: TraceConfig,
}

/// `[sources.<family>]` of a source that can only be switched off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Switch {
    /// Whether the source runs. Default true.
    pub enabled: bool,
}

impl Default for Switch {
    fn default() -> Self {
        Self { enabled: true }
    }
}

/// `[sources.syscalls]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyscallsConfig {
    /// Whether the source runs. Default true.
    pub enabled: bool,
    /// Whether only calls of watched agents are counted; filtered in the kernel. Default false.
    pub watched_only: bool,
}

impl Default for SyscallsConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            watched_only: false,
        }
    }
}

/// `[sources.gpu]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GpuConfig {
    /// Whether the source runs. Default true.
    pub enabled: bool,
    /// NVIDIA's management library, by its file. `None` for the system's.
    pub nvml_library: Option<PathBuf>,
}

impl Default for GpuConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            nvml_library: None,
        }
    }
}

impl Default for Config {
    /// What the agent does without a file, a variable or a flag. The node's name and type are this
    /// machine's.
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 9090)),
            metrics_path: "/metrics".to_owned(),
            collection_interval: Duration::from_secs(10),
            node: host_name(Path::new("/")),
            node_type: node_type(Path::new("/")),
            bpf_stats: false,
            ebpf_debug: false,
            profiling_enabled: true,
            profile_sample_rate: 0.1,
            tracing_enabled: true,
            trace_sample_rate: 0.01,
            // The translation of the default `jaeger_endpoint`.
            otlp_endpoint: Some("http://localhost:4318".to_owned()),
            otlp_endpoint_given: false,
            gpu_monitoring_enabled: true,
            gpu_poll_interval: Duration::from_secs(5),
            metrics_retention_days: 30,
            agents: agents::defaults(),
            peers: Vec::new(),
            sources: Sources::default(),
            otlp: OtlpConfig::default(),
        }
    }
}

/// The kernel's host name, or `localhost` where it has none or it cannot be read.
fn host_name(root: &Path) -> String {
    let name = fs::read(root.join("proc/sys/kernel/hostname")).unwrap_or_default();
    match String::from_utf8_lossy(&name).trim() {
        "" | "(none)" => "localhost".to_owned(),
        name => name.to_owned(),
    }
}

/// `gpu` where NVIDIA's driver is loaded or its control device was passed in, else `cpu`.
fn node_type(root: &Path) -> String {
    let gpu = nvidia_driver::is_there(root);
    if gpu { "gpu" } else { "cpu" }.to_owned()
}
