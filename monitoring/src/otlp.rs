//! OTLP's wire: encoded requests to a collector, by gRPC or by HTTP, and what its answer means.
//!
//! This crate's tracers and the node's agent have it in common. Knows no span and no metric, keeps
//! no queue and tries nothing twice: whoever sends decides what is done after a failure.

mod answer;
mod client;
mod codec;
mod cut;
pub mod environment;
mod target;
mod tls;

pub use answer::{Accepted, Failure};
pub use client::{Client, ClientError};
pub use target::{Headers, InvalidHeader, Target, TlsFiles};
pub use tls::TlsError;

pub use crate::{
    backoff::Backoff,
    trace::{Compression, Protocol},
};

/// The largest message that a server of gRPC takes, if nobody has told it otherwise.
pub const LARGEST_REQUEST: usize = 4 << 20;

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Spans.
    Traces,
    /// Metrics.
    Metrics,
}

impl Signal {
    /// What is appended to a base URL, for HTTP.
    pub fn path(self) -> &'static str {
        match self {
            Self::Traces => "/v1/traces",
            Self::Metrics => "/v1/metrics",
        }
    }

    /// The method of gRPC.
    pub(crate) fn method(self) -> &'static str {
        match self {
            Self::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            Self::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
        }
    }
}
