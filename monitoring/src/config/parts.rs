//! The parts of this crate as they are configured, one by one.

use super::Config;
#[cfg(feature = "gpu")]
use crate::gpu::{GpuMonitor, GpuMonitorBuilder};
#[cfg(feature = "exporter")]
use crate::prometheus::ExporterConfig;
use crate::{
    Profiler,
    trace::{Tracer, TracerBuilder},
};

impl Config {
    /// A profiler that records `profile_sample_rate` of the outermost scopes; none where
    /// `profiling_enabled` is false.
    pub fn profiler(&self) -> Profiler {
        Profiler::with_sample_rate(share(self.profiling_enabled, self.profile_sample_rate))
    }

    /// A tracer of this service, yet to be built, that records `trace_sample_rate` of the traces and
    /// sends them to `otlp_endpoint`; none where `tracing_enabled` is false, and spans are contexts
    /// only.
    ///
    /// # Example
    ///
    /// ```
    /// use monitoring::config::Config;
    ///
    /// let config = Config::from_toml("[monitoring]\ntracing_enabled = false")?;
    /// let tracer = config.tracer("stratoswarm").resource("rack", "7").build()?;
    /// assert!(!tracer.start_span("process_request").is_recording());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn tracer(&self, service: impl Into<String>) -> TracerBuilder {
        let rate = share(self.tracing_enabled, self.trace_sample_rate);
        let tracer = Tracer::builder(service).sample_rate(rate);
        #[cfg(feature = "otlp")]
        if self.tracing_enabled {
            return tracer.endpoint(&self.otlp_endpoint);
        }
        tracer
    }

    /// An exporter's settings: `bind_address`, `metrics_port`, `metrics_path`, and
    /// `collection_interval` as its refresh interval.
    #[cfg(feature = "exporter")]
    pub fn exporter(&self) -> ExporterConfig {
        ExporterConfig::default()
            .address(self.bind_address)
            .port(self.metrics_port)
            .path(&self.metrics_path)
            .refresh_interval(self.collection_interval)
    }

    /// A monitor of the GPUs, yet to be opened, that polls every `gpu_poll_interval`; `None` where
    /// `gpu_monitoring_enabled` is false.
    #[cfg(feature = "gpu")]
    pub fn gpu_monitor(&self) -> Option<GpuMonitorBuilder> {
        let builder = GpuMonitor::builder().poll_interval(self.gpu_poll_interval);
        self.gpu_monitoring_enabled.then_some(builder)
    }
}

fn share(is_enabled: bool, share: f64) -> f64 {
    if is_enabled { share } else { 0.0 }
}
