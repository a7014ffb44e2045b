//! Spans that tests make, each with something of everything that a span can have. Knows nothing of
//! who sends them.

use std::sync::Arc;

use monitoring_agent::spans::{
    Finished, Resource,
    attributes::{flag, float, integer, text},
};
use opentelemetry_proto::tonic::trace::v1::{
    Span, Status,
    span::{Event, Link, SpanKind},
    status::StatusCode,
};

/// A process.
pub(crate) fn resource(name: &str) -> Arc<Resource> {
    Arc::new(Resource::new(vec![
        text("service.name", name),
        integer("process.pid", 4711),
    ]))
}

/// The span of this number, the only one with its ids.
pub(crate) fn span(number: u64) -> Span {
    let start = 1_700_000_000_000_000_000 + number * 1_000_003;
    Span {
        trace_id: u128::from(number + 1).to_be_bytes().into(),
        span_id: (number + 1).to_be_bytes().into(),
        parent_span_id: (number + 1_000_000).to_be_bytes().into(),
        name: format!("read {number}"),
        kind: SpanKind::Client.into(),
        start_time_unix_nano: start,
        end_time_unix_nano: start + number,
        attributes: vec![
            text("disk.io.direction", "read"),
            integer("number", number),
            float("share", 0.25),
            flag("direct", true),
        ],
        events: vec![Event {
            time_unix_nano: start + 1,
            name: "gpu.state".to_owned(),
            attributes: vec![integer("utilisation", 97)],
            dropped_attributes_count: 0,
        }],
        links: vec![Link {
            trace_id: 7_u128.to_be_bytes().into(),
            span_id: 9_u64.to_be_bytes().into(),
            attributes: vec![text("why", "the other end")],
            ..Link::default()
        }],
        status: Some(Status {
            code: StatusCode::Error.into(),
            message: "EIO".to_owned(),
        }),
        ..Span::default()
    }
}

/// Spans of these numbers, of a process.
pub(crate) fn spans(
    of: &Arc<Resource>,
    numbers: impl IntoIterator<Item = u64>,
) -> impl Iterator<Item = Finished> {
    let scopes = ["stratoswarm.block", "stratoswarm.syscalls"];
    let spans = numbers.into_iter().map(move |number| {
        let scope = scopes[usize::from(number % 3 == 0)];
        Finished::new(Arc::clone(of), scope, span(number))
    });
    spans.collect::<Vec<_>>().into_iter()
}
