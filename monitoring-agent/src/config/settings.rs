//! The visible list of all settings: which key, read how, put where.
//!
//! A family's keys are one entry of [`SOURCES`]. Knows nothing of layers: a setting is applied in
//! the same way whoever gives it.

use monitoring::{config_setting as setting, otlp::TlsFiles};

use super::{Config, cuda, endpoint, profile, trace, values};

/// Longest node name: that of a host name.
const NODE_LENGTH: usize = 253;

/// Longest node type, of this node and of its peers.
pub(super) const NODE_TYPE_LENGTH: usize = 64;

/// Most days of retention: a century, which is a slip of the keyboard but a harmless one.
const RETENTION_DAYS: u32 = 36_500;

/// A configuration while its layers are laid over each other.
pub(super) struct Draft {
    pub(super) config: Config,
    /// `otlp_endpoint`, if anyone gave one.
    pub(super) otlp: Option<String>,
    /// `jaeger_endpoint`, if anyone gave one: translated.
    pub(super) jaeger: Option<String>,
    pub(super) log_level: tracing::Level,
}

/// A key of the agent's, and what to do with its value.
pub(super) type Setting = monitoring::config::reading::settings::Setting<Draft>;

/// `[monitoring]`.
pub(super) const MONITORING: &[Setting] = &[
    Setting {
        key: "metrics_port",
        apply: |draft, value| {
            draft.config.listen.set_port(values::port(value)?);
            Ok(())
        },
    },
    Setting {
        key: "bind_address",
        apply: |draft, value| {
            draft.config.listen.set_ip(values::address(value)?);
            Ok(())
        },
    },
    setting!("metrics_path", config.metrics_path, values::path),
    setting!(
        "collection_interval",
        config.collection_interval,
        values::interval
    ),
    setting!("node", config.node, |value| values::label(
        value,
        NODE_LENGTH,
        "gpu-01"
    )),
    setting!("node_type", config.node_type, |value| values::label(
        value,
        NODE_TYPE_LENGTH,
        "gpu"
    )),
    setting!("bpf_stats", config.bpf_stats, values::boolean),
    setting!("ebpf_debug", config.ebpf_debug, values::boolean),
    setting!(
        "profiling_enabled",
        config.profiling_enabled,
        values::boolean
    ),
    setting!(
        "profile_sample_rate",
        config.profile_sample_rate,
        values::rate
    ),
    setting!("tracing_enabled", config.tracing_enabled, values::boolean),
    setting!("trace_sample_rate", config.trace_sample_rate, values::rate),
    setting!("otlp_endpoint", otlp, |value| endpoint::otlp(value)
        .map(Some)),
    setting!("jaeger_endpoint", jaeger, |value| endpoint::jaeger(value)
        .map(Some)),
    setting!(
        "gpu_monitoring_enabled",
        config.gpu_monitoring_enabled,
        values::boolean
    ),
    setting!(
        "gpu_poll_interval",
        config.gpu_poll_interval,
        values::interval
    ),
    setting!(
        "metrics_retention_days",
        config.metrics_retention_days,
        |value| { values::whole(value, 1..=RETENTION_DAYS, 30) }
    ),
];

/// A family's section and its keys, each a switch.
macro_rules! switches {
    ($family:ident: $($key:ident),+) => {
        (
            stringify!($family),
            &[$(Setting {
                key: stringify!($key),
                apply: |draft, value| {
                    draft.config.sources.$family.$key = values::boolean(value)?;
                    Ok(())
                },
            }),+],
        )
    };
}

/// `[sources.<family>]`, by family.
pub(super) const SOURCES: &[(&str, &[Setting])] = &[
    switches!(host: enabled),
    switches!(process: enabled),
    switches!(sched: enabled),
    switches!(block: enabled),
    switches!(net: enabled),
    switches!(syscalls: enabled, watched_only),
    ("cuda", CUDA),
    switches!(swarm: enabled),
    ("gpu", GPU),
    ("profile", PROFILE),
    ("trace", TRACE),
];

/// `[sources.cuda]`.
const CUDA: &[Setting] = &[
    setting!("enabled", config.sources.cuda.enabled, values::boolean),
    setting!("libraries", config.sources.cuda.libraries, cuda::libraries),
    setting!("calls", config.sources.cuda.calls, cuda::calls),
    setting!(
        "exclude_calls",
        config.sources.cuda.exclude_calls,
        cuda::calls
    ),
    setting!(
        "overhead_budget",
        config.sources.cuda.overhead_budget,
        values::rate
    ),
];

/// `[sources.gpu]`.
const GPU: &[Setting] = &[
    setting!("enabled", config.sources.gpu.enabled, values::boolean),
    setting!("nvml_library", config.sources.gpu.nvml_library, |value| {
        values::library(value).map(Some)
    }),
];

/// `[sources.profile]`.
const PROFILE: &[Setting] = &[
    setting!("enabled", config.sources.profile.enabled, values::boolean),
    setting!("event", config.sources.profile.event, profile::event),
    setting!("hertz", config.sources.profile.hertz, profile::hertz),
    setting!("offcpu", config.sources.profile.offcpu, values::boolean),
    setting!("memory", config.sources.profile.memory, values::boolean),
    setting!("access", config.sources.profile.access, profile::access),
    setting!(
        "max_captures",
        config.sources.profile.max_captures,
        |value| values::whole(value, 1..=16, 2)
    ),
    setting!("history", config.sources.profile.history, values::boolean),
    setting!(
        "history_directory",
        config.sources.profile.history_directory,
        profile::directory
    ),
    setting!(
        "history_window",
        config.sources.profile.history_window,
        profile::window
    ),
    setting!(
        "history_max_bytes",
        config.sources.profile.history_max_bytes,
        profile::bytes
    ),
];

/// `[sources.trace]`.
const TRACE: &[Setting] = &[
    setting!("enabled", config.sources.trace.enabled, values::boolean),
    setting!("agents", config.sources.trace.agents, trace::agents),
    setting!(
        "slow_system_call",
        config.sources.trace.slow_system_call,
        trace::threshold
    ),
    setting!(
        "slow_disk_request",
        config.sources.trace.slow_disk_request,
        trace::threshold
    ),
    setting!(
        "slow_connect",
        config.sources.trace.slow_connect,
        trace::threshold
    ),
    setting!(
        "connection",
        config.sources.trace.connection,
        trace::threshold
    ),
    setting!("off_cpu", config.sources.trace.off_cpu, trace::threshold),
    setting!(
        "off_cpu_reasons",
        config.sources.trace.off_cpu_reasons,
        trace::reasons
    ),
    setting!("process", config.sources.trace.process, trace::threshold),
    setting!(
        "cuda_wait",
        config.sources.trace.cuda_wait,
        trace::threshold
    ),
    setting!(
        "joined_minimum",
        config.sources.trace.joined_minimum,
        trace::minimum
    ),
    setting!("errors", config.sources.trace.errors, trace::errors),
    setting!(
        "exclude_system_calls",
        config.sources.trace.exclude_system_calls,
        trace::system_calls
    ),
    setting!(
        "spans_per_second",
        config.sources.trace.spans_per_second,
        |value| values::whole(value, 1..=trace::MOST_SPANS, 100)
    ),
];

/// Not in the file: `--listen`, `MONITORING_LISTEN`.
pub(super) const LISTEN: Setting = setting!("listen", config.listen, values::listen);

/// Not in the file, which is read after the log is wanted: `--log-level`, `MONITORING_LOG_LEVEL`.
pub(super) const LOG_LEVEL: Setting = setting!("log_level", log_level, values::log_level);

/// The setting of `[monitoring]` with this key.
pub(super) fn find(key: &str) -> Option<&'static Setting> {
    MONITORING.iter().find(|setting| setting.key == key)
}

impl Draft {
    pub(super) fn new() -> Self {
        Self {
            config: Config::default(),
            otlp: None,
            jaeger: None,
            log_level: tracing::Level::INFO,
        }
    }

    /// The configuration, once no layer follows, with what is to be said of settings that are good
    /// but have another effect than one may think, or none.
    pub(super) fn finish(self, notes: &mut Vec<String>) -> Config {
        let mut config = self.config;
        match (&self.otlp, &self.jaeger) {
            (Some(otlp), Some(_)) => notes.push(format!(
                "both otlp_endpoint and jaeger_endpoint are given: otlp_endpoint, {otlp}, wins"
            )),
            (None, Some(jaeger)) => notes.push(format!(
                "jaeger_endpoint is given: it stands for the OTLP endpoint {jaeger}, since Jaeger \
                 takes OTLP from 1.35 on; an otlp_endpoint would win over it"
            )),
            (_, None) => {}
        }
        let rate = (
            config.profile_sample_rate,
            Config::default().profile_sample_rate,
        );
        if let Some(hertz) = config.sources.profile.hertz
            && rate.0.to_bits() != rate.1.to_bits()
        {
            notes.push(format!(
                "both profile_sample_rate and sources.profile.hertz are given: hertz, {hertz}, wins"
            ));
        }
        if let Some(endpoint) = self.otlp.or(self.jaeger) {
            config.otlp_endpoint = Some(endpoint);
            config.otlp_endpoint_given = true;
            // It is for both signals, whatever the environment says.
            (config.otlp.spans.endpoint, config.otlp.metrics.endpoint) = (None, None);
        } else if let Some(endpoint) = &config.otlp.spans.endpoint {
            config.otlp_endpoint = Some(endpoint.base.clone());
            config.otlp_endpoint_given = true;
        }
        let is_plain = |url: &String| config.otlp_endpoint_given && url.starts_with("http:");
        if config.otlp.spans.tls != TlsFiles::default()
            && let Some(url) = config.otlp_endpoint.as_ref().filter(|url| is_plain(url))
        {
            notes.push(format!(
                "files for TLS are given, and not used: {url} is not one of https"
            ));
        }
        config
    }
}
