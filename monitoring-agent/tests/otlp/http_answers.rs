//! What an HTTP collector may answer, and what becomes of spans then.

use std::time::{Duration, Instant};

use monitoring::otlp::{Compression, Protocol};
use monitoring_agent::spans::DropReason;

use crate::{
    exporter::{Exporter, LONG, target},
    stub::{Answer, Asked, Stub},
};

const HTTP: Protocol = Protocol::HttpProtobuf;

/// Answers these, one after the other, and yes from then on.
fn stub(answers: Vec<Answer>) -> Stub {
    let mut answers = answers.into_iter();
    Stub::start(HTTP, move |_| {
        answers.next().unwrap_or_else(|| Answer::yes(HTTP))
    })
}

/// What becomes of ten spans: exported, rejected, requests.
fn check(answers: Vec<Answer>, want: (u64, u64, usize)) {
    let said = format!("{answers:?}");
    let stub = stub(answers);
    let exporter = Exporter::new(target(HTTP, &stub.url()), LONG);
    exporter.push(0..10);
    exporter.settle(10);
    let rejected = exporter.dropped(DropReason::Rejected);
    assert_eq!(
        (exporter.exported(), rejected, stub.asked().len()),
        want,
        "{said}"
    );
    // The next are sent, whatever became of those.
    exporter.push(10..20);
    exporter.settle(20);
    assert_eq!(exporter.exported(), want.0 + 10, "{said}");
    exporter.stop();
}

#[test]
fn what_may_pass_is_sent_again() {
    let statuses = [503, 429, 502, 504].map(Answer::status);
    check(statuses.to_vec(), (10, 0, 5));
}

#[test]
fn what_does_not_pass_is_sent_once() {
    for status in [301, 400, 401, 403, 404, 415, 500, 501] {
        check(vec![Answer::status(status)], (0, 10, 1));
    }
    check([503, 400].map(Answer::status).to_vec(), (0, 10, 2));
}

#[test]
fn a_partial_success_is_counted_in_parts() {
    check(vec![Answer::partly(HTTP, 3, "too old")], (7, 3, 1));
    check(vec![Answer::partly(HTTP, 10, "")], (0, 10, 1));
    // More than there were cannot be.
    check(vec![Answer::partly(HTTP, 1000, "")], (0, 10, 1));
    check(vec![Answer::partly(HTTP, -5, "")], (10, 0, 1));
}

#[test]
fn a_success_that_says_nonsense_is_a_success() {
    for body in [
        b"{}".to_vec(),
        b"<html>".to_vec(),
        vec![0xff; 100],
        vec![b' '; 1 << 20],
    ] {
        check(vec![Answer::message(HTTP, body)], (10, 0, 1));
    }
}

#[test]
fn requests_that_are_too_large_are_halved() {
    let stub = Stub::start(HTTP, |asked| {
        if asked.spans().len() > 3 {
            Answer::status(413)
        } else {
            Answer::yes(HTTP)
        }
    });
    let exporter = Exporter::new(target(HTTP, &stub.url()), LONG);
    exporter.push(0..10);
    exporter.settle(10);
    assert_eq!(exporter.exported(), 10);
    let taken: Vec<_> = stub
        .asked()
        .iter()
        .map(Asked::spans)
        .filter(|spans| spans.len() <= 3)
        .flatten()
        .collect();
    let names: Vec<_> = taken.iter().map(|span| span.name.clone()).collect();
    // All of a batch, each once; which scope comes first is the scopes' affair.
    let mut want: Vec<_> = (0..10).map(|number| format!("read {number}")).collect();
    want.sort();
    let mut sorted = names.clone();
    sorted.sort();
    assert_eq!(sorted, want);
    exporter.stop();
}

#[test]
fn a_collector_is_asked_no_sooner_than_it_wants() {
    let stub = stub(vec![Answer::status(429).with("retry-after", "2")]);
    let exporter = Exporter::new(target(HTTP, &stub.url()), LONG);
    let begun = Instant::now();
    exporter.push(0..10);
    exporter.settle(10);
    assert!(
        begun.elapsed() >= Duration::from_secs(2),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!((exporter.exported(), stub.asked().len()), (10, 2));
    exporter.stop();
}

#[test]
fn a_request_says_what_it_is_to_say() {
    let stub = stub(Vec::new());
    let mut target = target(HTTP, &format!("{}/tenants/a", stub.url()));
    target.headers.set("X-Tenant", "50%25 of=it").unwrap();
    target.headers.set("Content-Type", "text/plain").unwrap();
    target.compression = Compression::Gzip;
    let exporter = Exporter::new(target, LONG);
    exporter.push(0..500);
    exporter.settle(500);
    exporter.stop();
    let asked = stub.asked();
    for request in &asked {
        assert_eq!(request.path, "/tenants/a/v1/traces");
        let header = |name: &str| request.headers[name].to_str().unwrap();
        assert_eq!(header("x-tenant"), "50%25 of=it");
        assert_eq!(header("content-type"), "application/x-protobuf");
        assert_eq!(header("content-encoding"), "gzip");
        assert!(header("user-agent").starts_with("stratoswarm-monitoring/"));
        assert!(request.wire_bytes < request.message.len());
    }
    let spans: usize = asked.iter().map(|request| request.spans().len()).sum();
    assert_eq!(spans, 500);
}

#[test]
fn a_large_batch_is_several_requests_of_a_bounded_size() {
    let stub = stub(Vec::new());
    let mut exporter = Exporter::idle(monitoring_agent::spans::QueueLimits {
        spans: 1 << 20,
        bytes: 1 << 30,
    });
    exporter.push(0..20_000);
    exporter.apply(target(HTTP, &stub.url()), LONG);
    exporter.settle(20_000);
    assert_eq!(exporter.exported(), 20_000);
    let asked = stub.asked();
    for request in &asked {
        assert!(
            request.message.len() <= 2 << 20,
            "{}",
            request.message.len()
        );
    }
    assert!(asked.len() >= 5, "{}", asked.len());
    exporter.stop();
}
