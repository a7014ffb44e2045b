//! Spans of the crate `tracing` as spans of a tracer: their fields are tags, the events within them
//! are events, and an error among those says that the span failed. Knows nothing of where spans go.

mod entered;
mod fields;

use std::cell::Cell;

use tracing_core::{
    Event, Level, Subscriber,
    span::{Attributes, Id, Record},
};
use tracing_subscriber::{
    layer::{Context, Layer},
    registry::{Extensions, LookupSpan},
};

use super::{Span, SpanContext, Status, Tracer};
use fields::{EventFields, Named, SpanFields};

/// What the layer keeps with a span of `tracing`: none for a moment only.
struct Traced(Option<Span>);

thread_local! {
    /// This thread sends spans: what the libraries that it uses for that have to say would be sent
    /// as well, and so on.
    static SENDS_SPANS: Cell<bool> = const { Cell::new(false) };
}

/// Spans that this thread starts by `tracing` are from now on nobody's.
pub(super) fn ignore_this_thread() {
    SENDS_SPANS.set(true);
}

/// A layer for a subscriber of `tracing`, made by [`layer`].
#[derive(Clone, Debug)]
pub struct TraceLayer {
    tracer: Tracer,
}

/// Makes the spans of the crate `tracing` spans of this tracer.
///
/// - A span's fields become its tags, and those that are recorded later too. `otel.name`,
///   `otel.kind` (as `server`), `otel.status_code` (`ok` or `error`) and `otel.status_message` say
///   what their names say instead, as in other bridges to OpenTelemetry.
/// - An event within a span becomes an event of it, by its message, with its level, its target and
///   its fields as tags. One of level `ERROR` says that the span failed, and its message why.
/// - `follows_from` becomes a link.
/// - While a span is entered, it is the thread's current one: what [`Tracer::start_span`] starts is
///   part of it, and [`SpanContext::current`] is what other nodes are to be told. Where no span of
///   `tracing` is entered, a new one is part of the thread's current span.
///
/// Which spans there are is the subscriber's business: filters of `tracing-subscriber` work as they
/// do for every layer. Spans that the layers below it have no part in stay the tracer's.
///
/// # When the program ends
///
/// The layer keeps the tracer, and a subscriber that was made the one of all threads is never
/// dropped. Dropping the program's own handle of the tracer sends nothing then: call
/// [`Tracer::shutdown`] before `main` returns, or the last spans are lost.
///
/// # Example
///
/// ```
/// use monitoring::Tracer;
/// use tracing_subscriber::prelude::*;
///
/// let tracer = Tracer::new("stratoswarm");
/// let subscriber = tracing_subscriber::registry().with(monitoring::layer(&tracer));
/// tracing::subscriber::with_default(subscriber, || {
///     let _request = tracing::info_span!("request", path = "/jobs").entered();
///     tracing::info!(jobs = 3, "answered");
/// });
/// ```
pub fn layer(tracer: &Tracer) -> TraceLayer {
    TraceLayer {
        tracer: tracer.clone(),
    }
}

impl<S> Layer<S> for TraceLayer
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if SENDS_SPANS.get() {
            return;
        }
        let Some(stored) = context.span(id) else {
            return;
        };
        let named = Named::of(attributes);
        let name = named.name.unwrap_or(attributes.metadata().name().into());
        let mut span = match parent(attributes, &context) {
            Parent::Current => self.tracer.start_span(name),
            Parent::Span(parent) => self.tracer.start_span(name).with_parent(&parent),
            Parent::None => {
                let _no_parent = SpanContext::NONE.attach();
                self.tracer.start_span(name)
            }
        };
        if span.is_recording() {
            span = span.with_kind(named.kind);
            span = SpanFields::of_new(span, |fields| attributes.record(fields));
        }
        stored.extensions_mut().replace(Traced(Some(span)));
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if !is_recording(id, &context) {
            return;
        }
        // What shows a field may use the same span, whose place is not to be locked meanwhile.
        let fields = SpanFields::of_known(|fields| values.record(fields));
        change(id, &context, |span| fields.put_into(span));
    }

    fn on_follows_from(&self, id: &Id, follows: &Id, context: Context<'_, S>) {
        if let Some(other) = context_of(follows, &context) {
            change(id, &context, |span| span.with_link(&other));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let Some(stored) = context.event_span(event) else {
            return;
        };
        if !is_recorded(&stored.extensions()) {
            return;
        }
        // As in `on_record`.
        let fields = EventFields::of(event);
        let metadata = event.metadata();
        let is_error = *metadata.level() == Level::ERROR;
        let reason = is_error.then(|| fields.reason());
        let (name, tags) = fields.name_and_tags(metadata);
        let extensions = stored.extensions();
        let Some(Traced(Some(span))) = extensions.get::<Traced>() else {
            return;
        };
        if let Some(reason) = reason {
            span.set_status(Status::Error(reason.into()));
        }
        span.add_event_with(name, tags);
    }

    fn on_enter(&self, id: &Id, context: Context<'_, S>) {
        if let Some(current) = context_of(id, &context) {
            entered::enter(id, &current);
        }
    }

    fn on_exit(&self, id: &Id, _context: Context<'_, S>) {
        entered::exit(id);
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        // Now, and not when the registry reuses the place.
        if let Some(stored) = context.span(&id) {
            let traced = stored.extensions_mut().remove::<Traced>();
            drop(traced);
        }
    }
}

/// What a new span is a part of.
enum Parent {
    /// What the thread is at.
    Current,
    /// Nothing, as the program wants it.
    None,
    Span(SpanContext),
}

fn parent<S>(attributes: &Attributes<'_>, context: &Context<'_, S>) -> Parent
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    if attributes.is_root() {
        return Parent::None;
    }
    // A span that is entered is the thread's current one already.
    let explicit = attributes.parent();
    let explicit = explicit.and_then(|parent| context_of(parent, context));
    explicit.map_or(Parent::Current, Parent::Span)
}

fn context_of<S>(id: &Id, context: &Context<'_, S>) -> Option<SpanContext>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let stored = context.span(id)?;
    let extensions = stored.extensions();
    let Traced(span) = extensions.get::<Traced>()?;
    Some(span.as_ref()?.context())
}

fn is_recording<S>(id: &Id, context: &Context<'_, S>) -> bool
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let stored = context.span(id);
    stored.is_some_and(|stored| is_recorded(&stored.extensions()))
}

fn is_recorded(extensions: &Extensions<'_>) -> bool {
    let traced = extensions.get::<Traced>();
    traced.is_some_and(|Traced(span)| span.as_ref().is_some_and(Span::is_recording))
}

/// Replaces a span by what is made of it, if it is recorded.
fn change<S>(id: &Id, context: &Context<'_, S>, change: impl FnOnce(Span) -> Span)
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let Some(stored) = context.span(id) else {
        return;
    };
    let mut extensions = stored.extensions_mut();
    let Some(Traced(place)) = extensions.get_mut::<Traced>() else {
        return;
    };
    if place.as_ref().is_some_and(Span::is_recording) {
        *place = place.take().map(change);
    }
}
