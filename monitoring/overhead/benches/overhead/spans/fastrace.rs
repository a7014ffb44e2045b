//! Spans of `fastrace`.

use std::{hint::black_box, sync::Arc};

use fastrace::{
    Span,
    collector::{Config, Reporter, SpanRecord},
    local::LocalSpan,
    prelude::SpanContext,
};

use super::{CHILD, Exported, OPERATIONS, Pipeline, ROOT, TAGS};
use crate::load::Load;

struct Counting(Arc<Exported>);

impl Reporter for Counting {
    fn report(&mut self, spans: Vec<SpanRecord>) {
        self.0.take(spans.len());
    }
}

pub(crate) fn begin(exported: Arc<Exported>) -> Pipeline {
    fastrace::set_reporter(Counting(Arc::clone(&exported)), Config::default());
    Pipeline {
        flush: Box::new(fastrace::flush),
        exported,
        said_lost: Box::new(|| None),
    }
}

pub(crate) fn root() {
    drop(black_box(Span::root(ROOT, SpanContext::random())));
}

pub(crate) fn children() -> Load {
    begin(Arc::default()).load(|| of(SpanContext::random()), 1)
}

pub(crate) fn roots() -> Load {
    begin(Arc::default()).load(|| (0..OPERATIONS).for_each(|_| root()), 0)
}

pub(crate) fn unsampled() -> Load {
    begin(Arc::default()).unsampled(|| of(SpanContext::random().sampled(false)))
}

fn of(context: SpanContext) {
    let root = Span::root(ROOT, context);
    let _entered = root.set_local_parent();
    for _ in 0..OPERATIONS {
        let child = LocalSpan::enter_with_local_parent(CHILD).with_properties(|| TAGS);
        drop(black_box(child));
    }
}
