//! Spans of `opentelemetry_sdk`, with its batches on a thread of their own.

use std::{
    hint::black_box,
    sync::{Arc, OnceLock},
    time::Duration,
};

use opentelemetry::{
    KeyValue,
    trace::{Span as _, Tracer as _, TracerProvider as _, mark_span_as_active},
};
use opentelemetry_sdk::{
    error::OTelSdkResult,
    trace::{
        BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracer, SdkTracerProvider, SpanData,
        SpanExporter,
    },
};

use super::{CHILD, Exported, OPERATIONS, Pipeline, ROOT, TAGS};
use crate::load::Load;

/// As the library's own queue. The default of 2,048 spans is less than two threads make in a chunk.
const QUEUE: usize = 8_192;

static TRACER: OnceLock<SdkTracer> = OnceLock::new();

#[derive(Debug)]
struct Counting(Arc<Exported>);

impl SpanExporter for Counting {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.0.take(batch.len());
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }
}

pub(crate) fn begin(exported: Arc<Exported>) -> Pipeline {
    with_sampler(Sampler::AlwaysOn, exported)
}

pub(super) fn with_sampler(sampler: Sampler, exported: Arc<Exported>) -> Pipeline {
    let queue = BatchConfigBuilder::default().with_max_queue_size(QUEUE);
    let processor = BatchSpanProcessor::builder(Counting(Arc::clone(&exported)))
        .with_batch_config(queue.build())
        .build();
    let provider = SdkTracerProvider::builder()
        .with_sampler(sampler)
        .with_span_processor(processor)
        .build();
    let tracer = provider.tracer("overhead");
    assert!(TRACER.set(tracer).is_ok(), "a process has one subject");
    Pipeline {
        flush: Box::new(move || provider.force_flush().expect("the exporter counts")),
        exported,
        said_lost: Box::new(|| None),
    }
}

pub(super) fn tracer() -> &'static SdkTracer {
    TRACER.get().expect("the pipeline has begun")
}

pub(crate) fn root() {
    let mut span = tracer().start(ROOT);
    span.end();
    drop(black_box(span));
}

pub(crate) fn children() -> Load {
    begin(Arc::default()).load(of_one_root, 1)
}

pub(crate) fn roots() -> Load {
    begin(Arc::default()).load(|| (0..OPERATIONS).for_each(|_| root()), 0)
}

pub(crate) fn unsampled() -> Load {
    with_sampler(Sampler::AlwaysOff, Arc::default()).unsampled(of_one_root)
}

fn of_one_root() {
    let tracer = tracer();
    let _entered = mark_span_as_active(tracer.start(ROOT));
    for _ in 0..OPERATIONS {
        let mut child = tracer.start(CHILD);
        for (key, value) in TAGS {
            child.set_attribute(KeyValue::new(key, value));
        }
        child.end();
        drop(black_box(child));
    }
}
