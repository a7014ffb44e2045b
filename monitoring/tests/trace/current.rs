//! Which span is current, on one thread and on several.

use std::{thread, time::Duration};

use monitoring::SpanContext;

use crate::collected::{CLOCK_ERROR, Collected};

#[test]
fn children_are_within_their_parents() {
    let collected = Collected::all();
    let tracer = &collected.tracer;
    {
        let root = tracer.start_span("root");
        let _root = root.enter();
        let child = tracer.start_span("child");
        {
            let _child = child.enter();
            tracer.start_span("grandchild").end();
        }
        drop(child);
        tracer.start_span("sibling").end();
    }
    tracer.start_span("stranger").end();
    let [root, child, grandchild, sibling, stranger] =
        ["root", "child", "grandchild", "sibling", "stranger"].map(|name| collected.span(name));
    assert!(child.is_child_of(&root) && sibling.is_child_of(&root));
    assert!(grandchild.is_child_of(&child));
    assert_eq!((root.parent_id, stranger.parent_id), (None, None));
    assert_ne!(root.trace_id, stranger.trace_id);
    for (inner, outer) in [(&child, &root), (&grandchild, &child), (&sibling, &root)] {
        // The two may have been read at different times.
        let early = outer.start_ns.saturating_sub(inner.start_ns);
        let late = inner.end_ns.saturating_sub(outer.end_ns);
        let off = Duration::from_nanos(early.max(late));
        let name = &inner.name;
        assert!(
            off <= CLOCK_ERROR,
            "{name} is {off:?} outside of {}",
            outer.name
        );
    }
}

#[test]
fn guards_may_go_in_any_order() {
    let collected = Collected::all();
    let spans = ["a", "b", "c"].map(|name| collected.tracer.start_span(name));
    let context = |at: usize| Some(spans[at].context());
    // After each step, the current span is the newest one that was entered and not left; those
    // that are below it when they are left stay out when it is their turn.
    let orders: [([usize; 3], [Option<usize>; 3]); 6] = [
        ([2, 1, 0], [Some(1), Some(0), None]),
        ([2, 0, 1], [Some(1), Some(1), None]),
        ([1, 2, 0], [Some(2), Some(0), None]),
        ([1, 0, 2], [Some(2), Some(2), None]),
        ([0, 2, 1], [Some(2), Some(1), None]),
        ([0, 1, 2], [Some(2), Some(2), None]),
    ];
    for (order, currents) in orders {
        let mut guards: Vec<_> = spans.iter().map(|span| Some(span.enter())).collect();
        for (guard, current) in order.into_iter().zip(currents) {
            guards[guard] = None;
            assert_eq!(
                SpanContext::current(),
                current.and_then(context),
                "{order:?}"
            );
        }
    }
}

#[test]
fn a_guard_within_another_ones_disorder() {
    let collected = Collected::all();
    let [a, b] = ["a", "b"].map(|name| collected.tracer.start_span(name));
    let outer = a.enter();
    let inner = b.enter();
    drop(outer);
    for _ in 0..3 {
        drop(a.enter());
        assert_eq!(SpanContext::current(), Some(b.context()));
    }
    drop(inner);
    assert_eq!(SpanContext::current(), None);
}

#[test]
fn a_current_span_is_its_threads() {
    let collected = Collected::all();
    let tracer = &collected.tracer;
    let root = tracer.start_span("root");
    let entered = root.enter();
    thread::scope(|scope| {
        scope.spawn(|| {
            assert_eq!(SpanContext::current(), None);
            tracer.start_span("stranger").end();
            tracer.start_span("by reference").with_parent(&root).end();
        });
        let context = SpanContext::current().unwrap();
        scope.spawn(move || {
            let _root = context.attach();
            tracer.start_span("by context").end();
        });
        // A span may end on another thread than it started on.
        let moved = tracer.start_span("moved");
        scope.spawn(move || moved.end());
    });
    drop(entered);
    root.end();
    let root = collected.span("root");
    assert!(!collected.span("stranger").is_child_of(&root));
    for name in ["by reference", "by context", "moved"] {
        assert!(collected.span(name).is_child_of(&root), "{name}");
    }
}
