//! Spans of `tracing`: with its registry alone, and bridged into `opentelemetry_sdk`.

use std::{hint::black_box, sync::Arc};

use opentelemetry_sdk::trace::Sampler;
use tracing::{Subscriber, info_span, span::Id, subscriber::set_global_default, trace_span};
use tracing_subscriber::{
    Layer, Registry,
    filter::LevelFilter,
    layer::{Context, SubscriberExt as _},
};

use super::{Exported, OPERATIONS, Pipeline, TAGS, opentelemetry};
use crate::load::Load;

/// Counts spans that have ended, and keeps nothing of them.
struct Counting(Arc<Exported>);

impl<S: Subscriber> Layer<S> for Counting {
    fn on_close(&self, _span: Id, _context: Context<'_, S>) {
        self.0.take(1);
    }
}

/// The least that shows what spans cost that somebody sees.
fn counted() -> Pipeline {
    let exported = Arc::<Exported>::default();
    let registry = Registry::default().with(LevelFilter::INFO);
    let registry = registry.with(Counting(Arc::clone(&exported)));
    set_global_default(registry).expect("the first one");
    Pipeline {
        flush: Box::new(|| {}),
        exported,
        said_lost: Box::new(|| None),
    }
}

fn bridged(sampler: Sampler) -> Pipeline {
    let pipeline = opentelemetry::with_sampler(sampler, Arc::default());
    // Without what the others do not record either.
    let layer = tracing_opentelemetry::layer()
        .with_location(false)
        .with_threads(false)
        .with_tracked_inactivity(false)
        .with_level(false)
        .with_target(false)
        .with_tracer(opentelemetry::tracer().clone());
    let registry = Registry::default().with(LevelFilter::INFO).with(layer);
    set_global_default(registry).expect("the first one");
    pipeline
}

pub(crate) fn children() -> Load {
    counted().load(of_one_root, 1)
}

pub(crate) fn bridged_children() -> Load {
    bridged(Sampler::AlwaysOn).load(of_one_root, 1)
}

pub(crate) fn roots() -> Load {
    counted().load(many_roots, 0)
}

pub(crate) fn bridged_roots() -> Load {
    bridged(Sampler::AlwaysOn).load(many_roots, 0)
}

pub(crate) fn bridged_unsampled() -> Load {
    bridged(Sampler::AlwaysOff).unsampled(of_one_root)
}

/// Spans that nobody wants, by their level: what is nearest to a trace that is not sampled.
pub(crate) fn unsampled() -> Load {
    counted().unsampled(|| {
        for _ in 0..OPERATIONS {
            let [first, second] = TAGS.map(|(_, value)| value);
            let child = trace_span!("database_query", "db.type" = first, "db.operation" = second);
            drop(black_box(child.entered()));
        }
    })
}

fn many_roots() {
    for _ in 0..OPERATIONS {
        drop(black_box(
            info_span!(parent: None, "process_request").entered(),
        ));
    }
}

pub(super) fn of_one_root() {
    let _root = info_span!(parent: None, "process_request").entered();
    for _ in 0..OPERATIONS {
        let [first, second] = TAGS.map(|(_, value)| value);
        let child = info_span!("database_query", "db.type" = first, "db.operation" = second);
        drop(black_box(child.entered()));
    }
}
