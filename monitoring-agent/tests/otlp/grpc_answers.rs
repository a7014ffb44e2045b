//! What a collector that speaks gRPC may answer, and what becomes of spans then.

use std::time::{Duration, Instant};

use monitoring::otlp::Protocol;
use monitoring_agent::spans::DropReason;

use crate::{
    exporter::{Exporter, LONG, target},
    stub::{Answer, Stub},
};

const GRPC: Protocol = Protocol::Grpc;

/// `RetryInfo` of two seconds in a status of gRPC, as `grpc-status-details-bin` has it: the message
/// `google.rpc.Status` with the code 8 and one detail, in base64.
const RETRY_IN_TWO_SECONDS: &str =
    "CAgaMAoodHlwZS5nb29nbGVhcGlzLmNvbS9nb29nbGUucnBjLlJldHJ5SW5mbxIECgIIAg";

fn stub(answers: Vec<Answer>) -> Stub {
    let mut answers = answers.into_iter();
    Stub::start(GRPC, move |_| {
        answers.next().unwrap_or_else(|| Answer::yes(GRPC))
    })
}

/// What becomes of ten spans: exported, rejected, requests.
fn check(answers: Vec<Answer>, want: (u64, u64, usize)) {
    let said = format!("{answers:?}");
    let stub = stub(answers);
    let exporter = Exporter::new(target(GRPC, &stub.url()), LONG);
    exporter.push(0..10);
    exporter.settle(10);
    let rejected = exporter.dropped(DropReason::Rejected);
    assert_eq!(
        (exporter.exported(), rejected, stub.asked().len()),
        want,
        "{said}"
    );
    exporter.push(10..20);
    exporter.settle(20);
    assert_eq!(exporter.exported(), want.0 + 10, "{said}");
    let path = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
    assert!(stub.asked().iter().all(|asked| asked.path == path));
    exporter.stop();
}

#[test]
fn what_may_pass_is_sent_again() {
    // Cancelled, deadline exceeded, aborted, out of range, unavailable, data loss.
    for code in [1, 4, 10, 11, 14, 15] {
        check(vec![Answer::code(code, "busy")], (10, 0, 2));
    }
    // A proxy says it by HTTP.
    check(vec![Answer::status(503)], (10, 0, 2));
}

#[test]
fn what_does_not_pass_is_sent_once() {
    for code in [2, 3, 5, 6, 7, 8, 9, 12, 13, 16] {
        check(vec![Answer::code(code, "never")], (0, 10, 1));
    }
    check(vec![Answer::status(404)], (0, 10, 1));
}

#[test]
fn a_quota_with_a_time_is_waited_for() {
    let answer = Answer::code(8, "quota").with("grpc-status-details-bin", RETRY_IN_TWO_SECONDS);
    let stub = stub(vec![answer]);
    let exporter = Exporter::new(target(GRPC, &stub.url()), LONG);
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
fn a_partial_success_is_counted_in_parts() {
    check(vec![Answer::partly(GRPC, 3, "too old")], (7, 3, 1));
    check(vec![Answer::message(GRPC, vec![0xff; 100])], (10, 0, 1));
}

#[test]
fn requests_that_are_too_large_are_halved() {
    let stub = Stub::start(GRPC, |asked| {
        let said = "grpc: received message larger than max (5000000 vs. 4194304)";
        if asked.spans().len() > 3 {
            Answer::code(8, said)
        } else {
            Answer::yes(GRPC)
        }
    });
    let exporter = Exporter::new(target(GRPC, &stub.url()), LONG);
    exporter.push(0..10);
    exporter.settle(10);
    assert_eq!(exporter.exported(), 10);
    exporter.stop();
}

#[test]
fn metadata_is_sent() {
    let stub = stub(Vec::new());
    let mut target = target(GRPC, &stub.url());
    target.headers.set("authorization", "Bearer hush").unwrap();
    let exporter = Exporter::new(target, LONG);
    exporter.push(0..1);
    exporter.settle(1);
    exporter.stop();
    let asked = stub.asked();
    assert_eq!(asked[0].headers["authorization"], "Bearer hush");
    assert_eq!(asked[0].headers["content-type"], "application/grpc");
    assert_eq!(asked[0].headers["te"], "trailers");
}
