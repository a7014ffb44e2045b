//! Spans arrive with all that was said of them.

use std::{collections::BTreeSet, time::Duration};

use monitoring::{
    SpanContext,
    trace::{SpanId, SpanKind, Status, Tag, TagValue, TraceFlags, TraceId, TraceState},
};

use crate::{
    collector::{Collector, DEADLINE, PROTOCOLS, Ports},
    rotel::shown::{Part, Shown, Tags},
};

fn tags<const N: usize>(pairs: [(&str, &str); N]) -> Tags {
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    pairs.into_iter().map(owned).collect()
}

fn find<'a>(spans: &'a [Shown], name: &str) -> &'a Shown {
    let mut found = spans.iter().filter(|span| span.get("Name") == name);
    let span = found
        .next()
        .unwrap_or_else(|| panic!("no {name} in {spans:#?}"));
    assert_eq!(found.next(), None, "two of {name}");
    span
}

fn check_identity(shown: &Shown, context: &SpanContext, parent: Option<SpanId>) {
    let parent = parent.map_or(String::new(), |id| id.to_string());
    assert_eq!(shown.get("Trace ID"), context.trace_id().to_string());
    assert_eq!(shown.get("ID"), context.span_id().to_string());
    assert_eq!(shown.get("Parent ID"), parent);
}

#[test]
fn a_trace_arrives_with_parents_tags_and_events() {
    for protocol in PROTOCOLS {
        let ports = Ports::free();
        let collector = Collector::start(ports);
        let tracer = ports
            .tracer(protocol)
            .resource("team", "x")
            .build()
            .unwrap();

        let root = tracer.start_span("process_request");
        let root_context = root.context();
        let child = tracer
            .start_span("database_query")
            .with_parent(&root)
            .with_kind(SpanKind::Client)
            .with_tag("db.type", "postgres")
            .with_tag("rows", 3)
            .with_tag("ratio", 0.5)
            .with_tag("cached", false)
            .with_tag("table", String::from("jobs"))
            .with_tag("rows", 4);
        let child_context = child.context();
        child.add_event("query_started");
        child.add_event_with("retried", [Tag::new("attempt", 2), Tag::new("slow", true)]);
        child.set_status(Status::Error("the connection was lost".into()));
        child.end();
        root.set_status(Status::Ok);
        root.end();
        assert!(tracer.flush(DEADLINE));

        let spans = collector.spans(2);
        assert_eq!(spans.len(), 2);
        let (root, child) = (
            find(&spans, "process_request"),
            find(&spans, "database_query"),
        );
        check_identity(root, &root_context, None);
        check_identity(child, &child_context, Some(root_context.span_id()));
        assert_eq!(child_context.trace_id(), root_context.trace_id());

        let want = [
            ("cached", "Bool(false)"),
            ("db.type", "Str(postgres)"),
            ("ratio", "Double(0.5)"),
            ("rows", "Int(4)"),
            ("table", "Str(jobs)"),
        ];
        assert_eq!(child.tags, tags(want));
        assert_eq!(root.tags, Tags::new());
        assert_eq!(root.get("Kind"), "SPAN_KIND_INTERNAL");
        assert_eq!(child.get("Kind"), "SPAN_KIND_CLIENT");
        assert_eq!(root.get("Status code"), "STATUS_CODE_OK");
        assert_eq!(child.get("Status code"), "STATUS_CODE_ERROR");
        assert_eq!(child.get("Status message"), "the connection was lost");
        check_events(child);
        let [root_times, child_times] = [root.times(), child.times()];
        assert!(root_times[0] <= child_times[0] && child_times[1] <= root_times[1]);

        let stats = tracer.stats();
        assert_eq!((stats.recorded, stats.exported), (2, 2), "{stats:?}");
        check_resource(&child.resource);
    }
}

fn check_events(child: &Shown) {
    let [started, retried] = child.events.as_slice() else {
        panic!("{child:#?}");
    };
    let time = |event: &Part| event.is["Timestamp"].parse::<u64>().unwrap();
    let [start, end] = child.times();
    let order = [start, time(started), time(retried), end];
    assert!(order.is_sorted(), "{order:?}");
    assert_eq!(started.is["Name"], "query_started");
    assert_eq!(started.tags, Tags::new());
    assert_eq!(retried.is["Name"], "retried");
    assert_eq!(
        retried.tags,
        tags([("attempt", "Int(2)"), ("slow", "Bool(true)")])
    );
}

fn check_resource(resource: &Tags) {
    assert_eq!(resource["service.name"], "Str(otlp-test)");
    assert_eq!(resource["team"], "Str(x)");
    assert_eq!(resource["telemetry.sdk.language"], "Str(rust)");
    assert_eq!(
        resource["process.pid"],
        format!("Str({})", std::process::id())
    );
}

#[test]
fn traces_of_other_nodes_go_on() {
    for protocol in PROTOCOLS {
        let ports = Ports::free();
        let collector = Collector::start(ports);
        let tracer = ports.tracer(protocol).build().unwrap();
        let (trace, span) = (TraceId::from_u128(0xabc << 64), SpanId::from_u64(0xdef));
        let state = TraceState::parse("vendor=1,other=2");
        let remote = SpanContext::new(trace, span, TraceFlags::SAMPLED).with_trace_state(state);
        let linked = SpanContext::new(
            TraceId::from_u128(7),
            SpanId::from_u64(8),
            TraceFlags::default(),
        );
        let span = tracer
            .start_span("handle")
            .with_parent(&remote)
            .with_kind(SpanKind::Server)
            .with_link(&linked);
        let context = span.context();
        span.end();
        assert!(tracer.flush(DEADLINE));

        let spans = collector.spans(1);
        let handle = find(&spans, "handle");
        check_identity(handle, &context, Some(remote.span_id()));
        assert_eq!(context.trace_id(), trace);
        assert_eq!(handle.get("TraceState"), "vendor=1,other=2");
        assert_eq!(handle.get("Kind"), "SPAN_KIND_SERVER");
        let links: Vec<[&str; 2]> = handle
            .links
            .iter()
            .map(|link| [link.is["Trace ID"].as_str(), link.is["ID"].as_str()])
            .collect();
        let want = [linked.trace_id().to_string(), linked.span_id().to_string()];
        assert_eq!(links, [[want[0].as_str(), want[1].as_str()]]);
    }
}

#[test]
fn spans_of_many_threads_arrive_once_each() {
    const THREADS: u64 = 4;
    const SPANS: u64 = 500;
    for protocol in PROTOCOLS {
        let ports = Ports::free();
        let collector = Collector::start(ports);
        let tracer = ports.tracer(protocol).build().unwrap();
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let tracer = &tracer;
                scope.spawn(move || {
                    for span in 0..SPANS {
                        let value = TagValue::from(thread * SPANS + span);
                        tracer.start_span("work").with_tag("number", value).end();
                    }
                });
            }
        });
        // Dropping the last handle sends what is left as well, but does not wait as long.
        assert!(tracer.flush(DEADLINE));
        drop(tracer);
        let spans = collector.spans(usize::try_from(THREADS * SPANS).unwrap());
        let numbers: BTreeSet<&str> = spans
            .iter()
            .map(|span| span.tags["number"].as_str())
            .collect();
        let want: Vec<String> = (0..THREADS * SPANS)
            .map(|number| format!("Int({number})"))
            .collect();
        assert_eq!(spans.len(), want.len());
        assert_eq!(numbers, want.iter().map(String::as_str).collect());
    }
}

#[test]
fn a_flush_is_quick_where_nothing_is_to_be_sent() {
    let tracer = Ports::free().tracer(PROTOCOLS[0]).build().unwrap();
    assert!(tracer.flush(Duration::from_secs(10)));
}
