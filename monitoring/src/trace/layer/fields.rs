//! The fields of spans and events of `tracing`, as tags. Knows nothing of when they are recorded.

use std::{borrow::Cow, error::Error, fmt, fmt::Write as _};

use tracing_core::{
    Event, Metadata,
    field::{Field, Visit},
    span::Attributes,
};

use crate::trace::{Span, SpanKind, Status, Tag, TagValue};

/// The fields that say something of the span itself begin so.
const OTEL: &str = "otel.";

/// What fields say of a span that has to be known when it starts.
#[derive(Default)]
pub(super) struct Named {
    pub(super) name: Option<Cow<'static, str>>,
    pub(super) kind: SpanKind,
}

impl Named {
    pub(super) fn of(attributes: &Attributes<'_>) -> Self {
        let mut named = Self::default();
        let mut fields = attributes.metadata().fields().iter();
        if fields.any(|field| field.name().starts_with(OTEL)) {
            attributes.record(&mut named);
        }
        named
    }
}

impl Visit for Named {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "otel.name" => self.name = Some(value.to_owned().into()),
            "otel.kind" => self.kind = kind(value),
            _ => {}
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name().starts_with(OTEL) {
            self.record_str(field, &format!("{value:?}"));
        }
    }
}

fn kind(name: &str) -> SpanKind {
    match name.to_ascii_lowercase().as_str() {
        "server" => SpanKind::Server,
        "client" => SpanKind::Client,
        "producer" => SpanKind::Producer,
        "consumer" => SpanKind::Consumer,
        _ => SpanKind::Internal,
    }
}

/// Collects the fields of a span.
pub(super) struct SpanFields {
    tags: Tags,
    /// Whether it failed, if a field says so, and why.
    failed: Option<bool>,
    reason: String,
}

/// Where tags go.
enum Tags {
    /// Into a span that nobody else has yet. None for a moment only.
    Span(Option<Span>),
    /// Nowhere yet.
    Later(Vec<Tag>),
}

impl SpanFields {
    /// A new span, with the fields that `record` gives.
    pub(super) fn of_new(span: Span, record: impl FnOnce(&mut Self)) -> Span {
        let fields = Self::collect(Tags::Span(Some(span)), record);
        let Tags::Span(Some(span)) = fields.tags else {
            unreachable!("the span is put back at once wherever it is taken");
        };
        set_status(&span, fields.failed, fields.reason);
        span
    }

    /// The fields that `record` gives, for a span that others have as well: what shows a field may
    /// be the program's own, and say something of that span itself.
    pub(super) fn of_known(record: impl FnOnce(&mut Self)) -> Self {
        Self::collect(Tags::Later(Vec::new()), record)
    }

    fn collect(tags: Tags, record: impl FnOnce(&mut Self)) -> Self {
        let mut fields = Self {
            tags,
            failed: None,
            reason: String::new(),
        };
        record(&mut fields);
        fields
    }

    /// The span, with these fields.
    pub(super) fn put_into(self, mut span: Span) -> Span {
        if let Tags::Later(tags) = self.tags {
            for Tag { key, value } in tags {
                span = span.with_tag(key, value);
            }
        }
        set_status(&span, self.failed, self.reason);
        span
    }

    fn tag(&mut self, field: &Field, value: TagValue<'static>) {
        let name = field.name();
        if let (true, TagValue::Text(text)) = (name.starts_with(OTEL), &value) {
            match name {
                "otel.name" | "otel.kind" => return,
                "otel.status_code" => {
                    self.failed = match text.to_ascii_lowercase().as_str() {
                        "ok" => Some(false),
                        "error" => Some(true),
                        _ => None,
                    };
                    return;
                }
                "otel.status_message" | "otel.status_description" => {
                    self.reason = text.to_string();
                    return;
                }
                _ => {}
            }
        }
        match &mut self.tags {
            Tags::Span(span) => *span = span.take().map(|span| span.with_tag(name, value)),
            Tags::Later(tags) => tags.push(Tag::new(name, value)),
        }
    }
}

fn set_status(span: &Span, failed: Option<bool>, reason: String) {
    match failed {
        Some(true) => span.set_status(Status::Error(reason.into())),
        Some(false) => span.set_status(Status::Ok),
        None if !reason.is_empty() => span.set_status(Status::Error(reason.into())),
        None => {}
    }
}

/// What happened in an event.
#[derive(Default)]
pub(super) struct EventFields {
    message: Option<String>,
    error: Option<String>,
    tags: Vec<Tag>,
}

impl EventFields {
    pub(super) fn of(event: &Event<'_>) -> Self {
        let mut fields = Self::default();
        event.record(&mut fields);
        fields
    }

    /// Why something failed, if that is what it says.
    pub(super) fn reason(&self) -> String {
        let reason = self.message.as_ref().or(self.error.as_ref());
        reason.cloned().unwrap_or_default()
    }

    /// What the event is called, and what else is said of it.
    pub(super) fn name_and_tags(
        self,
        metadata: &'static Metadata<'static>,
    ) -> (Cow<'static, str>, Vec<Tag>) {
        let mut tags = self.tags;
        tags.push(Tag::new("level", metadata.level().as_str()));
        tags.push(Tag::new("target", metadata.target()));
        // An event without a message is named by its place in the source, which is still a name.
        let name = self.message.map(Cow::Owned);
        (name.unwrap_or(metadata.name().into()), tags)
    }

    fn tag(&mut self, field: &Field, value: TagValue<'static>) {
        match value {
            TagValue::Text(text) if field.name() == "message" => {
                self.message = Some(text.into_owned());
            }
            value => self.tags.push(Tag::new(field.name(), value)),
        }
    }
}

/// Both take what a field may be as values of tags.
macro_rules! visit {
    ($visitor:ty: $($also:tt)*) => {
        impl Visit for $visitor {
            fn record_f64(&mut self, field: &Field, value: f64) {
                self.tag(field, value.into());
            }

            fn record_i64(&mut self, field: &Field, value: i64) {
                self.tag(field, value.into());
            }

            fn record_u64(&mut self, field: &Field, value: u64) {
                self.tag(field, value.into());
            }

            fn record_i128(&mut self, field: &Field, value: i128) {
                self.tag(field, value.into());
            }

            fn record_u128(&mut self, field: &Field, value: u128) {
                self.tag(field, value.into());
            }

            fn record_bool(&mut self, field: &Field, value: bool) {
                self.tag(field, value.into());
            }

            fn record_str(&mut self, field: &Field, value: &str) {
                self.tag(field, value.to_owned().into());
            }

            fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
                self.tag(field, format!("{value:?}").into());
            }

            $($also)*
        }
    };
}

visit!(SpanFields:
    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.tag(field, chain(value).into());
    }
);

visit!(EventFields:
    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        let text = chain(value);
        self.tag(field, text.clone().into());
        self.error = Some(text);
    }
);

/// An error with what caused it.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        // Writing to a string does not fail.
        let _ = write!(text, ": {error}");
        source = error.source();
    }
    text
}
