//! Tracers that send to a collector.

use std::time::Duration;

use monitoring::trace::{Protocol, Tracer, TracerBuilder};

pub(crate) use crate::rotel::{Collector, Ports};

/// By then everything has happened that is going to.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// Both ways to send spans.
pub(crate) const PROTOCOLS: [Protocol; 2] = [Protocol::HttpProtobuf, Protocol::Grpc];

impl Ports {
    /// A tracer that records every trace and sends it there.
    pub(crate) fn tracer(self, protocol: Protocol) -> TracerBuilder {
        Tracer::builder("otlp-test")
            .sample_rate(1.0)
            .endpoint(self.url(protocol))
            .protocol(protocol)
    }
}
