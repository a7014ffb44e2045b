//! The visible list of the keys of `[monitoring]`: read how, put where.

use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::{
    Config, ConfigError,
    reading::{
        document::{self, Document, quoted},
        endpoint,
        problem::{Fault, nearest},
        settings::Setting,
        values::{self, PATH_CURE, Value},
    },
};
use crate::config_setting as setting;

/// The one section.
const SECTION: &str = "monitoring";

/// Most days of retention: a century, which is a slip of the keyboard but a harmless one.
const RETENTION_DAYS: u32 = 36_500;

/// A configuration that is being read.
#[derive(Default)]
struct Draft {
    config: Config,
    otlp: Option<String>,
    /// Translated.
    jaeger: Option<String>,
}

/// The keys of the section.
const SETTINGS: &[Setting<Draft>] = &[
    setting!("metrics_port", config.metrics_port, values::port),
    setting!("bind_address", config.bind_address, values::address),
    setting!("metrics_path", config.metrics_path, path),
    setting!(
        "collection_interval",
        config.collection_interval,
        values::interval
    ),
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
        |value| values::whole(value, 1..=RETENTION_DAYS, 30)
    ),
];

/// Reads the section of a document; `path` is only for the messages.
pub(super) fn read(path: Option<&Path>, text: &str) -> Result<Config, ConfigError> {
    let mut draft = Draft::default();
    let found = document::read(path, text, |document, table| {
        read_section(document, table, &mut draft);
    });
    if !found.problems.is_empty() {
        return Err(ConfigError(found.problems));
    }
    let mut config = draft.config;
    if let Some(endpoint) = draft.otlp.or(draft.jaeger) {
        config.otlp_endpoint = endpoint;
    }
    Ok(config)
}

fn read_section(document: &mut Document<'_>, table: &DeTable<'_>, draft: &mut Draft) {
    let is_there = table.contains_key(SECTION);
    for (key, value) in table {
        let name = key.get_ref().as_ref();
        if name == SECTION {
            document.read_settings(value, SECTION, SETTINGS, draft);
        } else if SETTINGS.iter().any(|setting| setting.key == name) {
            let cure = "move it below a line [monitoring]";
            document.report(value, name, Fault::new("outside [monitoring]", cure));
        } else if !is_there
            && let DeValue::Table(_) = value.get_ref()
            && nearest(name, &[SECTION]).is_some()
        {
            // Beside the right one, it is the application's own.
            let fault = Fault::unknown("section", name, &[SECTION]);
            document.report(value, &quoted(name), fault);
        }
    }
}

fn path(value: Value<'_>) -> Result<String, Fault> {
    values::endpoint_path(value.text("a path", PATH_CURE)?)
}
