//! Spans that have ended, as sinks get them, and what they are made of.
//!
//! Knows nothing of how a sink sends them.

use std::{
    borrow::Cow,
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::{
    context::{SpanContext, TraceFlags},
    ids::{SpanId, TraceId},
    record::{MOST, Record},
    tag::{Tag, TagValue},
    tracestate::TraceState,
};
use crate::clock::{Calibration, Ticks};

/// What a span has to do with the spans of other processes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u8)]
pub enum SpanKind {
    /// Nothing: it is work within this process.
    #[default]
    Internal,
    /// It handles a request, and whoever sent that waits.
    Server,
    /// It waits for the answer to a request.
    Client,
    /// It sends a message, and does not wait.
    Producer,
    /// It handles a message.
    Consumer,
}

/// How it went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Status {
    /// Nobody said.
    #[default]
    Unset,
    /// Well. This is final: whoever looks at the whole knows that an error within did not matter.
    Ok,
    /// It failed, for this reason.
    Error(Cow<'static, str>),
}

/// Something that happened during a span.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// What happened.
    pub name: Cow<'static, str>,
    /// In ticks until the span is read, then in nanoseconds since 1970.
    pub(super) at: u64,
    /// What else is said of it.
    pub tags: Vec<Tag>,
    /// How many tags it had beyond the limit of 128.
    pub dropped_tags: u32,
}

/// Another span that a span has to do with, such as that of a message in a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Link {
    /// The other span.
    pub context: SpanContext,
    /// What else is said of it.
    pub tags: Vec<Tag>,
}

/// A span that has ended.
pub struct FinishedSpan(Record);

impl Event {
    pub(super) fn new(name: Cow<'static, str>, at: u64, tags: impl Iterator<Item = Tag>) -> Self {
        let mut tags = tags.fuse();
        Self {
            name,
            at,
            tags: tags.by_ref().take(MOST).collect(),
            dropped_tags: u32::try_from(tags.count()).unwrap_or(u32::MAX),
        }
    }

    /// When it happened.
    pub fn time(&self) -> SystemTime {
        time_of(self.at)
    }

    /// When it happened, in nanoseconds since 1970.
    pub fn unix_ns(&self) -> u64 {
        self.at
    }
}

impl FinishedSpan {
    /// Reads a record, whose moments are in ticks.
    #[inline]
    pub(super) fn new(mut record: Record, calibration: &Calibration) -> Self {
        let at = |ticks| calibration.unix_nanoseconds(Ticks(ticks));
        // A duration is exact even if the time of day is far from where the clocks were compared.
        let duration = calibration.nanoseconds(record.end.saturating_sub(record.start));
        record.start = at(record.start);
        record.end = record.start.saturating_add(duration);
        if let Some(rest) = record.rest_if_any() {
            for event in &mut rest.events {
                event.at = at(event.at);
            }
        }
        Self(record)
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        self.0.name()
    }

    /// The trace that it belongs to.
    pub fn trace_id(&self) -> TraceId {
        self.0.trace_id
    }

    /// What it is told apart by.
    pub fn span_id(&self) -> SpanId {
        self.0.span_id
    }

    /// The span that it is a part of; none if it is a root.
    pub fn parent_id(&self) -> Option<SpanId> {
        Some(self.0.parent_id).filter(|id| id.is_valid())
    }

    /// Whether the parent is a span of another process.
    pub fn parent_is_remote(&self) -> bool {
        self.0.parent_is_remote()
    }

    /// The flags of its trace.
    pub fn flags(&self) -> TraceFlags {
        TraceFlags::from_bits(self.0.flags())
    }

    /// What other systems have said of the trace.
    pub fn trace_state(&self) -> Option<&TraceState> {
        self.0.rest()?.trace_state.as_ref()
    }

    /// What it has to do with spans of other processes.
    pub fn kind(&self) -> SpanKind {
        self.0.kind
    }

    /// How it went.
    pub fn status(&self) -> Status {
        self.0.status()
    }

    /// When it started.
    pub fn start(&self) -> SystemTime {
        time_of(self.0.start)
    }

    /// When it ended.
    pub fn end(&self) -> SystemTime {
        time_of(self.0.end)
    }

    /// When it started, in nanoseconds since 1970.
    pub fn start_unix_ns(&self) -> u64 {
        self.0.start
    }

    /// When it ended, in nanoseconds since 1970.
    pub fn end_unix_ns(&self) -> u64 {
        self.0.end
    }

    /// How long it took.
    pub fn duration(&self) -> Duration {
        Duration::from_nanos(self.0.end - self.0.start)
    }

    /// What is said of it, in the order in which it was said. No key is there twice: the last value
    /// counts.
    pub fn tags(&self) -> impl Iterator<Item = (&str, TagValue<'_>)> {
        self.0.tags()
    }

    /// The tag of this key.
    pub fn tag(&self, key: &str) -> Option<TagValue<'_>> {
        self.tags()
            .find_map(|(name, value)| (name == key).then_some(value))
    }

    /// What happened during it.
    pub fn events(&self) -> &[Event] {
        self.0.rest().map_or(&[], |rest| &rest.events)
    }

    /// What other spans it has to do with.
    pub fn links(&self) -> &[Link] {
        self.0.rest().map_or(&[], |rest| &rest.links)
    }

    /// How many tags it had beyond the limit of 128, or before [`super::Span::with_parent`] on a
    /// span that was not recorded until then.
    pub fn dropped_tags(&self) -> u32 {
        self.0.rest().map_or(0, |rest| rest.dropped_tags)
    }

    /// How many events it had beyond the limit of 128.
    pub fn dropped_events(&self) -> u32 {
        self.0.rest().map_or(0, |rest| rest.dropped_events)
    }

    /// How many links it had beyond the limit of 128.
    pub fn dropped_links(&self) -> u32 {
        self.0.rest().map_or(0, |rest| rest.dropped_links)
    }
}

impl fmt::Debug for FinishedSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FinishedSpan")
            .field("name", &self.name())
            .field("trace_id", &self.trace_id())
            .field("span_id", &self.span_id())
            .field("parent_id", &self.parent_id())
            .field("kind", &self.kind())
            .field("status", &self.status())
            .field("start", &self.start())
            .field("duration", &self.duration())
            .field("tags", &self.tags().collect::<Vec<_>>())
            .field("events", &self.events())
            .field("links", &self.links())
            .finish_non_exhaustive()
    }
}

fn time_of(unix_ns: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(unix_ns)
}
