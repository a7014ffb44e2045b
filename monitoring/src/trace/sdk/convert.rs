//! Finished spans in the types of OpenTelemetry's SDK. Knows nothing of where they go.

use std::sync::LazyLock;

use opentelemetry::{
    InstrumentationScope, KeyValue, SpanId, TraceFlags, TraceId, Value, trace as otel,
};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use crate::trace::{
    context::SpanContext,
    finished::{Event, FinishedSpan, Link, SpanKind, Status},
    sink::Resource,
    tag::{Tag, TagValue},
    tracestate::TraceState,
};

/// The library that all spans come from: this one.
static SCOPE: LazyLock<InstrumentationScope> = LazyLock::new(|| {
    InstrumentationScope::builder(env!("CARGO_PKG_NAME"))
        .with_version(env!("CARGO_PKG_VERSION"))
        .build()
});

pub(in crate::trace) fn resource(resource: &Resource) -> opentelemetry_sdk::Resource {
    let attributes = resource.attributes();
    let attributes =
        attributes.map(|(name, value)| KeyValue::new(name.to_owned(), value.to_owned()));
    opentelemetry_sdk::Resource::builder_empty()
        .with_attributes(attributes)
        .build()
}

pub(in crate::trace) fn spans(batch: &[FinishedSpan]) -> Vec<SpanData> {
    batch.iter().map(span).collect()
}

fn span(span: &FinishedSpan) -> SpanData {
    let mut events = SpanEvents::default();
    events.events = span.events().iter().map(event).collect();
    events.dropped_count = span.dropped_events();
    let mut links = SpanLinks::default();
    links.links = span.links().iter().map(link).collect();
    links.dropped_count = span.dropped_links();
    SpanData {
        span_context: otel::SpanContext::new(
            TraceId::from(span.trace_id().to_u128()),
            SpanId::from(span.span_id().to_u64()),
            TraceFlags::new(span.flags().bits()),
            false,
            state(span.trace_state()),
        ),
        parent_span_id: SpanId::from(span.parent_id().unwrap_or_default().to_u64()),
        parent_span_is_remote: span.parent_is_remote(),
        span_kind: kind(span.kind()),
        name: span.name().to_owned().into(),
        start_time: span.start(),
        end_time: span.end(),
        attributes: span
            .tags()
            .map(|(key, tag)| KeyValue::new(key.to_owned(), value(&tag)))
            .collect(),
        dropped_attributes_count: span.dropped_tags(),
        events,
        links,
        status: match span.status() {
            Status::Unset => otel::Status::Unset,
            Status::Ok => otel::Status::Ok,
            Status::Error(reason) => otel::Status::error(reason),
        },
        instrumentation_scope: SCOPE.clone(),
    }
}

fn kind(kind: SpanKind) -> otel::SpanKind {
    match kind {
        SpanKind::Internal => otel::SpanKind::Internal,
        SpanKind::Server => otel::SpanKind::Server,
        SpanKind::Client => otel::SpanKind::Client,
        SpanKind::Producer => otel::SpanKind::Producer,
        SpanKind::Consumer => otel::SpanKind::Consumer,
    }
}

fn event(event: &Event) -> otel::Event {
    otel::Event::new(
        event.name.clone(),
        event.time(),
        attributes(&event.tags),
        event.dropped_tags,
    )
}

fn link(link: &Link) -> otel::Link {
    otel::Link::new(context(&link.context), attributes(&link.tags), 0)
}

fn context(context: &SpanContext) -> otel::SpanContext {
    otel::SpanContext::new(
        TraceId::from(context.trace_id().to_u128()),
        SpanId::from(context.span_id().to_u64()),
        TraceFlags::new(context.flags().bits()),
        context.is_remote(),
        state(context.trace_state()),
    )
}

/// What other systems say of the trace. What OpenTelemetry does not take as such is left out: the
/// specification has it that a bad state never costs a span.
fn state(state: Option<&TraceState>) -> otel::TraceState {
    state
        .and_then(|state| state.as_str().parse().ok())
        .unwrap_or_default()
}

fn attributes(tags: &[Tag]) -> Vec<KeyValue> {
    let attribute = |tag: &Tag| KeyValue::new(tag.key.clone(), value(&tag.value));
    tags.iter().map(attribute).collect()
}

fn value(value: &TagValue<'_>) -> Value {
    match value {
        TagValue::Text(text) => Value::from(text.clone().into_owned()),
        TagValue::Int(number) => Value::I64(*number),
        TagValue::Float(number) => Value::F64(*number),
        TagValue::Bool(truth) => Value::Bool(*truth),
    }
}
