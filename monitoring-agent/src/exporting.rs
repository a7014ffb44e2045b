//! What is sent by OTLP, as the configuration wants it. Knows nothing of how it is sent.

use std::time::Duration;

use monitoring::otlp::Signal;

use crate::{
    config::Config,
    export::otlp::{Otlp, OtlpSettings, PushSettings, SpanSettings},
    snapshot::Latest,
    spans::{QueueLimits, Spans},
};

/// Bytes of memory that a span takes at least: spans need no bound of their own.
const SPAN_BYTES: u64 = 256;

/// How long spans wait for others that are sent with them: a request a second at most, as long as
/// there are not very many.
const PATIENCE: Duration = Duration::from_secs(1);

/// What the exporter is to do by this configuration.
pub fn settings(config: &Config) -> OtlpSettings {
    let spans = config.otlp_target(Signal::Traces);
    let metrics = config.otlp_target(Signal::Metrics);
    OtlpSettings {
        spans: spans
            .filter(|_| config.is_tracing())
            .map(|target| SpanSettings {
                target,
                retry_time: config.otlp.retry_time,
                patience: PATIENCE,
            }),
        metrics: metrics
            .filter(|_| config.otlp.metrics_enabled)
            .map(|target| PushSettings {
                target,
                interval: config.otlp.metrics_interval,
                node: config.node.clone(),
                node_type: config.node_type.clone(),
            }),
    }
}

/// How much may wait by this configuration.
pub fn limits(config: &Config) -> QueueLimits {
    let bytes = config.otlp.max_waiting_bytes;
    let all = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    QueueLimits {
        spans: all(bytes / SPAN_BYTES),
        bytes: all(bytes),
    }
}

/// Spans, and who sends them. Nothing runs until the configuration names an endpoint.
#[derive(Debug)]
pub struct Exporting {
    spans: Spans,
    otlp: Otlp,
}

impl Exporting {
    /// As the configuration wants it.
    pub fn new(config: &Config, latest: Latest) -> Self {
        let spans = Spans::new(limits(config));
        let otlp = Otlp::new(spans.clone(), latest);
        let mut exporting = Self { spans, otlp };
        exporting.apply(config);
        exporting
    }

    /// Where the source puts its spans.
    pub fn spans(&self) -> &Spans {
        &self.spans
    }

    /// Goes over to another configuration.
    pub fn apply(&mut self, config: &Config) {
        self.spans.queue.set_limits(limits(config));
        self.otlp.apply(settings(config));
    }

    /// Sends what waits, within a bound. The sources have to have ended.
    pub async fn stop(self) {
        self.otlp.stop().await;
    }

    /// Who counts what became of pushed metrics.
    pub fn otlp(&self) -> &Otlp {
        &self.otlp
    }
}
