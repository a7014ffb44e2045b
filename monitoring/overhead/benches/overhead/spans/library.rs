//! Spans of `monitoring`.

use std::{
    hint::black_box,
    sync::{Arc, OnceLock},
    time::Duration,
};

use monitoring::{
    Tracer,
    trace::{FinishedSpan, SinkError, SpanSink, layer},
};
use tracing::subscriber::set_global_default;
use tracing_subscriber::{Registry, filter::LevelFilter, layer::SubscriberExt as _};

use super::{CHILD, Exported, OPERATIONS, Pipeline, ROOT, TAGS, tracing as tracing_spans};
use crate::load::Load;

static TRACER: OnceLock<Tracer> = OnceLock::new();

/// Longer than any flush takes here.
const PATIENCE: Duration = Duration::from_mins(1);

struct Counting(Arc<Exported>);

impl SpanSink for Counting {
    fn export(&mut self, batch: &[FinishedSpan]) -> Result<(), SinkError> {
        self.0.take(batch.len());
        Ok(())
    }
}

pub(crate) fn begin(exported: Arc<Exported>) -> Pipeline {
    with_rate(1.0, exported)
}

fn with_rate(rate: f64, exported: Arc<Exported>) -> Pipeline {
    let sink = Counting(Arc::clone(&exported));
    let tracer = Tracer::builder("overhead").sample_rate(rate).sink(sink);
    let tracer = tracer.build().expect("a sink and a share");
    assert!(
        TRACER.set(tracer.clone()).is_ok(),
        "a process has one subject"
    );
    Pipeline {
        flush: Box::new({
            let tracer = tracer.clone();
            move || assert!(tracer.flush(PATIENCE), "the sink counts")
        }),
        exported,
        said_lost: Box::new(move || {
            let stats = tracer.stats();
            Some(stats.dropped_buffer_full + stats.dropped_refused + stats.dropped_shut_down)
        }),
    }
}

fn tracer() -> &'static Tracer {
    TRACER.get().expect("the pipeline has begun")
}

pub(crate) fn root() {
    drop(black_box(tracer().start_span(ROOT)));
}

pub(crate) fn roots() -> Load {
    begin(Arc::default()).load(|| (0..OPERATIONS).for_each(|_| root()), 0)
}

pub(crate) fn children() -> Load {
    begin(Arc::default()).load(of_current, 1)
}

pub(crate) fn explicit_children() -> Load {
    begin(Arc::default()).load(of_one_root, 1)
}

pub(crate) fn unsampled() -> Load {
    with_rate(0.0, Arc::default()).unsampled(of_current)
}

/// Spans of `tracing`, by this library's layer.
pub(crate) fn layered_children() -> Load {
    let pipeline = begin(Arc::default());
    let registry = Registry::default().with(LevelFilter::INFO);
    set_global_default(registry.with(layer(tracer()))).expect("the first one");
    pipeline.load(tracing_spans::of_one_root, 1)
}

/// Children of the thread's current span.
fn of_current() {
    let tracer = tracer();
    let root = tracer.start_span(ROOT);
    let _entered = root.enter();
    for _ in 0..OPERATIONS {
        let [first, second] = TAGS;
        let child = tracer.start_span(CHILD);
        let child = child
            .with_tag(first.0, first.1)
            .with_tag(second.0, second.1);
        drop(black_box(child));
    }
}

/// Children of a span that is named.
fn of_one_root() {
    let tracer = tracer();
    let root = tracer.start_span(ROOT);
    for _ in 0..OPERATIONS {
        let [first, second] = TAGS;
        let child = tracer.start_span(CHILD).with_parent(&root);
        let child = child
            .with_tag(first.0, first.1)
            .with_tag(second.0, second.1);
        drop(black_box(child));
    }
}
