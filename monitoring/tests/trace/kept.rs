//! What is said of a span, as a sink gets it.

use std::{
    fmt, io,
    sync::mpsc,
    thread,
    time::{Duration, Instant, SystemTime},
};

use monitoring::{
    Span, Tracer,
    trace::{FinishedSpan, SinkError, SpanKind, SpanSink, Status, TagValue},
};

use crate::collected::{CLOCK_ERROR, Collected};

/// Checks the first span that it gets.
struct Check<F>(F);

impl<F: FnMut(&FinishedSpan) + Send> SpanSink for Check<F> {
    fn export(&mut self, batch: &[FinishedSpan]) -> Result<(), SinkError> {
        batch.iter().for_each(&mut self.0);
        Ok(())
    }
}

/// Makes one span, and checks it. A check that panics loses its batch.
fn check(make: impl FnOnce(&Tracer), check: impl FnMut(&FinishedSpan) + Send + 'static) {
    let builder = Tracer::builder("test").sample_rate(1.0).sink(Check(check));
    let tracer = builder.build().unwrap();
    make(&tracer);
    assert!(tracer.flush(Duration::from_secs(30)));
    let stats = tracer.stats();
    assert_eq!((stats.recorded, stats.exported), (1, 1), "{stats:?}");
}

#[derive(Debug)]
struct Failed(io::Error);

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the query failed")
    }
}

impl std::error::Error for Failed {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

#[test]
fn tags_kinds_and_links() {
    let other = Tracer::new("other").start_span("other").context();
    let link = other.clone();
    check(
        |tracer| {
            let span = tracer
                .start_span(String::from("owned"))
                .with_tag("static", "text")
                .with_tag("owned", String::from("text"))
                .with_tag(String::from("number"), 1)
                .with_tag("number", 2_u64)
                .with_kind(SpanKind::Client)
                .with_link(&link);
            span.set_tag("late", 0.5);
            span.set_tag("last", true);
        },
        move |span| {
            assert_eq!((span.name(), span.kind()), ("owned", SpanKind::Client));
            let tags: Vec<_> = span.tags().collect();
            let want = [
                ("static", TagValue::from("text")),
                ("owned", "text".into()),
                ("number", 2.into()),
                ("late", 0.5.into()),
                ("last", true.into()),
            ];
            assert_eq!(tags, want);
            assert_eq!(span.tag("number"), Some(TagValue::Int(2)));
            assert_eq!(span.links()[0].context, other);
            assert_eq!((span.dropped_tags(), span.dropped_links()), (0, 0));
            assert_eq!(span.status(), Status::Unset);
        },
    );
}

/// A value that says something of a span when it is converted.
struct Saying<'a>(&'a Span);

impl From<Saying<'_>> for TagValue<'static> {
    fn from(saying: Saying<'_>) -> Self {
        saying.0.set_tag("within", 1);
        2.into()
    }
}

#[test]
fn a_value_may_say_something_of_its_span_itself() {
    // On another thread, so that one that waits for itself fails the test instead of stopping it.
    let (done, converted) = mpsc::channel();
    thread::spawn(move || {
        check(
            |tracer| {
                let span = tracer.start_span("span");
                span.set_tag("around", Saying(&span));
            },
            |span| {
                let tags: Vec<_> = span.tags().collect();
                assert_eq!(tags, [("within", 1.into()), ("around", 2.into())]);
            },
        );
        done.send(())
    });
    converted.recv_timeout(Duration::from_mins(1)).unwrap();
}

#[test]
fn events_and_errors() {
    check(
        |tracer| {
            let span = tracer.start_span("query");
            span.add_event("begun");
            span.add_event_with("retried", [("attempt", 2)]);
            span.record_error(&Failed(io::Error::other("the wire is cut")));
        },
        |span| {
            let events = span.events();
            let names: Vec<&str> = events.iter().map(|event| event.name.as_ref()).collect();
            assert_eq!(names, ["begun", "retried", "exception"]);
            assert_eq!(events[1].tags, [("attempt", 2).into()]);
            let said: Vec<_> = events[2].tags.iter().map(|tag| tag.value.clone()).collect();
            assert_eq!(said, ["the query failed".into(), "the wire is cut".into()]);
            assert_eq!(span.status(), Status::Error("the query failed".into()));
            let mut times: Vec<SystemTime> = vec![span.start()];
            times.extend(events.iter().map(monitoring::trace::Event::time));
            times.push(span.end());
            assert!(times.is_sorted(), "{times:?}");
        },
    );
}

#[test]
fn times_are_those_of_the_clock() {
    let collected = Collected::all();
    let (day, before) = (SystemTime::now(), Instant::now());
    let span = collected.tracer.start_span("span");
    let started = Instant::now();
    while started.elapsed() < Duration::from_millis(5) {
        std::hint::spin_loop();
    }
    let least = started.elapsed();
    span.end();
    let most = before.elapsed();
    let span = collected.span("span");
    let measured = Duration::from_nanos(span.end_ns - span.start_ns);
    let is_within = measured + CLOCK_ERROR >= least && measured <= most + CLOCK_ERROR;
    assert!(is_within, "{measured:?} is not from {least:?} to {most:?}");
    let started = SystemTime::UNIX_EPOCH + Duration::from_nanos(span.start_ns);
    // Whoever sets the time of day meanwhile has a second.
    let early = day.duration_since(started).unwrap_or_default();
    assert!(early < Duration::from_secs(1), "{early:?} before its time");
}

#[test]
fn without_a_sink_nothing_is_recorded_and_contexts_flow() {
    let builder = Tracer::builder("test").sample_rate(1.0);
    let tracer = builder.build().unwrap();
    let root = tracer.start_span("root");
    let child = tracer.start_span("child").with_parent(&root);
    assert!(!root.is_recording() && root.context().is_sampled());
    assert_eq!(child.context().trace_id(), root.context().trace_id());
    assert_ne!(child.context().span_id(), root.context().span_id());
    drop((root, child));
    let stats = tracer.stats();
    assert_eq!((stats.without_sink, stats.recorded), (2, 0), "{stats:?}");
}
