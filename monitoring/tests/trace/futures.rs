//! Spans across awaits.

use std::{
    future::{Future, pending},
    pin::pin,
    task::{Context, Poll, Waker},
};

use monitoring::{SpanContext, TraceFuture, Tracer};
use tokio::task::{JoinSet, yield_now};

use crate::collected::Collected;

fn on_one_thread<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread();
    { runtime }.build().unwrap().block_on(future)
}

/// Works on and off, and has a child each time.
async fn work(tracer: Tracer, number: usize) {
    let own = SpanContext::current();
    for _ in 0..5 {
        yield_now().await;
        assert_eq!(SpanContext::current(), own);
        tracer.start_span(format!("child of {number}")).end();
    }
}

#[test]
fn tasks_that_take_turns_keep_their_spans() {
    let collected = Collected::all();
    on_one_thread(async {
        let mut tasks = JoinSet::new();
        for number in 0..10 {
            let span = collected.tracer.start_span(format!("task {number}"));
            tasks.spawn(work(collected.tracer.clone(), number).in_span(span));
        }
        while let Some(task) = tasks.join_next().await {
            task.unwrap();
            assert_eq!(SpanContext::current(), None);
        }
    });
    let spans = collected.spans();
    assert_eq!(spans.len(), 60);
    for number in 0..10 {
        let task = collected.span(&format!("task {number}"));
        let children = spans.iter().filter(|span| span.is_child_of(&task));
        let names: Vec<&str> = children.map(|span| span.name.as_str()).collect();
        assert_eq!(names, vec![format!("child of {number}"); 5]);
    }
}

#[test]
fn a_task_goes_on_with_the_trace_of_whoever_spawns_it() {
    let collected = Collected::all();
    let root = collected.tracer.start_span("root");
    let context = root.context();
    root.end();
    on_one_thread(work(collected.tracer.clone(), 0).in_context(context));
    let (spans, root) = (collected.spans(), collected.span("root"));
    assert_eq!(
        spans.iter().filter(|span| span.is_child_of(&root)).count(),
        5
    );
}

#[test]
fn a_span_ends_when_its_future_is_ready_or_dropped() {
    let collected = Collected::all();
    let mut context = Context::from_waker(Waker::noop());
    let mut ready = pin!(async {}.in_span(collected.tracer.start_span("ready")));
    assert!(ready.as_ref().span().is_some());
    assert_eq!(ready.as_mut().poll(&mut context), Poll::Ready(()));
    assert!(ready.as_ref().span().is_none());
    collected.span("ready");
    {
        let mut never = pin!(pending::<()>().in_span(collected.tracer.start_span("dropped")));
        assert_eq!(never.as_mut().poll(&mut context), Poll::Pending);
        assert_eq!(SpanContext::current(), None);
        assert_eq!(collected.spans().len(), 1);
    }
    collected.span("dropped");
}
