//! The visible list of all settings: which key, read how, put where.
//!
//! A family's keys are one entry of [`SOURCES`]. Knows nothing of layers: a setting is applied in
//! the same way whoever gives it.

use super::{
    Config, endpoint,
    problem::Fault,
    values::{self, Value},
};

/// Longest node name: that of a host name.
const NODE_LENGTH: usize = 253;

/// Longest node type.
const NODE_TYPE_LENGTH: usize = 64;

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

/// `[sources.<family>]`, by family.
pub(super) const SOURCES: &[(&str, &[Setting])] = &[
    (
        "host",
        &[setting!(
            "enabled",
            config.sources.host.enabled,
            values::boolean
        )],
    ),
    (
        "process",
        &[setting!(
            "enabled",
            config.sources.process.enabled,
            values::boolean
        )],
    ),
    (
        "syscalls",
        &[
            setting!("enabled", config.sources.syscalls.enabled, values::boolean),
            setting!(
                "watched_only",
                config.sources.syscalls.watched_only,
                values::boolean
            ),
        ],
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

    /// The configuration, once no layer follows, with what is to be said of its endpoints.
    pub(super) fn finish(self, notes: &mut Vec<String>) -> Config {
        let mut config = self.config;
        match (self.otlp, self.jaeger) {
            (Some(otlp), Some(_)) => {
                notes.push(format!(
                    "both otlp_endpoint and jaeger_endpoint are given: spans go to otlp_endpoint, {otlp}; \
                     jaeger_endpoint is not used"
                ));
                config.otlp_endpoint = Some(otlp);
            }
            (Some(otlp), None) => config.otlp_endpoint = Some(otlp),
            (None, Some(jaeger)) => {
                notes.push(format!(
                    "jaeger_endpoint is given: spans go by OTLP to {jaeger}, where Jaeger takes them since 1.35; \
                     set otlp_endpoint to send them elsewhere"
                ));
                config.otlp_endpoint = Some(jaeger);
            }
            (None, None) => {}
        }
        config
    }
}
