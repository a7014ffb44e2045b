//! The last step to a span: everything that is known of it, in OTLP's own words.
//!
//! Knows nothing of how parents and processes are found.

use std::{borrow::Cow, sync::Arc};

use monitoring_common::trace::Header;
use opentelemetry_proto::tonic::trace::v1::{
    Span, SpanFlags, Status,
    span::{Event as SpanEvent, Link as SpanLink, SpanKind},
    status::StatusCode,
};

use super::{
    assembler::{Assembler, Placed},
    describe::{self, Described, Happened, Link, Place, Series, describe},
    parents::Within,
    processes::comm_text,
    roots::Due,
};
use crate::spans::{
    Finished, Resource,
    attributes::{integer, text},
};

/// W3C's flag of a trace that is recorded.
const SAMPLED: u32 = 1;

/// Where a span finally is.
struct Position {
    trace_id: u128,
    span_id: u64,
    /// `None` for the root of the trace.
    parent: Option<u64>,
    is_remote: bool,
}

impl Assembler {
    /// Hands on a span of a process.
    pub(super) fn finished(&mut self, placed: Placed, resource: Arc<Resource>) {
        let Placed {
            event,
            span_id,
            within,
        } = placed;
        let described = describe(&event, &self.names);
        let header = &event.header;
        let position = match described.place {
            Place::Within => Position {
                trace_id: within.trace_id,
                span_id,
                parent: (within.span_id != 0).then_some(within.span_id),
                is_remote: false,
            },
            Place::At {
                trace_id,
                span_id,
                parent,
                is_remote,
            } => Position {
                trace_id,
                span_id,
                parent,
                is_remote,
            },
        };
        let (trace_id, span_id) = (position.trace_id, position.span_id);
        let times = self.timeline.span(header.start_ns, header.end_ns);
        let exemplar = described.exemplar.clone();
        let span = self.span(header, described, &position, times, within);
        let span = Finished::new(resource, describe::scope(&event), span);
        self.settled();
        let taken = self.spans.queue.push(span);
        if taken && let Some(series) = exemplar {
            let seconds = (header.end_ns - header.start_ns) as f64 / 1e9;
            let Series { metric, labels } = series;
            let labels = labels.iter().map(|(key, value)| (*key, &**value));
            let labels: Vec<_> = labels.collect();
            self.exemplars
                .observe(metric, &labels, seconds, trace_id, span_id, times.1);
        }
    }

    /// Hands on a root.
    pub(super) fn finished_root(
        &mut self,
        due: &Due,
        (start_ns, end_ns): (u64, u64),
        resource: Arc<Resource>,
    ) {
        let (start, end) = self.timeline.span(start_ns, end_ns);
        let trace_id = self.ids.root_trace(due.process, due.minute);
        let span_id = self.ids.root_span(due.process, due.minute);
        let before = due.root.follows.then(|| {
            let before = due.minute - 1;
            let within = Within {
                trace_id: self.ids.root_trace(due.process, before),
                span_id: self.ids.root_span(due.process, before),
            };
            link(within.trace_id, within.span_id)
        });
        let span = Span {
            trace_id: trace_id.to_be_bytes().into(),
            span_id: span_id.to_be_bytes().into(),
            flags: span_flags(false),
            name: self.processes.name(due.process, due.root.comm),
            kind: SpanKind::Internal.into(),
            start_time_unix_nano: start,
            end_time_unix_nano: end,
            links: before.into_iter().collect(),
            ..Span::default()
        };
        let span = Finished::new(resource, "stratoswarm.trace", span);
        self.settled();
        // What becomes of it is counted by the queue.
        self.spans.queue.push(span);
    }

    fn span(
        &self,
        header: &Header,
        described: Described,
        position: &Position,
        (start, end): (u64, u64),
        within: Within,
    ) -> Span {
        let Described {
            name,
            kind,
            mut attributes,
            error,
            links,
            events,
            dropped_events,
            ..
        } = described;
        attributes.push(integer("thread.id", header.tid));
        attributes.push(text("thread.name", comm_text(header.comm)));
        let status = error.map(|error| {
            let error = error.into_owned();
            attributes.push(text("error.type", error.clone()));
            Status {
                message: error,
                code: StatusCode::Error.into(),
            }
        });
        let parent = position.parent.map(|parent| parent.to_be_bytes().into());
        Span {
            trace_id: position.trace_id.to_be_bytes().into(),
            span_id: position.span_id.to_be_bytes().into(),
            parent_span_id: parent.unwrap_or_default(),
            flags: span_flags(position.is_remote),
            name: name.into_owned(),
            kind: kind.into(),
            start_time_unix_nano: start,
            end_time_unix_nano: end,
            attributes,
            events: events.into_iter().map(|event| self.event(event)).collect(),
            dropped_events_count: dropped_events,
            links: links
                .into_iter()
                .filter_map(|to| linked(to, within))
                .collect(),
            status,
            ..Span::default()
        }
    }

    fn event(&self, happened: Happened) -> SpanEvent {
        SpanEvent {
            time_unix_nano: self.timeline.unix_ns(happened.at_ns),
            name: Cow::into_owned(happened.name),
            attributes: happened.attributes,
            ..SpanEvent::default()
        }
    }
}

fn linked(to: Link, within: Within) -> Option<SpanLink> {
    let (trace_id, span_id) = match to {
        Link::Surroundings => (within.trace_id, within.span_id),
        Link::To { trace_id, span_id } => (trace_id, span_id),
    };
    (span_id != 0).then(|| link(trace_id, span_id))
}

fn link(trace_id: u128, span_id: u64) -> SpanLink {
    SpanLink {
        trace_id: trace_id.to_be_bytes().into(),
        span_id: span_id.to_be_bytes().into(),
        flags: SAMPLED,
        ..SpanLink::default()
    }
}

/// Every span that is told of is recorded, and it is known whether its parent is another process's.
fn span_flags(is_remote: bool) -> u32 {
    let remote = if is_remote {
        SpanFlags::ContextIsRemoteMask as u32
    } else {
        0
    };
    SAMPLED | SpanFlags::ContextHasIsRemoteMask as u32 | remote
}
