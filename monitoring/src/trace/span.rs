//! Spans as those who make them have them.
//!
//! Knows nothing of who gets them when they have ended.

mod parts;

use std::{borrow::Cow, error::Error, fmt, mem::ManuallyDrop};

use self::parts::Parts;
use super::{
    context::{
        Parent, SpanContext,
        sealed::{self, View},
    },
    current::Entered,
    finished::{Event, Link, SpanKind, Status},
    record::Record,
    tag::{Tag, TagValue},
    text::Text,
    tracer::Core,
};
use crate::clock;

/// Something that takes time, with what is said of it. It ends when it is dropped.
///
/// What is said of a span whose trace is not recorded costs next to nothing, and is forgotten.
///
/// # Example
///
/// ```
/// use monitoring::{Tracer, trace::{SpanKind, Status}};
///
/// let tracer = Tracer::new("stratoswarm");
/// let request = tracer.start_span("process_request").with_kind(SpanKind::Server);
/// {
///     let _current = request.enter();
///     let query = tracer.start_span("database_query").with_tag("db.rows", 3);
///     assert_eq!(query.context().trace_id(), request.context().trace_id());
/// }
/// request.set_status(Status::Ok);
/// ```
pub struct Span(Parts);

// SAFETY: The box is the span's own, and the record in it may be sent. What takes the span by
// reference locks it. The name and the state of the trace may be sent and shared.
unsafe impl Send for Span {}

// SAFETY: As above.
unsafe impl Sync for Span {}

impl Span {
    #[inline(always)]
    pub(super) fn start(core: &'static Core, name: Text) -> Self {
        Self(Parts::start(core, name))
    }

    /// The parts, with the duty to end the span.
    #[inline(always)]
    fn into_parts(self) -> Parts {
        ManuallyDrop::new(self).0
    }

    /// Makes it a child of `parent`, whether that is recorded or not. A parent that is not valid is
    /// no parent.
    ///
    /// It is to be called first: if the span was not to be recorded and its parent is, recording
    /// begins here. What was said of it before is lost then; lost tags are counted as dropped.
    #[inline]
    #[must_use = "the span ends when it is dropped"]
    pub fn with_parent(self, parent: &impl Parent) -> Self {
        let parent = parent.view();
        if !parent.trace_id.is_valid() || !parent.span_id.is_valid() {
            return self;
        }
        Self(self.into_parts().inherit(&parent))
    }

    /// Says something of the span. Of several tags with one key the last one counts. Tags of keys
    /// beyond the first 128 are dropped, and counted.
    #[inline]
    #[must_use = "the span ends when it is dropped"]
    pub fn with_tag(
        self,
        key: impl Into<Cow<'static, str>>,
        value: impl Into<TagValue<'static>>,
    ) -> Self {
        let (key, value) = (key.into(), value.into());
        let parts = self.into_parts();
        if let Some(mut open) = parts.open {
            // SAFETY: The box is the span's, whose owner this is.
            unsafe { open.as_mut() }.get_mut().push_tag(key, value);
        }
        Self(parts.with_lost_tag())
    }

    /// What is recorded, for the span's owner.
    #[inline]
    fn record_mut(&mut self) -> Option<&mut Record> {
        let open = self.0.open.as_mut()?;
        // SAFETY: The box is the span's, which is borrowed as a whole.
        Some(unsafe { open.as_mut() }.get_mut())
    }

    /// Calls `f` with what is recorded, if anything is.
    #[inline]
    fn record_with(&self, f: impl FnOnce(&mut Record)) {
        if let Some(open) = &self.0.open {
            // SAFETY: The box is the span's, and is not freed while that is borrowed.
            f(&mut unsafe { open.as_ref() }.lock());
        }
    }

    /// Names another span that this one has to do with. Links beyond 128 are dropped, and counted.
    #[must_use = "the span ends when it is dropped"]
    pub fn with_link(mut self, context: &SpanContext) -> Self {
        if let Some(record) = self.record_mut() {
            record.push_link(Link {
                context: context.clone(),
                tags: Vec::new(),
            });
        }
        self
    }

    /// Says what it has to do with spans of other processes.
    #[inline]
    #[must_use = "the span ends when it is dropped"]
    pub fn with_kind(mut self, kind: SpanKind) -> Self {
        if let Some(record) = self.record_mut() {
            record.kind = kind;
        }
        self
    }

    /// Says something of the span, as [`Self::with_tag`] does.
    #[inline]
    pub fn set_tag(&self, key: impl Into<Cow<'static, str>>, value: impl Into<TagValue<'static>>) {
        if !self.is_recording() {
            return;
        }
        // What converts may be the program's own, and say something of the span itself.
        let (key, value) = (key.into(), value.into());
        self.record_with(|record| record.push_tag(key, value));
    }

    /// Says that something happens now. Events beyond 128 are dropped, and counted.
    pub fn add_event(&self, name: impl Into<Cow<'static, str>>) {
        self.add_event_with::<Tag>(name, []);
    }

    /// Says that something happens now, and what else there is to say of it.
    ///
    /// # Example
    ///
    /// ```
    /// # let span = monitoring::Tracer::new("stratoswarm").start_span("database_query");
    /// span.add_event_with("retried", [("attempt", 2)]);
    /// ```
    pub fn add_event_with<T: Into<Tag>>(
        &self,
        name: impl Into<Cow<'static, str>>,
        tags: impl IntoIterator<Item = T>,
    ) {
        if !self.is_recording() {
            return;
        }
        let at = clock::now().0;
        let event = Event::new(name.into(), at, tags.into_iter().map(Into::into));
        self.record_with(|record| record.push_event(event));
    }

    /// Says how it went. See [`Status`] for what counts if it is said several times.
    pub fn set_status(&self, status: Status) {
        self.record_with(|record| record.set_status(status));
    }

    /// Says that it fails with this error: as its status, and as an event `exception` that names
    /// the error and those behind it.
    pub fn record_error(&self, error: &dyn Error) {
        if !self.is_recording() {
            return;
        }
        let message = error.to_string();
        let mut tags = vec![Tag::new("exception.message", message.clone())];
        let mut causes = Vec::new();
        let mut cause = error.source();
        while let Some(error) = cause {
            causes.push(error.to_string());
            cause = error.source();
        }
        if !causes.is_empty() {
            tags.push(Tag::new("exception.causes", causes.join(": ")));
        }
        self.add_event_with("exception", tags);
        self.set_status(Status::Error(message.into()));
    }

    /// What its children know of it, in this process and in others.
    #[inline]
    pub fn context(&self) -> SpanContext {
        SpanContext {
            trace_id: self.0.trace_id,
            span_id: self.0.span_id,
            flags: self.0.flags(),
            is_remote: false,
            trace_state: self.0.trace_state().cloned(),
        }
    }

    /// Whether it is worth the while to find out what could be said of it.
    #[inline]
    pub fn is_recording(&self) -> bool {
        self.0.open.is_some()
    }

    /// Makes it the thread's current span, as long as the guard lives: whatever the thread starts
    /// without another parent is a child of it.
    ///
    /// A guard belongs to its thread. In asynchronous code, [`super::TraceFuture::in_span`] enters
    /// the span whenever the future runs.
    #[inline]
    pub fn enter(&self) -> Entered<'_> {
        Entered::new(self)
    }

    /// Ends it, as dropping it does.
    #[inline]
    pub fn end(self) {}
}

impl Drop for Span {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: The span is about to be gone.
        unsafe { self.0.end() };
    }
}

impl Parent for Span {}

impl sealed::Parent for Span {
    #[inline]
    fn view(&self) -> View<'_> {
        View {
            trace_id: self.0.trace_id,
            span_id: self.0.span_id,
            flags: self.0.flags(),
            is_remote: false,
            trace_state: self.0.trace_state(),
        }
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Span")
            .field("trace_id", &self.0.trace_id)
            .field("span_id", &self.0.span_id)
            .field("is_recording", &self.is_recording())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{sampling::Sampling, tracer::Tracer},
        *,
    };

    fn tracer(sampling: Sampling) -> Tracer {
        Tracer::from_core(Core::leaked(sampling, true))
    }

    /// Whether a child of this parent is recorded: of the thread's current span, and of one that is
    /// given later.
    fn records_children(tracer: &Tracer, parent: &Span) -> [bool; 2] {
        let late = tracer.start_span("late").with_parent(parent);
        let _current = parent.enter();
        [tracer.start_span("child"), late].map(|child| {
            let context = child.context();
            assert_eq!(context.trace_id(), parent.context().trace_id());
            // Those of other processes are told the same.
            assert_eq!(context.is_sampled(), child.is_recording());
            child.is_recording()
        })
    }

    #[test]
    fn some_samplings_decide_for_each_span() {
        let [all, none] = [Sampling::ALL, Sampling::NONE].map(tracer);
        let [sampled, unsampled] = [&all, &none].map(|tracer| tracer.start_span("parent"));
        for tracer in [&all, &none] {
            assert_eq!(records_children(tracer, &sampled), [true; 2]);
            assert_eq!(records_children(tracer, &unsampled), [false; 2]);
        }
        let each = [Sampling::ALL, Sampling::NONE].map(Sampling::regardless_of_parents);
        let [all, none] = each.map(tracer);
        for parent in [&sampled, &unsampled] {
            assert_eq!(records_children(&all, parent), [true; 2]);
            assert_eq!(records_children(&none, parent), [false; 2]);
        }
        assert!(all.start_span("root").is_recording() && !none.start_span("root").is_recording());
    }
}
