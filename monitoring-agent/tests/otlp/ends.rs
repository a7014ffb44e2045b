//! What becomes of spans that wait when the agent ends, or when tracing is switched off.

use std::{
    sync::mpsc,
    time::{Duration, Instant},
};

use monitoring::otlp::Protocol;
use monitoring_agent::{export::otlp::FAREWELL, spans::DropReason};

use crate::{
    exporter::{Exporter, LONG, target},
    poll::{PATIENCE, poll_until},
    ports,
    stub::{Answer, Stub},
};

const HTTP: Protocol = Protocol::HttpProtobuf;

/// On a busy machine the end of a thread takes a moment.
const MOMENT: Duration = Duration::from_secs(4);

#[test]
fn all_that_waits_is_sent() {
    for protocol in [HTTP, Protocol::Grpc] {
        let stub = Stub::start(protocol, move |_| Answer::yes(protocol));
        let exporter = Exporter::new(target(protocol, &stub.url()), LONG);
        exporter.push(0..5000);
        let spans = exporter.stop();
        assert_eq!(spans.outcomes.total_exported(), 5000);
        let arrived: usize = stub.asked().iter().map(|asked| asked.spans().len()).sum();
        assert_eq!(arrived, 5000);
        assert!(
            !spans.queue.push(
                crate::made::spans(&crate::made::resource("late"), [1])
                    .next()
                    .unwrap()
            )
        );
        assert_eq!(spans.outcomes.total_dropped(DropReason::Shutdown), 1);
    }
}

#[test]
fn nobody_waits_for_a_collector_that_is_away() {
    let exporter = Exporter::new(target(HTTP, &format!("http://{}", ports::kept())), LONG);
    exporter.push(0..5000);
    let begun = Instant::now();
    let spans = exporter.stop();
    assert!(begun.elapsed() < FAREWELL, "{:?}", begun.elapsed());
    assert_eq!(spans.outcomes.total_dropped(DropReason::Shutdown), 5000);
    assert!(spans.queue.is_empty());
}

#[test]
fn nobody_waits_long_for_a_collector_that_is_slow() {
    let (release, held) = mpsc::channel::<()>();
    let stub = Stub::start(HTTP, move |_| {
        let _ = held.recv_timeout(PATIENCE);
        Answer::yes(HTTP)
    });
    let exporter = Exporter::new(target(HTTP, &stub.url()), LONG);
    exporter.push(0..5000);
    let begun = Instant::now();
    let spans = exporter.stop();
    let took = begun.elapsed();
    assert!(took >= FAREWELL && took < FAREWELL + MOMENT, "{took:?}");
    assert_eq!(spans.outcomes.total_dropped(DropReason::Shutdown), 5000);
    drop(release);
}

#[test]
fn one_that_never_sent_ends_at_once() {
    let exporter = Exporter::idle(monitoring_agent::spans::QueueLimits {
        spans: 10,
        bytes: 1 << 20,
    });
    exporter.push(0..1);
    let begun = Instant::now();
    exporter.stop();
    assert!(begun.elapsed() < MOMENT);
}

#[test]
fn switched_off_it_sends_what_it_has_and_rests() {
    let stub = Stub::start(HTTP, |_| Answer::yes(HTTP));
    let mut exporter = Exporter::new(target(HTTP, &stub.url()), LONG);
    exporter.push(0..100);
    exporter.switch_off();
    exporter.settle(100);
    assert_eq!(exporter.exported(), 100);
    // And goes on when it is switched on again.
    exporter.push(100..150);
    exporter.apply(target(HTTP, &stub.url()), LONG);
    exporter.settle(150);
    assert_eq!(
        exporter.exported() + exporter.dropped(DropReason::Shutdown),
        150
    );
    exporter.stop();
}

#[test]
fn switched_off_without_a_collector_it_drops_what_it_has() {
    let mut exporter = Exporter::new(target(HTTP, &format!("http://{}", ports::kept())), LONG);
    exporter.push(0..100);
    exporter.switch_off();
    exporter.settle(100);
    assert_eq!(exporter.dropped(DropReason::Shutdown), 100);
    poll_until("the queue is empty", || {
        exporter.spans.queue.is_empty().then_some(())
    });
    exporter.stop();
}
