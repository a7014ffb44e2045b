//! Spans into a pipeline of OpenTelemetry's SDK: an exporter or a processor of anybody's becomes a
//! sink. Knows nothing of how spans are recorded or queued.

pub(super) mod convert;

use std::time::Duration;

use opentelemetry_sdk::{
    error::OTelSdkError,
    trace::{SpanExporter, SpanProcessor},
};
use tokio::runtime::Runtime;

use super::{
    finished::FinishedSpan,
    sink::{Resource, SinkError, SpanSink},
};

/// How long the SDK's part may take to end.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(2);

/// Gives spans to an exporter of OpenTelemetry's SDK, such as one that asks a proxy, or one for a service
/// that speaks no OTLP.
///
/// It runs within a Tokio runtime of its own, and is not asked twice for the same batch: trying
/// again is the exporter's own business, by the SDK's rules. What it fails to export is counted as
/// refused.
///
/// # Example
///
/// ```
/// use monitoring::trace::{SdkExporter, Tracer};
/// use opentelemetry_sdk::{
///     error::OTelSdkResult,
///     trace::{SpanData, SpanExporter},
/// };
///
/// #[derive(Debug)]
/// struct Printer;
///
/// impl SpanExporter for Printer {
///     async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
///         for span in batch {
///             println!("{}", span.name);
///         }
///         Ok(())
///     }
/// }
///
/// let tracer = Tracer::builder("example")
///     .sample_rate(1.0)
///     .sink(SdkExporter::new(Printer))
///     .build()?;
/// tracer.start_span("work").end();
/// assert!(tracer.flush(std::time::Duration::from_secs(5)));
/// assert_eq!(tracer.stats().exported, 1);
/// # Ok::<(), monitoring::trace::TraceError>(())
/// ```
#[derive(Debug)]
pub struct SdkExporter<E> {
    exporter: E,
    /// Made by the thread that sends.
    runtime: Option<Runtime>,
}

impl<E: SpanExporter> SdkExporter<E> {
    /// A sink of this exporter.
    pub fn new(exporter: E) -> Self {
        Self {
            exporter,
            runtime: None,
        }
    }
}

impl<E: SpanExporter> SpanSink for SdkExporter<E> {
    fn start(&mut self, resource: &Resource) {
        self.exporter.set_resource(&convert::resource(resource));
    }

    fn export(&mut self, batch: &[FinishedSpan]) -> Result<(), SinkError> {
        let runtime = match &self.runtime {
            Some(runtime) => runtime,
            None => self.runtime.insert(runtime()?),
        };
        let exported = runtime.block_on(self.exporter.export(convert::spans(batch)));
        exported.map_err(refused)
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        self.exporter.force_flush().map_err(refused)
    }

    fn shutdown(&mut self) {
        // What it could not end is lost, and nobody is left to be told.
        let _ = self.exporter.shutdown_with_timeout(SHUTDOWN_LIMIT);
    }
}

/// Gives spans to a processor of OpenTelemetry's SDK, such as its `BatchSpanProcessor`, whose queue
/// and exporter then take over.
///
/// The processor is told of the end of spans only: its `on_start` wants a span of the SDK's own.
#[derive(Debug)]
pub struct SdkProcessor<P> {
    processor: P,
}

impl<P: SpanProcessor> SdkProcessor<P> {
    /// A sink of this processor.
    pub fn new(processor: P) -> Self {
        Self { processor }
    }
}

impl<P: SpanProcessor> SpanSink for SdkProcessor<P> {
    fn start(&mut self, resource: &Resource) {
        self.processor.set_resource(&convert::resource(resource));
    }

    fn export(&mut self, batch: &[FinishedSpan]) -> Result<(), SinkError> {
        for span in convert::spans(batch) {
            self.processor.on_end(span);
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        let flushed = self.processor.force_flush();
        flushed.map_err(refused)
    }

    fn shutdown(&mut self) {
        let _ = self.processor.shutdown_with_timeout(SHUTDOWN_LIMIT);
    }
}

/// A runtime that works only while it is asked to.
pub(super) fn runtime() -> Result<Runtime, SinkError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.map_err(|error| SinkError::Unavailable(error.into()))
}

fn refused(error: OTelSdkError) -> SinkError {
    SinkError::Refused(error.into())
}
