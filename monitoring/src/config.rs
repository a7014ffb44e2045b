//! The specification's `[monitoring]` table: TOML in, a validated [`Config`] out.
//!
//! Owns the keys, their defaults and their limits. Each part of this crate is built from it by one
//! call, such as [`Config::profiler`], or all of them but the monitor of GPUs by `Config::start`. The
//! node's agent reads its own configuration with the same readers ([`reading`]).
//!
//! # Example
//!
//! ```
//! use std::time::Duration;
//!
//! use monitoring::config::Config;
//!
//! let config = Config::from_toml(
//!     r#"
//!     [monitoring]
//!     metrics_port = 9191
//!     collection_interval = "5s"
//!     profile_sample_rate = 0.5
//!     "#,
//! )?;
//! assert_eq!(config.metrics_port, 9191);
//! assert_eq!(config.collection_interval, Duration::from_secs(5));
//! assert_eq!(config.metrics_path, "/metrics");
//!
//! let profiler = config.profiler();
//!
//! let error = Config::from_toml("[monitoring]\nmetrics_prot = 9191").unwrap_err();
//! assert!(error.to_string().contains("did you mean metrics_port?"));
//! # Ok::<(), monitoring::config::ConfigError>(())
//! ```

mod parts;
/// How configurations are read. Shared with the node's agent, and no part of what this crate
/// promises to others.
#[doc(hidden)]
pub mod reading;
#[cfg(feature = "exporter")]
mod start;
mod table;

use std::{
    net::{IpAddr, Ipv4Addr},
    path::Path,
    time::Duration,
};

use self::reading::file;
pub use self::reading::problem::{ConfigError, Place, Problem};
#[cfg(feature = "exporter")]
pub use self::start::{Monitoring, StartError};

/// What can be set about monitoring in an application.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[allow(clippy::struct_excessive_bools)] // Each is a switch of the specification, not a state.
pub struct Config {
    /// `metrics_port`: where metrics are served. 1 to 65535; 9090 by default.
    pub metrics_port: u16,
    /// `bind_address`: the address of this machine at which they are served. All by default,
    /// `0.0.0.0`.
    pub bind_address: IpAddr,
    /// `metrics_path`: the path at which they are served; begins with `/`. `/metrics` by default.
    pub metrics_path: String,
    /// `collection_interval`: age from which on metrics are gathered anew for a scrape. 100 ms to
    /// an hour; 10 s by default.
    pub collection_interval: Duration,
    /// `profiling_enabled`: whether profile scopes are recorded. True by default.
    pub profiling_enabled: bool,
    /// `profile_sample_rate`: the share of outermost profile scopes that is recorded, 0 to 1; 0.1
    /// by default.
    pub profile_sample_rate: f64,
    /// `tracing_enabled`: whether spans are recorded. True by default.
    pub tracing_enabled: bool,
    /// `trace_sample_rate`: the share of traces that is kept, 0 to 1; 0.01 by default.
    pub trace_sample_rate: f64,
    /// Where spans are sent, by OTLP over HTTP: a base URL without a slash at its end, to which
    /// `/v1/traces` is to be appended. From `otlp_endpoint`; where that is not given, translated
    /// from `jaeger_endpoint`, since Jaeger takes OTLP from 1.35 on. `http://localhost:4318` by
    /// default, the translation of `http://localhost:14268/api/traces`.
    pub otlp_endpoint: String,
    /// `gpu_monitoring_enabled`: whether GPUs are read. True by default.
    pub gpu_monitoring_enabled: bool,
    /// `gpu_poll_interval`: time between two readings of the GPUs. 100 ms to an hour; 5 s by
    /// default.
    pub gpu_poll_interval: Duration,
    /// `metrics_retention_days`: days for which what is recorded is kept on disk. An application
    /// keeps nothing there; the node's agent does. 30 by default.
    pub metrics_retention_days: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            metrics_port: 9090,
            bind_address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            metrics_path: "/metrics".to_owned(),
            collection_interval: Duration::from_secs(10),
            profiling_enabled: true,
            profile_sample_rate: 0.1,
            tracing_enabled: true,
            trace_sample_rate: 0.01,
            otlp_endpoint: "http://localhost:4318".to_owned(),
            gpu_monitoring_enabled: true,
            gpu_poll_interval: Duration::from_secs(5),
            metrics_retention_days: 30,
        }
    }
}

impl Config {
    /// Reads the table `[monitoring]` of a TOML document. Keys that are not there have their
    /// defaults, and so have all if the table is not there. Other tables are the application's
    /// own, and are not looked at.
    ///
    /// # Errors
    ///
    /// When anything in the table is wrong, or there is a name outside of it that is only meant
    /// for it. The error holds all problems, each with its line, key, value, and what to write
    /// instead.
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        table::read(None, text)
    }

    /// Reads a file as [`from_toml`](Self::from_toml) reads a text.
    ///
    /// # Errors
    ///
    /// As there, and when the file cannot be read.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        let path = path.as_ref();
        match file::text_of(path, false) {
            Ok(text) => table::read(Some(path), &text.unwrap_or_default()),
            Err(fault) => {
                let value = format!("\"{}\"", path.display());
                let key = "configuration file".to_owned();
                let problem = fault.at(Place::CommandLine, key, Some(&value));
                Err(ConfigError(vec![problem]))
            }
        }
    }
}
