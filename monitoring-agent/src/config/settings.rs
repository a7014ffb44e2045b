//! The visible list of all settings: which key, read how, put where.
//!
//! A family's keys are one entry of [`SOURCES`]. Knows nothing of layers: a setting is applied in
//! the same way whoever gives it.

use super::{
    Config, cuda, endpoint,
    problem::Fault,
    values::{self, Value},
};

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

/// A key, and what to do with its value.
pub(super) struct Setting {
    pub(super) key: &'static str,
    pub(super) apply: fn(&mut Draft, Value<'_>) -> Result<(), Fault>,
}

/// A setting whose value is read by one reader and stored in one place.
macro_rules! setting {
    ($key:literal, $($field:ident).+, $read:expr) => {
        Setting {
            key: $key,
            apply: |draft, value| {
                draft.$($field).+ = $read(value)?;
                Ok(())
            },
        }
    };
}

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
    ("gpu", GPU),
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

/// Not in the file: `--listen`, `MONITORING_LISTEN`.
pub(super) const LISTEN: Setting = setting!("listen", config.listen, values::listen);

/// Not in the file, which is read after the log is wanted: `--log-level`, `MONITORING_LOG_LEVEL`.
pub(super) const LOG_LEVEL: Setting = setting!("log_level", log_level, values::log_level);

/// The setting of `[monitoring]` with this key.
pub(super) fn find(key: &str) -> Option<&'static Setting> {
    MONITORING.iter().find(|setting| setting.key == key)
}

/// The keys of these settings.
pub(super) fn keys(settings: &[Setting]) -> Vec<&'static str> {
    settings.iter().map(|setting| setting.key).collect()
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
        let unused = self.unused();
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
        if !unused.is_empty() {
            let keys = unused.join(", ");
            notes.push(format!("set, but not used by this version: {keys}"));
        }
        if let Some(endpoint) = self.otlp.or(self.jaeger) {
            config.otlp_endpoint = Some(endpoint);
        }
        config
    }

    /// The keys that are accepted because they are specified, have no effect in this version, and
    /// were set to anything but their default.
    fn unused(&self) -> Vec<&'static str> {
        let (is, was) = (&self.config, &Config::default());
        let moved =
            |endpoint: &Option<String>| endpoint.is_some() && *endpoint != was.otlp_endpoint;
        let differs = [
            (
                "profiling_enabled",
                is.profiling_enabled != was.profiling_enabled,
            ),
            (
                "profile_sample_rate",
                is.profile_sample_rate.to_bits() != was.profile_sample_rate.to_bits(),
            ),
            ("tracing_enabled", is.tracing_enabled != was.tracing_enabled),
            (
                "trace_sample_rate",
                is.trace_sample_rate.to_bits() != was.trace_sample_rate.to_bits(),
            ),
            ("otlp_endpoint", moved(&self.otlp)),
            ("jaeger_endpoint", moved(&self.jaeger)),
            (
                "metrics_retention_days",
                is.metrics_retention_days != was.metrics_retention_days,
            ),
        ];
        let set = differs.into_iter().filter(|(_, differs)| *differs);
        set.map(|(key, _)| key).collect()
    }
}
