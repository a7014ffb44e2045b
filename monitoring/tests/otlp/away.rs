//! A collector that is away for a while: what ends in the meantime is kept within bounds, what has
//! no room is counted, and the rest arrives once it is back.

use std::{collections::BTreeSet, time::Duration};

use monitoring::Tracer;

use crate::{
    collector::{Collector, DEADLINE, PROTOCOLS, Ports},
    poll::poll_until,
};

/// Long enough for a try that fails.
const WHILE: Duration = Duration::from_millis(300);

/// Ends so many spans, whose tags count on from this number.
fn end(tracer: &Tracer, first: u64, count: u64) {
    for number in first..first + count {
        tracer.start_span("work").with_tag("number", number).end();
    }
}

/// The numbers of spans, each of which has arrived once.
fn numbers(collector: Collector, count: u64) -> BTreeSet<u64> {
    let spans = collector.spans(usize::try_from(count).unwrap());
    let numbers: BTreeSet<u64> = spans
        .iter()
        .map(|span| {
            let number = span.tags["number"].strip_prefix("Int(");
            number
                .and_then(|number| number.strip_suffix(')'))
                .unwrap()
                .parse()
                .unwrap()
        })
        .collect();
    assert_eq!(numbers.len(), spans.len(), "a span has arrived twice");
    numbers
}

#[test]
fn spans_wait_for_a_collector_that_comes_later() {
    for protocol in PROTOCOLS {
        let ports = Ports::free();
        let tracer = ports.tracer(protocol).build().unwrap();
        end(&tracer, 0, 1000);
        assert!(!tracer.flush(WHILE));
        let stats = tracer.stats();
        assert_eq!((stats.recorded, stats.exported), (1000, 0), "{stats:?}");

        let collector = Collector::start(ports);
        assert!(tracer.flush(DEADLINE));
        assert_eq!(tracer.stats().exported, 1000);
        assert_eq!(numbers(collector, 1000), (0..1000).collect());
    }
}

#[test]
fn what_has_no_room_is_counted_and_the_rest_arrives() {
    const SPANS: u64 = 20_000;
    for protocol in PROTOCOLS {
        let ports = Ports::free();
        let tracer = ports.tracer(protocol).queue(100).build().unwrap();
        end(&tracer, 0, SPANS);
        assert!(!tracer.flush(WHILE));
        let stats = tracer.stats();
        assert!(stats.dropped_buffer_full > 0, "{stats:?}");
        assert_eq!(
            stats.recorded + stats.dropped_buffer_full,
            SPANS,
            "{stats:?}"
        );
        assert_eq!(stats.exported, 0, "{stats:?}");

        let collector = Collector::start(ports);
        assert!(tracer.flush(DEADLINE));
        let stats = tracer.stats();
        assert_eq!(stats.exported, stats.recorded, "{stats:?}");
        assert_eq!(
            stats.dropped_refused + stats.dropped_shut_down,
            0,
            "{stats:?}"
        );
        let arrived = numbers(collector, stats.exported);
        assert_eq!(arrived.len() as u64, stats.exported);
        // The first ones had room.
        assert!(arrived.is_superset(&(0..100).collect()));
    }
}

#[test]
fn a_collector_that_is_replaced_gets_what_the_first_did_not() {
    for protocol in PROTOCOLS {
        let ports = Ports::free();
        let tracer = ports.tracer(protocol).build().unwrap();
        let first = Collector::start(ports);
        end(&tracer, 0, 100);
        assert!(tracer.flush(DEADLINE));
        assert_eq!(numbers(first, 100), (0..100).collect());

        end(&tracer, 100, 100);
        assert!(!tracer.flush(WHILE));
        let second = Collector::start(ports);
        assert!(tracer.flush(DEADLINE));
        let stats = tracer.stats();
        assert_eq!(
            (stats.exported, stats.dropped_refused),
            (200, 0),
            "{stats:?}"
        );
        assert_eq!(numbers(second, 100), (100..200).collect());
    }
}

#[test]
fn nobody_waits_long_for_a_collector_that_stays_away() {
    for protocol in PROTOCOLS {
        let tracer = Ports::free().tracer(protocol).build().unwrap();
        end(&tracer, 0, 10);
        let start = std::time::Instant::now();
        assert!(!tracer.shutdown(WHILE));
        assert!(start.elapsed() < DEADLINE);
        // The threads end by themselves, with what they had.
        poll_until("the threads end", || {
            (tracer.stats().dropped_shut_down >= 10).then_some(())
        });
        let stats = tracer.stats();
        assert_eq!(
            (stats.recorded, stats.dropped_shut_down),
            (10, 10),
            "{stats:?}"
        );
        end(&tracer, 10, 5);
        assert_eq!(tracer.stats().without_sink, 5);
    }
}
