//! A collector that is away, for less and for more than the time for which spans are kept.

use std::time::Duration;

use monitoring::otlp::Protocol;
use monitoring_agent::spans::DropReason;

use crate::{
    exporter::{Exporter, LONG, target},
    poll::poll_until,
    ports,
    rotel::{Collector, Ports},
    stub::{Answer, Stub},
};

#[test]
fn spans_wait_for_a_collector_that_comes_later() {
    let ports = Ports::free();
    for protocol in [Protocol::HttpProtobuf, Protocol::Grpc] {
        let exporter = Exporter::new(target(protocol, &ports.url(protocol)), LONG);
        exporter.push(0..1000);
        // A batch was taken from the queue, and is tried.
        poll_until("a batch is tried", || {
            (exporter.spans.queue.len() < 1000).then_some(())
        });
        let collector = Collector::start(ports);
        exporter.settle(1000);
        assert_eq!(exporter.exported(), 1000);
        assert_eq!(collector.spans(1000).len(), 1000);
        exporter.stop();
    }
}

#[test]
fn one_that_is_away_for_longer_loses_only_what_was_then() {
    for protocol in [Protocol::HttpProtobuf, Protocol::Grpc] {
        let address = ports::kept();
        let url = format!("http://{address}");
        let mut exporter = Exporter::new(target(protocol, &url), Duration::from_millis(300));
        exporter.push(0..100);
        exporter.settle(100);
        assert_eq!(exporter.dropped(DropReason::Unreachable), 100);
        // It has as much time as it needs to be found.
        exporter.apply(target(protocol, &url), LONG);
        exporter.push(100..150);
        let stub = Stub::at(address, protocol, move |_| Answer::yes(protocol));
        exporter.settle(150);
        assert_eq!(exporter.exported(), 50);
        let arrived: Vec<_> = stub
            .asked()
            .iter()
            .flat_map(crate::stub::Asked::spans)
            .collect();
        assert_eq!(arrived.len(), 50);
        exporter.stop();
    }
}

#[test]
fn what_waits_goes_to_the_new_endpoint_after_a_reload() {
    let protocol = Protocol::HttpProtobuf;
    let mut exporter = Exporter::new(target(protocol, &format!("http://{}", ports::kept())), LONG);
    exporter.push(0..100);
    let stub = Stub::start(protocol, move |_| Answer::yes(protocol));
    exporter.apply(target(protocol, &stub.url()), LONG);
    exporter.settle(100);
    assert_eq!(exporter.exported(), 100);
    // And from one that takes them to another.
    let other = Stub::start(Protocol::Grpc, |_| Answer::yes(Protocol::Grpc));
    exporter.apply(target(Protocol::Grpc, &other.url()), LONG);
    exporter.push(100..200);
    exporter.settle(200);
    assert_eq!(exporter.exported(), 200);
    assert_eq!(other.asked()[0].spans().len(), 100);
    exporter.stop();
}
