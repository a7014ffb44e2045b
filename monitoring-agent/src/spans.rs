//! Finished spans on their way from the source `trace` to an exporter: the interchange is OTLP's own
//! types, a bounded queue, and counts of what became of them.
//!
//! Knows neither how spans come about nor how they are sent.

pub mod attributes;
mod outcomes;
mod queue;

use std::sync::Arc;

use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, KeyValue, any_value::Value},
    resource::v1::Resource as ProtoResource,
    trace::v1::{
        Span,
        span::{Event, Link},
    },
};
pub use outcomes::{DropReason, KernelCounts, SpanOutcomes, Totals};
use prost::Message as _;
pub use queue::{BatchLimits, QueueLimits, SpanBatch, SpanQueue};

/// Who did what its spans tell: a process, as OTLP describes it. Spans of a process share one.
#[derive(Debug)]
pub struct Resource {
    /// As it is sent.
    pub proto: ProtoResource,
    /// Its size when it is sent.
    pub encoded_bytes: usize,
    /// Its size in memory.
    pub memory_bytes: usize,
}

/// A span that is complete, with everything that an exporter needs to know of it.
#[derive(Debug)]
pub struct Finished {
    /// Whose it is. Spans of one `Arc` belong under one `ResourceSpans`.
    pub resource: Arc<Resource>,
    /// The instrumentation scope: `stratoswarm.` and the family's name.
    pub scope: &'static str,
    /// As it is sent.
    pub span: Span,
    encoded_bytes: usize,
    memory_bytes: usize,
}

/// One end of everything: spans are pushed here by the source, and received by the exporter.
#[derive(Clone, Debug)]
pub struct Spans {
    /// What waits for the exporter.
    pub queue: Arc<SpanQueue>,
    /// What became of all spans.
    pub outcomes: Arc<SpanOutcomes>,
}

impl Spans {
    /// An empty queue with room for so much, and counts from zero.
    pub fn new(limits: QueueLimits) -> Self {
        let outcomes = Arc::new(SpanOutcomes::default());
        Self {
            queue: Arc::new(SpanQueue::new(limits, Arc::clone(&outcomes))),
            outcomes,
        }
    }
}

impl Resource {
    /// A resource with these attributes.
    pub fn new(attributes: Vec<KeyValue>) -> Self {
        let proto = ProtoResource {
            attributes,
            ..ProtoResource::default()
        };
        Self {
            encoded_bytes: proto.encoded_len(),
            memory_bytes: size_of::<Self>() + size_of_attributes(&proto.attributes),
            proto,
        }
    }
}

impl Finished {
    /// A span, whose sizes are found out once.
    pub fn new(resource: Arc<Resource>, scope: &'static str, span: Span) -> Self {
        Self {
            encoded_bytes: span.encoded_len(),
            memory_bytes: size_of::<Self>() + size_of_parts(&span),
            resource,
            scope,
            span,
        }
    }

    /// The span's size when it is sent, without its resource.
    pub fn encoded_bytes(&self) -> usize {
        self.encoded_bytes
    }

    /// The span's size in memory, without its resource.
    pub fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }
}

/// What a span has on the heap.
fn size_of_parts(span: &Span) -> usize {
    let ids = span.trace_id.capacity() + span.span_id.capacity() + span.parent_span_id.capacity();
    let events = span.events.iter().map(|event| {
        size_of::<Event>() + event.name.capacity() + size_of_attributes(&event.attributes)
    });
    let links = span.links.iter().map(|link| {
        let ids = link.trace_id.capacity() + link.span_id.capacity();
        size_of::<Link>() + ids + link.trace_state.capacity() + size_of_attributes(&link.attributes)
    });
    let message = span.status.as_ref().map(|status| status.message.capacity());
    ids + span.trace_state.capacity()
        + span.name.capacity()
        + message.unwrap_or_default()
        + size_of_attributes(&span.attributes)
        + events.sum::<usize>()
        + links.sum::<usize>()
}

fn size_of_attributes(attributes: &[KeyValue]) -> usize {
    let each = attributes.iter().map(|attribute| {
        let value = attribute.value.as_ref().map(size_of_value);
        size_of::<KeyValue>() + attribute.key.capacity() + value.unwrap_or_default()
    });
    each.sum()
}

/// What a value has on the heap.
fn size_of_value(value: &AnyValue) -> usize {
    match &value.value {
        Some(Value::StringValue(text)) => text.capacity(),
        Some(Value::BytesValue(bytes)) => bytes.capacity(),
        Some(Value::ArrayValue(array)) => {
            let values = array.values.iter();
            values
                .map(|value| size_of::<AnyValue>() + size_of_value(value))
                .sum()
        }
        Some(Value::KvlistValue(list)) => size_of_attributes(&list.values),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::{
        attributes::{integer, text, texts},
        *,
    };

    #[test]
    fn sizes_are_those_of_what_is_in_it() {
        let resource = Arc::new(Resource::new(vec![text("service.name", "planner")]));
        assert_eq!(resource.encoded_bytes, resource.proto.encoded_len());
        let least = size_of::<Resource>() + size_of::<KeyValue>() + 12 + 7;
        assert!((least..least + 64).contains(&resource.memory_bytes));

        let bare = Finished::new(Arc::clone(&resource), "stratoswarm.block", Span::default());
        assert_eq!(bare.encoded_bytes(), 0);
        assert_eq!(bare.memory_bytes(), size_of::<Finished>());

        let check = |span: Span, heap: usize| {
            let finished = Finished::new(Arc::clone(&resource), "stratoswarm.block", span.clone());
            assert_eq!(finished.encoded_bytes(), span.encoded_len());
            let grown = finished.memory_bytes() - size_of::<Finished>();
            assert!((heap..heap + 64).contains(&grown), "{grown} for {heap}");
        };
        let bytes = integer("disk.io.bytes", 4096);
        let attributes = vec![bytes, texts("process.command_args", ["cat", "file"])];
        let heap = 2 * size_of::<KeyValue>() + 13 + 20 + 2 * size_of::<AnyValue>() + 7;
        check(
            Span {
                attributes: attributes.clone(),
                ..Span::default()
            },
            heap,
        );
        let event = Event {
            attributes: attributes.clone(),
            ..Event::default()
        };
        let span = Span {
            events: vec![event],
            ..Span::default()
        };
        check(span, heap + size_of::<Event>());
        let link = Link {
            trace_id: vec![1; 16],
            span_id: vec![1; 8],
            attributes,
            ..Link::default()
        };
        let span = Span {
            links: vec![link],
            ..Span::default()
        };
        check(span, heap + size_of::<Link>() + 24);
    }
}
