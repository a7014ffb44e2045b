//! Traces that go over several nodes.

use std::collections::HashMap;

use monitoring::{SpanContext, Tracer};

use crate::collected::Collected;

/// The headers of a request, as one node sends and another gets them.
#[derive(Default)]
struct Headers(HashMap<String, String>);

impl Headers {
    fn of(context: &SpanContext) -> Self {
        let mut headers = Self::default();
        context.inject(|name, value| {
            headers.0.insert(name.to_owned(), value.to_owned());
        });
        headers
    }

    fn context(&self) -> Option<SpanContext> {
        SpanContext::extract(|name| self.0.get(name))
    }
}

#[test]
fn a_trace_goes_over_nodes() {
    let (near, far) = (Collected::all(), Collected::at_rate(0.0));
    let request = near.tracer.start_span("request");
    let headers = Headers::of(&request.context());
    let caller = headers.context().unwrap();
    assert!(caller.is_remote());
    // Whether a trace is recorded was decided where it began, whatever the rate is here.
    let answer = far.tracer.start_span("answer").with_parent(&caller);
    assert!(answer.is_recording());
    far.tracer.start_span("work").with_parent(&answer).end();
    drop((answer, request));
    let (request, answer, work) = (near.span("request"), far.span("answer"), far.span("work"));
    assert!(answer.is_child_of(&request) && answer.parent_is_remote);
    assert!(work.is_child_of(&answer) && !work.parent_is_remote);
}

#[test]
fn a_trace_that_is_not_recorded_is_not_recorded_anywhere() {
    let (near, far) = (Collected::at_rate(0.0), Collected::all());
    let request = near.tracer.start_span("request");
    let caller = Headers::of(&request.context()).context().unwrap();
    assert!(!caller.is_sampled());
    let answer = far.tracer.start_span("answer").with_parent(&caller);
    assert!(!answer.is_recording());
    assert_eq!(answer.context().trace_id(), request.context().trace_id());
    let entered = answer.enter();
    far.tracer.start_span("work").end();
    drop(entered);
    drop((request, answer));
    assert_eq!((near.spans().len(), far.spans().len()), (0, 0));
    assert_eq!(near.tracer.stats().sampled_out, 1);
    assert_eq!(far.tracer.stats().sampled_out, 2);
}

#[test]
fn what_systems_say_of_a_trace_is_passed_on() {
    let collected = Collected::all();
    let mut headers = Headers::default();
    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    headers.0.insert("traceparent".into(), traceparent.into());
    headers
        .0
        .insert("tracestate".into(), "vendor=1,other=2".into());
    let caller = headers.context().unwrap();
    let span = collected.tracer.start_span("span").with_parent(&caller);
    let entered = span.enter();
    let child = collected.tracer.start_span("child");
    let sent = Headers::of(&child.context());
    assert_eq!(sent.0["tracestate"], "vendor=1,other=2");
    assert!(sent.0["traceparent"].starts_with("00-0af7651916cd43dd8448eb211c80319c-"));
    drop((entered, child));
    // Another parent's trace has another state, or none.
    let stranger = collected.tracer.start_span("stranger");
    let adopted = collected.tracer.start_span("adopted").with_parent(&caller);
    adopted.with_parent(&stranger).end();
    drop((span, stranger));
    let state = |name| collected.span(name).state;
    assert_eq!(state("span").as_deref(), Some("vendor=1,other=2"));
    assert_eq!(state("child").as_deref(), Some("vendor=1,other=2"));
    assert_eq!((state("stranger"), state("adopted")), (None, None));
}

#[test]
fn what_is_no_context_is_no_parent() {
    let tracer = Tracer::new("test");
    let mut headers = Headers::default();
    assert_eq!(headers.context(), None);
    headers.0.insert("traceparent".into(), "00-nothing".into());
    assert_eq!(headers.context(), None);
    let invalid = SpanContext::new(
        monitoring::trace::TraceId::INVALID,
        tracer.start_span("span").context().span_id(),
        monitoring::trace::TraceFlags::SAMPLED,
    );
    let span = tracer.start_span("span").with_parent(&invalid);
    assert!(span.context().is_valid());
    let _attached = invalid.attach();
    assert_eq!(SpanContext::current(), None);
}
