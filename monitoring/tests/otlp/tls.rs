//! Spans over connections that are encrypted, to a collector that wants to know who sends.

use std::time::Duration;

use monitoring::{
    Tracer,
    trace::{Compression, Protocol, TracerBuilder},
};

use crate::{
    certificates::Certificates,
    collector::{Collector, DEADLINE, PROTOCOLS, Ports},
};

/// Long enough for a try that fails.
const WHILE: Duration = Duration::from_millis(300);

fn builder(ports: Ports, protocol: Protocol, certificates: &Certificates) -> TracerBuilder {
    let port = match protocol {
        Protocol::Grpc => ports.grpc,
        _ => ports.http,
    };
    let address = certificates.before(port);
    Tracer::builder("tls-test")
        .sample_rate(1.0)
        .endpoint(format!("https://{address}"))
        .protocol(protocol)
        .compression(Compression::Gzip)
}

#[test]
fn spans_arrive_by_tls() {
    let ports = Ports::free();
    for protocol in PROTOCOLS {
        let collector = Collector::start(ports);
        let certificates = Certificates::new();
        let files = certificates.trusted();
        let tracer = builder(ports, protocol, &certificates)
            .ca_file(files.ca.unwrap())
            .client_certificate(files.certificate.unwrap(), files.key.unwrap())
            .build()
            .unwrap();
        for number in 0..100 {
            tracer.start_span("work").with_tag("number", number).end();
        }
        assert!(tracer.flush(DEADLINE));
        assert_eq!(tracer.stats().exported, 100);
        assert_eq!(collector.spans(100).len(), 100);
    }
}

#[test]
fn spans_wait_while_the_other_side_is_not_trusted() {
    let ports = Ports::free();
    let certificates = Certificates::new();
    let tracer = builder(ports, Protocol::HttpProtobuf, &certificates)
        .build()
        .unwrap();
    tracer.start_span("work").end();
    assert!(!tracer.flush(WHILE));
    let stats = tracer.stats();
    assert_eq!(
        (stats.recorded, stats.exported, stats.dropped_refused),
        (1, 0, 0)
    );
    tracer.shutdown(Duration::ZERO);
}
