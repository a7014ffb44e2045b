//! Where a tracer's spans go, and what they say of their service: by what the program sets, and by
//! what OpenTelemetry's environment variables say. Knows nothing of how spans are recorded.

mod environment;
#[cfg(feature = "otlp")]
mod otlp;
mod resource;

#[cfg(feature = "otlp")]
use std::path::PathBuf;
use std::{fmt, time::Duration};

pub(super) use environment::Environment;
#[cfg(feature = "otlp")]
use otlp::Chosen;
pub(super) use resource::resource;

use super::{TraceError, TracerBuilder, sink::SpanSink, worker};
#[cfg(feature = "otlp")]
use crate::otlp::{Compression, Protocol};

/// What a program has said of where spans go.
pub(super) struct Export {
    sink: Option<Box<dyn SpanSink>>,
    #[cfg(feature = "otlp")]
    otlp: Chosen,
    pub(super) queue: usize,
    pub(super) interval: Duration,
}

impl Default for Export {
    fn default() -> Self {
        Self {
            sink: None,
            #[cfg(feature = "otlp")]
            otlp: Chosen::default(),
            queue: worker::QUEUE,
            interval: worker::INTERVAL,
        }
    }
}

impl fmt::Debug for Export {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Export")
            .field("has_sink", &self.sink.is_some())
            .field("queue", &self.queue)
            .field("interval", &self.interval)
            .finish_non_exhaustive()
    }
}

impl Export {
    /// Where spans go, if anywhere: a sink of the program's own, else a collector.
    ///
    /// # Errors
    ///
    /// When the collector that is named cannot be one.
    #[cfg_attr(
        not(feature = "otlp"),
        expect(clippy::unnecessary_wraps, reason = "collectors are a feature")
    )]
    pub(super) fn sink(
        self,
        environment: &Environment,
    ) -> Result<Option<Box<dyn SpanSink>>, TraceError> {
        if environment.is_disabled() {
            return Ok(None);
        }
        if self.sink.is_some() {
            return Ok(self.sink);
        }
        #[cfg(feature = "otlp")]
        if let Some(target) = otlp::target(&self.otlp, environment)? {
            return Ok(Some(Box::new(super::otlp::OtlpSink::new(target))));
        }
        Ok(None)
    }
}

impl TracerBuilder {
    /// Where finished spans go, in place of a collector.
    ///
    /// Without a sink and without a collector nothing is recorded: spans still have contexts, so
    /// that those of other processes know their parents.
    pub fn sink(mut self, sink: impl SpanSink + 'static) -> Self {
        self.export.sink = Some(Box::new(sink));
        self
    }

    /// How many finished spans may wait until they are sent; 8192 if it is not set, and 1 at least.
    ///
    /// When as many wait, further ones stay in the buffers of their threads, and are dropped and
    /// counted when those are full as well.
    pub fn queue(mut self, spans: usize) -> Self {
        self.export.queue = spans.max(1);
        self
    }

    /// How long a finished span waits at most before it is sent to a sink that takes it; 1 second if
    /// it is not set.
    pub fn interval(mut self, interval: Duration) -> Self {
        self.export.interval = interval;
        self
    }
}

#[cfg(feature = "otlp")]
impl TracerBuilder {
    /// The collector that spans are sent to by OTLP, as a base URL: `http://localhost:4318`, or one
    /// of `https`, which is spoken by rustls.
    ///
    /// It wins over the environment variables `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` and
    /// `OTEL_EXPORTER_OTLP_ENDPOINT`. Proxies are not asked.
    pub fn endpoint(mut self, url: impl Into<String>) -> Self {
        self.export.otlp.endpoint = Some(url.into());
        self
    }

    /// The Jaeger that spans are sent to, by the URL that its own collector has or had, such as
    /// `http://localhost:14268/api/traces`: it speaks OTLP as well. [`Self::endpoint`] wins over it.
    pub fn jaeger_endpoint(mut self, url: impl Into<String>) -> Self {
        self.export.otlp.jaeger = Some(url.into());
        self
    }

    /// How the collector is spoken to. If it is not set, the environment variables
    /// `OTEL_EXPORTER_OTLP_TRACES_PROTOCOL` and `OTEL_EXPORTER_OTLP_PROTOCOL` say it; or it is gRPC
    /// where the collector's port is 4317, and else HTTP.
    pub fn protocol(mut self, protocol: Protocol) -> Self {
        self.export.otlp.protocol = Some(protocol);
        self
    }

    /// A header for each request to the collector, such as one that says who asks. Those of the
    /// environment variable `OTEL_EXPORTER_OTLP_TRACES_HEADERS`, or else of
    /// `OTEL_EXPORTER_OTLP_HEADERS`, are sent as well, unless one of the same name is set here.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.export.otlp.headers.push((name.into(), value.into()));
        self
    }

    /// How long the collector may take for a batch. If it is not set, the environment variables
    /// `OTEL_EXPORTER_OTLP_TRACES_TIMEOUT` and `OTEL_EXPORTER_OTLP_TIMEOUT` say it, in milliseconds, or
    /// it is 10 seconds.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.export.otlp.timeout = Some(timeout);
        self
    }

    /// How requests are made smaller. If it is not set, the environment variables
    /// `OTEL_EXPORTER_OTLP_TRACES_COMPRESSION` and `OTEL_EXPORTER_OTLP_COMPRESSION` say it, or they
    /// are not.
    pub fn compression(mut self, compression: Compression) -> Self {
        self.export.otlp.compression = Some(compression);
        self
    }

    /// A file in PEM with the certificates of those who may vouch for a collector of `https`, in
    /// place of those that the system trusts. If it is not set, the environment variables
    /// `OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE` and `OTEL_EXPORTER_OTLP_CERTIFICATE` name one.
    ///
    /// It is read when a connection is wanted; while it is of no use, spans wait.
    pub fn ca_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.export.otlp.tls.ca = Some(file.into());
        self
    }

    /// Files in PEM with this program's certificate and its key, for a collector of `https` that
    /// wants to know who sends. If they are not set, the environment variables
    /// `OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE` and `OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY`
    /// name them, or those without `TRACES_`.
    ///
    /// They are read when a connection is wanted; while they are of no use, spans wait.
    pub fn client_certificate(
        mut self,
        certificate: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> Self {
        self.export.otlp.tls.certificate = Some(certificate.into());
        self.export.otlp.tls.key = Some(key.into());
        self
    }
}
