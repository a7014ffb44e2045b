//! Collectors that take only so many bytes at a time, or seem to.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use monitoring::otlp::Protocol;
use monitoring_agent::spans::DropReason;

use crate::{
    exporter::{Exporter, LONG, target},
    poll::poll_until,
    stub::{Answer, Asked, Stub},
};

/// What a collector takes.
const TAKEN: usize = 20_000;

/// That a request is too large, as this protocol says it.
fn too_large(protocol: Protocol) -> Answer {
    match protocol {
        Protocol::Grpc => Answer::code(8, "grpc: received message larger than max (2 vs. 1)"),
        _ => Answer::status(413),
    }
}

fn is_too_large(asked: &Asked) -> bool {
    asked.message.len() > TAKEN
}

#[test]
fn what_was_too_large_is_remembered() {
    for protocol in [Protocol::HttpProtobuf, Protocol::Grpc] {
        let stub = Stub::start(protocol, move |asked| {
            if is_too_large(asked) {
                too_large(protocol)
            } else {
                Answer::yes(protocol)
            }
        });
        let exporter = Exporter::new(target(protocol, &stub.url()), LONG);
        for first in (0..10_000).step_by(1000) {
            exporter.push(first..first + 1000);
            exporter.settle(first + 1000);
        }
        assert_eq!(exporter.exported(), 10_000);
        let asked = stub.asked();
        let refused = asked.iter().filter(|asked| is_too_large(asked)).count();
        let taken = asked.len() - refused;
        // It takes a few to find out, and then about one in 22 to find out whether that has changed.
        assert!(
            (1..=8 + taken / 20).contains(&refused),
            "{refused}, {taken}"
        );
        let arrived = asked.iter().filter(|asked| !is_too_large(asked));
        let mut ids: Vec<_> = arrived
            .flat_map(Asked::spans)
            .map(|span| span.span_id)
            .collect();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 10_000);
        exporter.stop();
    }
}

#[test]
fn a_span_that_alone_is_too_large_is_dropped() {
    for protocol in [Protocol::HttpProtobuf, Protocol::Grpc] {
        let stub = Stub::start(protocol, move |asked| {
            if asked.spans().iter().any(|span| span.name == "read 7") {
                too_large(protocol)
            } else {
                Answer::yes(protocol)
            }
        });
        let exporter = Exporter::new(target(protocol, &stub.url()), LONG);
        exporter.push(0..10);
        exporter.settle(10);
        let too_large = exporter.dropped(DropReason::TooLarge);
        assert_eq!((exporter.exported(), too_large), (9, 1));
        exporter.stop();
    }
}

#[test]
fn a_collector_to_which_all_is_too_large_is_asked_ever_more_rarely() {
    let protocol = Protocol::HttpProtobuf;
    let is_well = Arc::new(AtomicBool::new(false));
    let well = Arc::clone(&is_well);
    let stub = Stub::start(protocol, move |_| {
        if well.load(SeqCst) {
            Answer::yes(protocol)
        } else {
            too_large(protocol)
        }
    });
    let exporter = Exporter::new(target(protocol, &stub.url()), LONG);
    let begun = Instant::now();
    exporter.push(0..100);
    poll_until("it is asked often", || {
        (stub.asked().len() >= 16).then_some(())
    });
    // After the 12th and the three that follow it waits, at least half of 0.25, 0.5, 1 and 2 s.
    let waited = Duration::from_millis((250 + 500 + 1000 + 2000) / 2);
    assert!(begun.elapsed() >= waited, "{:?}", begun.elapsed());
    is_well.store(true, SeqCst);
    exporter.settle(100);
    let too_large = exporter.dropped(DropReason::TooLarge);
    assert!(too_large > 0);
    assert_eq!(exporter.exported() + too_large, 100);
    exporter.stop();
}
