//! Spans of the crate `tracing`, as the tracer behind the layer hands them on.

mod reentrant;

use std::{
    io,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use monitoring::{
    SpanContext, Tracer,
    trace::{FinishedSpan, SinkError, SpanId, SpanKind, SpanSink, Status, TagValue, TraceId},
};
use tracing::{Dispatch, Level, dispatcher, error, info, info_span, instrument, span, warn};
use tracing_subscriber::{filter::LevelFilter, layer::SubscriberExt as _};

const DEADLINE: Duration = Duration::from_secs(20);

/// Keeps what it gets.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<Span>>>);

/// What a span was.
#[derive(Debug)]
struct Span {
    name: String,
    trace: TraceId,
    id: SpanId,
    parent: Option<SpanId>,
    kind: SpanKind,
    status: Status,
    tags: Vec<(String, TagValue<'static>)>,
    events: Vec<(String, Vec<(String, TagValue<'static>)>)>,
    links: Vec<SpanId>,
}

impl SpanSink for Kept {
    fn export(&mut self, batch: &[FinishedSpan]) -> Result<(), SinkError> {
        self.0.lock().unwrap().extend(batch.iter().map(Span::of));
        Ok(())
    }
}

impl Span {
    fn of(span: &FinishedSpan) -> Self {
        let own = |value: TagValue<'_>| match value {
            TagValue::Text(text) => TagValue::from(text.into_owned()),
            TagValue::Int(number) => TagValue::Int(number),
            TagValue::Float(number) => TagValue::Float(number),
            value => panic!("{value:?}"),
        };
        let own = |value: TagValue<'_>| match value {
            TagValue::Bool(truth) => TagValue::Bool(truth),
            value => own(value),
        };
        let tags = span.tags().map(|(key, value)| (key.to_owned(), own(value)));
        let events = span.events().iter().map(|event| {
            let tags = event.tags.iter();
            let tags = tags.map(|tag| (tag.key.to_string(), tag.value.clone()));
            (event.name.to_string(), tags.collect())
        });
        let links = span.links().iter().map(|link| link.context.span_id());
        Self {
            name: span.name().to_owned(),
            trace: span.trace_id(),
            id: span.span_id(),
            parent: span.parent_id(),
            kind: span.kind(),
            status: span.status(),
            tags: tags.collect(),
            events: events.collect(),
            links: links.collect(),
        }
    }

    fn tag(&self, key: &str) -> Option<&TagValue<'static>> {
        let found = self.tags.iter().find(|(name, _)| name == key);
        found.map(|(_, value)| value)
    }
}

/// Calls `f` with a tracer whose layer gets all spans, and returns those that came out, by name.
fn traced(rate: f64, f: impl FnOnce(&Tracer)) -> Vec<Span> {
    let kept = Kept::default();
    let tracer = Tracer::builder("layer")
        .sample_rate(rate)
        .sink(kept.clone());
    let tracer = tracer.build().unwrap();
    let subscriber = tracing_subscriber::registry().with(monitoring::layer(&tracer));
    tracing::subscriber::with_default(subscriber, || f(&tracer));
    assert!(tracer.flush(DEADLINE));
    let mut spans = std::mem::take(&mut *kept.0.lock().unwrap());
    spans.sort_by(|a, b| a.name.cmp(&b.name));
    spans
}

fn find<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let found = spans.iter().find(|span| span.name == name);
    found.unwrap_or_else(|| panic!("no {name} in {spans:#?}"))
}

fn text(text: &str) -> TagValue<'static> {
    TagValue::from(text.to_owned())
}

#[test]
fn fields_are_tags_of_their_types() {
    let spans = traced(1.0, |_| {
        let span = info_span!(
            "query",
            db.type = "postgres",
            rows = 3_u64,
            negative = -1,
            large = u64::MAX,
            ratio = 0.5,
            cached = true,
            shown = %"text",
            debug = ?Some(1),
            later = tracing::field::Empty,
            never = tracing::field::Empty,
        );
        span.record("later", 7);
    });
    let [query] = spans.as_slice() else {
        panic!("{spans:#?}");
    };
    let want = [
        ("db.type", text("postgres")),
        ("rows", TagValue::Int(3)),
        ("negative", TagValue::Int(-1)),
        ("large", text("18446744073709551615")),
        ("ratio", TagValue::Float(0.5)),
        ("cached", TagValue::Bool(true)),
        ("shown", text("text")),
        ("debug", text("Some(1)")),
        ("later", TagValue::Int(7)),
    ];
    let want: Vec<_> = want.map(|(key, value)| (key.to_owned(), value)).into();
    assert_eq!(query.tags, want);
    assert_eq!((query.parent, &query.status), (None, &Status::Unset));
}

#[test]
fn parents_are_those_of_tracing_and_of_the_tracer() {
    let spans = traced(1.0, |tracer| {
        let outer = info_span!("outer");
        let entered = outer.enter();
        let inner = info_span!("inner");
        inner.in_scope(|| tracer.start_span("own").end());
        let _root = info_span!(parent: None, "root");
        let _explicit = info_span!(parent: &inner, "explicit");
        drop(entered);
        let remote = tracer.start_span("remote");
        let _current = remote.enter();
        let _below = info_span!("below remote");
        drop(inner);
    });
    let id = |name: &str| Some(find(&spans, name).id);
    let parents = |name: &str| find(&spans, name).parent;
    assert_eq!(parents("outer"), None);
    assert_eq!(parents("inner"), id("outer"));
    assert_eq!(parents("own"), id("inner"));
    assert_eq!(parents("root"), None);
    assert_eq!(parents("explicit"), id("inner"));
    assert_eq!(parents("below remote"), id("remote"));
    let traces = |name: &str| find(&spans, name).trace;
    assert_eq!(traces("explicit"), traces("outer"));
    assert_ne!(traces("root"), traces("outer"));
    assert_eq!(spans.len(), 7);
}

#[test]
fn events_keep_their_message_level_and_fields() {
    let spans = traced(1.0, |_| {
        info!("outside of any span");
        let _span = info_span!("work").entered();
        info!(jobs = 3, "took {}", "some");
        warn!(target: "elsewhere", slow = true);
    });
    let work = find(&spans, "work");
    let [took, slow] = work.events.as_slice() else {
        panic!("{work:#?}");
    };
    assert_eq!(took.0, "took some");
    let pair = |key: &str, value| (key.to_owned(), value);
    let want = [
        pair("jobs", TagValue::Int(3)),
        pair("level", text("INFO")),
        pair("target", text("layer")),
    ];
    assert_eq!(took.1, want);
    assert!(slow.0.starts_with("event "), "{}", slow.0);
    let want = [
        pair("slow", TagValue::Bool(true)),
        pair("level", text("WARN")),
        pair("target", text("elsewhere")),
    ];
    assert_eq!(slow.1, want);
    assert_eq!(work.status, Status::Unset);
}

#[test]
fn errors_fail_their_span_and_no_other() {
    #[derive(Debug, thiserror::Error)]
    #[error("the query failed")]
    struct Failed(#[source] io::Error);

    let failed = Failed(io::Error::other("no connection"));
    let error: &(dyn std::error::Error + 'static) = &failed;
    let spans = traced(1.0, |_| {
        let _outer = info_span!("outer").entered();
        info_span!("said").in_scope(|| error!("it broke"));
        info_span!("given").in_scope(|| error!(error));
    });
    assert_eq!(find(&spans, "outer").status, Status::Unset);
    assert_eq!(
        find(&spans, "said").status,
        Status::Error("it broke".into())
    );
    let given = find(&spans, "given");
    let reason = "the query failed: no connection";
    assert_eq!(given.status, Status::Error(reason.into()));
    assert_eq!(given.events[0].1[0], ("error".to_owned(), text(reason)));
}

#[test]
fn some_fields_say_what_a_span_is() {
    let spans = traced(1.0, |_| {
        let name = format!("GET {}", "/jobs");
        let span = info_span!(
            "request",
            otel.name = name,
            otel.kind = "server",
            otel.status_code = "Ok"
        );
        drop(span);
        let span =
            info_span!("client", otel.kind = ?SpanKind::Client, otel.status_message = "away");
        drop(span);
        let late = info_span!(
            "late",
            otel.status_code = tracing::field::Empty,
            otel.other = 1
        );
        late.record("otel.status_code", "ERROR");
    });
    let request = find(&spans, "GET /jobs");
    assert_eq!(
        (request.kind, &request.status),
        (SpanKind::Server, &Status::Ok)
    );
    assert_eq!(request.tags, []);
    let client = find(&spans, "client");
    assert_eq!(client.kind, SpanKind::Client);
    assert_eq!(client.status, Status::Error("away".into()));
    let late = find(&spans, "late");
    assert_eq!(late.status, Status::Error("".into()));
    assert_eq!(late.tag("otel.other"), Some(&TagValue::Int(1)));
}

#[test]
fn what_a_span_follows_from_is_a_link() {
    let spans = traced(1.0, |_| {
        let (cause, effect) = (info_span!("cause"), info_span!("effect"));
        effect.follows_from(&cause);
    });
    assert_eq!(find(&spans, "effect").links, [find(&spans, "cause").id]);
    assert_eq!(find(&spans, "cause").links, []);
}

#[test]
fn a_span_is_current_while_it_is_entered_in_whatever_order() {
    let spans = traced(1.0, |tracer| {
        assert_eq!(SpanContext::current(), None);
        let (a, b) = (info_span!("a"), info_span!("b"));
        let (in_a, in_b) = (a.enter(), b.enter());
        let again = a.enter();
        tracer.start_span("in a").end();
        drop(again);
        tracer.start_span("in b").end();
        drop(in_a);
        tracer.start_span("still in b").end();
        drop(in_b);
        assert_eq!(SpanContext::current(), None);
    });
    let parent = |name: &str| find(&spans, name).parent;
    assert_eq!(parent("in a"), Some(find(&spans, "a").id));
    assert_eq!(parent("in b"), Some(find(&spans, "b").id));
    assert_eq!(parent("still in b"), Some(find(&spans, "b").id));
}

#[instrument(fields(doubled = number * 2))]
async fn work(number: u64) {
    tokio::task::yield_now().await;
    info!("worked");
}

#[test]
fn asynchronous_functions_keep_their_spans_apart() {
    let spans = traced(1.0, |_| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(async {
            // Both are within their functions at the same time.
            tokio::join!(work(1), work(2));
        });
    });
    assert_eq!(spans.len(), 2);
    for span in &spans {
        let number = span.tag("number").unwrap();
        let doubled = span.tag("doubled").unwrap();
        match (number, doubled) {
            (TagValue::Int(number), TagValue::Int(doubled)) => assert_eq!(number * 2, *doubled),
            other => panic!("{other:?}"),
        }
        assert_eq!((span.parent, span.events.len()), (None, 1), "{span:#?}");
    }
    assert_ne!(spans[0].trace, spans[1].trace);
}

#[test]
fn spans_go_to_other_threads() {
    let spans = traced(1.0, |_| {
        let span = info_span!("shared");
        let dispatch = dispatcher::get_default(Dispatch::clone);
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let (span, dispatch) = (span.clone(), dispatch.clone());
                thread::spawn(move || {
                    dispatcher::with_default(&dispatch, || {
                        let _entered = span.enter();
                        info_span!("part").in_scope(|| info!("done"));
                    });
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
    });
    let shared = find(&spans, "shared").id;
    let parts = spans.iter().filter(|span| span.name == "part");
    assert_eq!(parts.clone().count(), 4);
    assert!(
        parts
            .clone()
            .all(|part| part.parent == Some(shared) && part.events.len() == 1)
    );
}

#[test]
fn what_is_not_sampled_has_a_context_all_the_same() {
    let mut context = None;
    let spans = traced(0.0, |tracer| {
        let _span = info_span!("work", jobs = 3).entered();
        error!("nobody hears it");
        context = SpanContext::current();
        assert!(!tracer.start_span("own").is_recording());
    });
    assert!(spans.is_empty(), "{spans:#?}");
    let context = context.unwrap();
    assert!(context.is_valid() && !context.is_sampled());
}

#[test]
fn filters_of_other_layers_count() {
    let kept = Kept::default();
    let tracer = Tracer::builder("layer").sample_rate(1.0).sink(kept.clone());
    let tracer = tracer.build().unwrap();
    let layer =
        tracing_subscriber::Layer::with_filter(monitoring::layer(&tracer), LevelFilter::INFO);
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
        let _info = info_span!("info").entered();
        let _debug = span!(Level::DEBUG, "debug").entered();
        tracing::debug!("not this");
        let _below = info_span!("below").entered();
    });
    assert!(tracer.flush(DEADLINE));
    let spans = kept.0.lock().unwrap();
    assert_eq!(spans.len(), 2, "{spans:#?}");
    assert_eq!(find(&spans, "below").parent, Some(find(&spans, "info").id));
    assert_eq!(find(&spans, "info").events.len(), 0);
}
