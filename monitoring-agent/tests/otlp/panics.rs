//! What becomes of spans and metrics when their sending panics: where the log is written to, which is
//! this test's own, it panics for what a collector says.

use std::time::Duration;

use monitoring::otlp::Protocol;
use monitoring_agent::spans::DropReason;

use crate::{
    exporter::{Exporter, LONG, target},
    log_lines,
    poll::poll_until,
    stub::{Answer, Asked, Stub},
};

const HTTP: Protocol = Protocol::HttpProtobuf;

/// Answers so often with what panics, and yes from then on.
fn stub(panics: usize) -> Stub {
    let mut turn = 0;
    Stub::start(HTTP, move |_| {
        turn += 1;
        if turn <= panics {
            Answer::partly(HTTP, 1, log_lines::PANIC)
        } else {
            Answer::yes(HTTP)
        }
    })
}

#[test]
fn spans_are_counted_and_the_next_are_sent() {
    log_lines::listen();
    let stub = stub(3);
    let exporter = Exporter::new(target(HTTP, &stub.url()), LONG);
    let mut pushed = 0;
    // Each batch is in one request; some spans wait while it panics.
    for batch in 1..=5 {
        exporter.push(pushed..pushed + 100);
        pushed += 100;
        exporter.settle(pushed);
        let lost = batch.min(3) * 100;
        assert_eq!(exporter.dropped(DropReason::Abandoned), lost);
        assert_eq!(exporter.exported(), pushed - lost);
    }
    let said = poll_until("it is said", || {
        let said = log_lines::lines("what sends spans has panicked");
        (said.len() >= 3).then_some(said)
    });
    assert!(
        said[0].contains("ERROR") && said[0].contains("as the test wants it"),
        "{said:?}"
    );
    let spans = exporter.stop();
    assert!(spans.queue.is_empty());
}

#[test]
fn what_waits_during_a_pause_is_sent_after_it() {
    log_lines::listen();
    let stub = stub(1);
    let exporter = Exporter::new(target(HTTP, &stub.url()), LONG);
    exporter.push(0..5000);
    exporter.settle(5000);
    let lost = exporter.dropped(DropReason::Abandoned);
    assert_eq!(stub.asked()[0].spans().len() as u64, lost);
    assert_eq!(exporter.exported() + lost, 5000);
    assert!(exporter.exported() > 0);
    exporter.stop();
}

#[test]
fn the_end_is_not_held_up() {
    log_lines::listen();
    let stub = stub(usize::MAX);
    let exporter = Exporter::new(target(HTTP, &stub.url()), LONG);
    exporter.push(0..50_000);
    let spans = exporter.stop();
    let lost = spans.outcomes.total_dropped(DropReason::Abandoned);
    assert!(lost > 0);
    assert_eq!(
        lost + spans.outcomes.total_dropped(DropReason::Shutdown),
        50_000
    );
}

#[test]
fn metrics_are_pushed_again() {
    log_lines::listen();
    let stub = stub(1);
    let (mut otlp, _publish) = crate::metrics::otlp(crate::metrics::snapshot(1, 42.0));
    let interval = Duration::from_millis(100);
    otlp.apply(crate::metrics::settings(HTTP, &stub.url(), interval));
    let stats = otlp.stats();
    let counted = poll_until("it is pushed", || {
        let families = stats.families();
        let values = families[0].get_metric().iter();
        let values: Vec<_> = values
            .map(|metric| metric.get_counter().get_value())
            .collect();
        values
            .first()
            .is_some_and(|taken| *taken > 0.5)
            .then_some(values)
    });
    assert_eq!(counted.len(), 2);
    assert!((counted[0] - 1.0).abs() < 0.1, "{counted:?}");
    assert!((counted[1] - 1.0).abs() < 0.1, "{counted:?}");
    let asked: Vec<Asked> = stub.asked();
    assert_eq!(asked.len(), 2);
    assert_eq!(asked[0].message.len(), asked[1].message.len());
}
