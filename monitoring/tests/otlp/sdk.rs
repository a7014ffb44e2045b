//! Spans into a pipeline of OpenTelemetry's SDK.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, UNIX_EPOCH},
};

use monitoring::{
    SpanContext, Tracer,
    trace::{
        SdkExporter, SdkProcessor, SpanId, SpanKind, SpanSink, Status, Tag, TraceFlags, TraceId,
        TraceState,
    },
};
use opentelemetry::{KeyValue, Value, trace as otel};
use opentelemetry_sdk::{
    Resource,
    error::{OTelSdkError, OTelSdkResult},
    trace::{BatchSpanProcessor, SpanData, SpanExporter},
};

use crate::collector::DEADLINE;

/// What an exporter was told.
#[derive(Clone, Debug, Default)]
struct Exporter {
    spans: Arc<Mutex<Vec<SpanData>>>,
    service: Arc<Mutex<Option<Value>>>,
    ended: Arc<Mutex<bool>>,
    fails: bool,
    needs_tokio: bool,
}

impl SpanExporter for Exporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        if self.needs_tokio {
            tokio::runtime::Handle::current();
        }
        if self.fails {
            return Err(OTelSdkError::InternalFailure("as it is to".into()));
        }
        self.spans.lock().unwrap().extend(batch);
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        *self.ended.lock().unwrap() = true;
        Ok(())
    }

    fn set_resource(&mut self, resource: &Resource) {
        *self.service.lock().unwrap() = resource.get(&"service.name".into());
    }
}

fn tracer(sink: impl SpanSink + 'static) -> Tracer {
    let builder = Tracer::builder("sdk-test").sample_rate(1.0);
    builder.sink(sink).build().unwrap()
}

#[test]
fn a_span_is_the_same_in_the_sdk() {
    let exporter = Exporter {
        needs_tokio: true,
        ..Exporter::default()
    };
    let tracer = tracer(SdkExporter::new(exporter.clone()));
    let state = TraceState::parse("a=1");
    let remote = SpanContext::new(
        TraceId::from_u128(5),
        SpanId::from_u64(6),
        TraceFlags::SAMPLED,
    );
    let remote = remote.with_trace_state(state);
    let span = tracer
        .start_span("work")
        .with_parent(&remote)
        .with_kind(SpanKind::Producer)
        .with_tag("text", "t")
        .with_tag("number", 1)
        .with_link(&remote);
    span.add_event_with("event", [Tag::new("truth", true)]);
    span.set_status(Status::Error("reason".into()));
    let context = span.context();
    span.end();
    assert!(tracer.flush(DEADLINE));

    let spans = exporter.spans.lock().unwrap();
    let [span] = spans.as_slice() else {
        panic!("{spans:?}");
    };
    assert_eq!(span.name, "work");
    assert_eq!(
        span.span_context.trace_id().to_bytes(),
        context.trace_id().to_bytes()
    );
    assert_eq!(
        span.span_context.span_id().to_bytes(),
        context.span_id().to_bytes()
    );
    assert!(span.span_context.is_sampled() && !span.span_context.is_remote());
    assert_eq!(span.span_context.trace_state().header(), "a=1");
    assert_eq!(span.parent_span_id, 6.into());
    assert_eq!(span.span_kind, otel::SpanKind::Producer);
    assert_eq!(span.status, otel::Status::error("reason"));
    let want = [KeyValue::new("text", "t"), KeyValue::new("number", 1)];
    assert_eq!(span.attributes, want);
    assert!(span.start_time > UNIX_EPOCH && span.start_time <= span.end_time);
    let [event] = span.events.events.as_slice() else {
        panic!("{:?}", span.events);
    };
    assert_eq!(event.name, "event");
    assert_eq!(event.attributes, [KeyValue::new("truth", true)]);
    assert!((span.start_time..=span.end_time).contains(&event.timestamp));
    let [link] = span.links.links.as_slice() else {
        panic!("{:?}", span.links);
    };
    assert_eq!(link.span_context.trace_id(), 5.into());
    assert_eq!(span.instrumentation_scope.name(), "monitoring");
    let service = exporter.service.lock().unwrap();
    assert_eq!(*service, Some(Value::from("sdk-test")));
}

#[test]
fn what_is_dropped_is_said() {
    let exporter = Exporter::default();
    let tracer = tracer(SdkExporter::new(exporter.clone()));
    let span = tracer.start_span("much");
    for number in 0..130 {
        span.set_tag(format!("key{number}"), number);
        span.add_event("event");
    }
    span.end();
    assert!(tracer.flush(DEADLINE));
    let spans = exporter.spans.lock().unwrap();
    assert_eq!(
        (spans[0].attributes.len(), spans[0].dropped_attributes_count),
        (128, 2)
    );
    assert_eq!(
        (spans[0].events.len(), spans[0].events.dropped_count),
        (128, 2)
    );
}

#[test]
fn what_an_exporter_fails_to_export_is_counted() {
    let exporter = Exporter {
        fails: true,
        ..Exporter::default()
    };
    let tracer = tracer(SdkExporter::new(exporter.clone()));
    tracer.start_span("work").end();
    assert!(tracer.flush(DEADLINE));
    let stats = tracer.stats();
    assert_eq!((stats.exported, stats.dropped_refused), (0, 1), "{stats:?}");
    assert!(tracer.shutdown(DEADLINE));
    assert!(*exporter.ended.lock().unwrap());
}

#[test]
fn a_processor_passes_spans_on() {
    let exporter = Exporter::default();
    let processor = BatchSpanProcessor::builder(exporter.clone()).build();
    let tracer = tracer(SdkProcessor::new(processor));
    for _ in 0..10 {
        tracer.start_span("work").end();
    }
    // A flush reaches through the processor's own queue.
    assert!(tracer.flush(DEADLINE));
    assert_eq!(exporter.spans.lock().unwrap().len(), 10);
    assert!(tracer.shutdown(DEADLINE));
    assert!(*exporter.ended.lock().unwrap());
    let service = exporter.service.lock().unwrap();
    assert_eq!(*service, Some(Value::from("sdk-test")));
}
