//! Spans arrive with all that they have: over both protocols, with TLS and without, compressed and
//! not.

use std::collections::BTreeMap;

use monitoring::otlp::{Compression, Protocol};

use crate::{
    certificates::Certificates,
    exporter::{Exporter, LONG, target},
    made,
    rotel::{
        Collector, Ports,
        shown::{Shown, Tags},
    },
};

/// So many that more than one request is needed.
const SPANS: u64 = 3000;

fn hex(number: impl Into<u128>, digits: usize) -> String {
    format!("{:0digits$x}", number.into())
}

fn tags<const N: usize>(pairs: [(&str, &str); N]) -> Tags {
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    pairs.into_iter().map(owned).collect()
}

/// Compares everything with what was made.
fn check(shown: &Shown, number: u64) {
    let made = made::span(number);
    let is = |name: &str, want: &str| assert_eq!(shown.get(name), want, "{name} of {number}");
    is("Trace ID", &hex(number + 1, 32));
    is("ID", &hex(number + 1, 16));
    is("Parent ID", &hex(number + 1_000_000, 16));
    is("Name", &made.name);
    is("Kind", "SPAN_KIND_CLIENT");
    is("Status code", "STATUS_CODE_ERROR");
    is("Status message", "EIO");
    assert_eq!(
        shown.times(),
        [made.start_time_unix_nano, made.end_time_unix_nano]
    );
    let service = if number.is_multiple_of(2) {
        "Str(even)"
    } else {
        "Str(odd)"
    };
    assert_eq!(
        shown.resource,
        tags([("service.name", service), ("process.pid", "Int(4711)")])
    );
    let want = tags([
        ("disk.io.direction", "Str(read)"),
        ("number", &format!("Int({number})")),
        ("share", "Double(0.25)"),
        ("direct", "Bool(true)"),
    ]);
    assert_eq!(shown.tags, want);
    let [event] = &shown.events[..] else {
        panic!("{shown:?}");
    };
    assert_eq!(event.is["Name"], "gpu.state");
    assert_eq!(
        event.is["Timestamp"],
        (made.start_time_unix_nano + 1).to_string()
    );
    assert_eq!(event.tags, tags([("utilisation", "Int(97)")]));
    let [link] = &shown.links[..] else {
        panic!("{shown:?}");
    };
    assert_eq!(
        (&*link.is["Trace ID"], &*link.is["ID"]),
        (&*hex(7_u8, 32), &*hex(9_u8, 16))
    );
    assert_eq!(link.tags, tags([("why", "Str(the other end)")]));
}

fn send(protocol: Protocol, compression: Compression, with_tls: bool) {
    let ports = Ports::free();
    let collector = Collector::start(ports);
    let mut target = target(protocol, &ports.url(protocol));
    target.compression = compression;
    let certificates = Certificates::new();
    if with_tls {
        let port = if protocol == Protocol::Grpc {
            ports.grpc
        } else {
            ports.http
        };
        let address = certificates.before(port);
        target.url = target
            .url
            .replace(&ports.url(protocol), &format!("https://{address}"));
        target.tls = certificates.trusted();
    }
    let exporter = Exporter::new(target, LONG);
    let resources = [made::resource("even"), made::resource("odd")];
    for number in 0..SPANS {
        for span in made::spans(&resources[usize::from(number % 2 == 1)], [number]) {
            assert!(exporter.spans.queue.push(span));
        }
    }
    exporter.settle(SPANS);
    assert_eq!(exporter.exported(), SPANS);
    let shown = collector.spans(usize::try_from(SPANS).unwrap());
    let number = |span: &Shown| -> u64 {
        let number = span.tags["number"].strip_prefix("Int(");
        number
            .and_then(|number| number.strip_suffix(')'))
            .unwrap()
            .parse()
            .unwrap()
    };
    let by_number: BTreeMap<u64, &Shown> = shown.iter().map(|span| (number(span), span)).collect();
    assert_eq!(by_number.len(), shown.len(), "a span has arrived twice");
    assert_eq!(by_number.len() as u64, SPANS);
    for (number, span) in by_number {
        check(span, number);
    }
    exporter.stop();
}

#[test]
fn spans_arrive_whole_over_http() {
    send(Protocol::HttpProtobuf, Compression::None, false);
}

#[test]
fn spans_arrive_whole_over_http_with_tls_and_gzip() {
    send(Protocol::HttpProtobuf, Compression::Gzip, true);
}

#[test]
fn spans_arrive_whole_over_grpc_with_gzip() {
    send(Protocol::Grpc, Compression::Gzip, false);
}

#[test]
fn spans_arrive_whole_over_grpc_with_tls() {
    send(Protocol::Grpc, Compression::None, true);
}
