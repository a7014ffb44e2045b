//! A sink that keeps what it gets, and what a test wants to know of it.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use monitoring::{
    Tracer,
    trace::{FinishedSpan, SinkError, SpanId, SpanSink, TagValue, TraceId},
};

/// Longer than any machine needs to hand over what a test makes.
const LIMIT: Duration = Duration::from_secs(30);

/// What moments that were converted by different comparisons of the clocks may be off by. A
/// comparison is exact to less than a microsecond, unless each of its attempts is interrupted.
pub(crate) const CLOCK_ERROR: Duration = Duration::from_micros(50);

/// What a test compares of a span.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Seen {
    pub(crate) name: String,
    pub(crate) trace_id: TraceId,
    pub(crate) span_id: SpanId,
    pub(crate) parent_id: Option<SpanId>,
    pub(crate) parent_is_remote: bool,
    pub(crate) tags: Vec<(String, String)>,
    pub(crate) start_ns: u64,
    pub(crate) end_ns: u64,
    pub(crate) dropped_tags: u32,
    pub(crate) state: Option<String>,
}

/// A tracer, and what it has recorded.
pub(crate) struct Collected {
    pub(crate) tracer: Tracer,
    spans: Arc<Mutex<Vec<Seen>>>,
}

struct Sink(Arc<Mutex<Vec<Seen>>>);

impl SpanSink for Sink {
    fn export(&mut self, batch: &[FinishedSpan]) -> Result<(), SinkError> {
        self.0.lock().unwrap().extend(batch.iter().map(Seen::of));
        Ok(())
    }
}

impl Collected {
    pub(crate) fn at_rate(rate: f64) -> Self {
        let spans = Arc::<Mutex<Vec<Seen>>>::default();
        let sink = Sink(Arc::clone(&spans));
        let builder = Tracer::builder("test").sample_rate(rate).sink(sink);
        Self {
            tracer: builder.build().unwrap(),
            spans,
        }
    }

    pub(crate) fn all() -> Self {
        Self::at_rate(1.0)
    }

    /// What has ended so far, by its start.
    pub(crate) fn spans(&self) -> Vec<Seen> {
        assert!(self.tracer.flush(LIMIT), "the sink takes everything");
        let mut spans = self.spans.lock().unwrap().clone();
        spans.sort_by_key(|span| span.start_ns);
        spans
    }

    /// The span of this name.
    pub(crate) fn span(&self, name: &str) -> Seen {
        let spans = self.spans();
        let mut named = spans.iter().filter(|span| span.name == name);
        let (first, second) = (named.next(), named.next());
        assert!(second.is_none(), "{name} is there twice: {spans:?}");
        first
            .unwrap_or_else(|| panic!("no {name}: {spans:?}"))
            .clone()
    }
}

impl Seen {
    fn of(span: &FinishedSpan) -> Self {
        let text = |value: TagValue<'_>| match value {
            TagValue::Text(text) => text.into_owned(),
            other => format!("{other:?}"),
        };
        let tags = span
            .tags()
            .map(|(key, value)| (key.to_owned(), text(value)));
        Self {
            name: span.name().to_owned(),
            trace_id: span.trace_id(),
            span_id: span.span_id(),
            parent_id: span.parent_id(),
            parent_is_remote: span.parent_is_remote(),
            tags: tags.collect(),
            start_ns: span.start_unix_ns(),
            end_ns: span.end_unix_ns(),
            dropped_tags: span.dropped_tags(),
            state: span.trace_state().map(ToString::to_string),
        }
    }

    /// Whether it is a child of this one, in its trace.
    pub(crate) fn is_child_of(&self, parent: &Self) -> bool {
        self.trace_id == parent.trace_id && self.parent_id == Some(parent.span_id)
    }
}
