//! What an application needs, built and started from its configuration. The monitor of GPUs is its own
//! to open: it can fail in ways of its own.

use super::Config;
use crate::{
    MetricsCollector, Profiler,
    prometheus::{ExporterError, ExporterHandle, PrometheusExporter},
    trace::{TraceError, Tracer},
};

/// What [`Config::start`] has built.
#[derive(Debug)]
#[non_exhaustive]
pub struct Monitoring {
    /// The process's own collector, whose metrics are served.
    pub collector: MetricsCollector,
    /// The profiler.
    pub profiler: Profiler,
    /// The tracer.
    pub tracer: Tracer,
    /// The exporter. Dropping it does not stop it.
    pub exporter: ExporterHandle,
}

/// Why [`Config::start`] built nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The metrics cannot be served.
    #[error(transparent)]
    Exporter(#[from] ExporterError),
    /// Spans cannot be sent.
    #[error(transparent)]
    Tracer(#[from] TraceError),
}

impl Config {
    /// Builds a profiler and a tracer as configured, and serves the metrics of the process's own
    /// collector on the runtime that this is called on. GPUs are not read: an application that
    /// wants that opens the monitor of `Config::gpu_monitor`, and keeps it.
    ///
    /// # Errors
    ///
    /// When it is impossible to listen at the address, or to send spans to the endpoint. Then
    /// nothing is served.
    ///
    /// # Example
    ///
    /// ```
    /// use monitoring::{ProfileScope, config::Config};
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// let mut config = Config::from_toml("[monitoring]\ntracing_enabled = false")?;
    /// config.metrics_port = 0; // Any free one.
    /// let monitoring = config.start("stratoswarm").await?;
    /// println!("metrics at http://{}/metrics", monitoring.exporter.local_addr());
    /// {
    ///     let _scope = ProfileScope::new(&monitoring.profiler, "request");
    ///     let _span = monitoring.tracer.start_span("process_request");
    /// }
    /// monitoring.exporter.shutdown().await;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub async fn start(&self, service: impl Into<String>) -> Result<Monitoring, StartError> {
        // First what fails most often: a tracer that is built has threads, which go on for a while.
        let exporter = PrometheusExporter::new(self.exporter()).start().await?;
        match self.tracer(service).build() {
            Ok(tracer) => Ok(Monitoring {
                collector: MetricsCollector::new(),
                profiler: self.profiler(),
                tracer,
                exporter,
            }),
            Err(error) => {
                exporter.shutdown().await;
                Err(error.into())
            }
        }
    }
}
