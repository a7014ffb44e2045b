//! What of a span its children know, in this process and in others.
//!
//! Knows nothing of what is recorded.

use super::{
    current::Attached,
    ids::{SpanId, TraceId},
    thread,
    tracestate::TraceState,
};

/// The flags of a trace: <https://www.w3.org/TR/trace-context-2/#trace-flags>.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TraceFlags(u8);

impl TraceFlags {
    /// The trace is recorded.
    pub const SAMPLED: Self = Self(1);

    /// The last 7 bytes of the trace's id are random, so that it can be decided by them what is
    /// recorded.
    pub const RANDOM: Self = Self(2);

    const KNOWN: u8 = Self::SAMPLED.0 | Self::RANDOM.0;

    /// The flags in this byte, of which only known ones are kept.
    #[inline]
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits & Self::KNOWN)
    }

    /// The flags as a byte.
    #[inline]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Whether the trace is recorded.
    #[inline]
    pub const fn is_sampled(self) -> bool {
        self.0 & Self::SAMPLED.0 != 0
    }
}

/// What of a span its children know: where it belongs, and whether it is recorded.
///
/// It goes with a request to other threads, processes and nodes, where spans of other tracers
/// become its children.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SpanContext {
    pub(super) trace_id: TraceId,
    pub(super) span_id: SpanId,
    pub(super) flags: TraceFlags,
    pub(super) is_remote: bool,
    pub(super) trace_state: Option<TraceState>,
}

impl SpanContext {
    /// The context that no span has.
    pub(super) const NONE: Self = Self::new(TraceId::INVALID, SpanId::INVALID, TraceFlags(0));

    /// The context of a span of this process.
    pub const fn new(trace_id: TraceId, span_id: SpanId, flags: TraceFlags) -> Self {
        Self {
            trace_id,
            span_id,
            flags,
            is_remote: false,
            trace_state: None,
        }
    }

    /// The trace that the span belongs to.
    pub const fn trace_id(&self) -> TraceId {
        self.trace_id
    }

    /// What the span is told apart by.
    pub const fn span_id(&self) -> SpanId {
        self.span_id
    }

    /// The flags of the trace.
    pub const fn flags(&self) -> TraceFlags {
        self.flags
    }

    /// Whether the trace is recorded.
    pub const fn is_sampled(&self) -> bool {
        self.flags.is_sampled()
    }

    /// Whether the span is one of another process.
    pub const fn is_remote(&self) -> bool {
        self.is_remote
    }

    /// What other systems have said of the trace.
    pub const fn trace_state(&self) -> Option<&TraceState> {
        self.trace_state.as_ref()
    }

    /// The same context, with what other systems have said of the trace.
    #[must_use]
    pub fn with_trace_state(mut self, trace_state: Option<TraceState>) -> Self {
        self.trace_state = trace_state;
        self
    }

    /// The context of this thread's current span, if it has one.
    pub fn current() -> Option<Self> {
        // SAFETY: The view is gone when it was copied.
        let current = thread::with(|own| unsafe { own.current.view() }.to_context());
        Some(current).filter(Self::is_valid)
    }

    /// Makes this the context of the thread's current span, as long as the guard lives: whatever the
    /// thread starts without another parent is a child of it.
    pub fn attach(&self) -> Attached {
        Attached::new(self.clone())
    }

    /// Whether there may be such a span. One that is no valid parent makes no child.
    #[inline]
    pub const fn is_valid(&self) -> bool {
        self.trace_id.is_valid() && self.span_id.is_valid()
    }
}

/// What a span can be a child of: a [`super::Span`] or a [`SpanContext`].
pub trait Parent: sealed::Parent {}

impl Parent for SpanContext {}

pub(super) mod sealed {
    use super::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

    /// A context that is looked at where it is.
    pub struct View<'a> {
        pub(in crate::trace) trace_id: TraceId,
        pub(in crate::trace) span_id: SpanId,
        pub(in crate::trace) flags: TraceFlags,
        pub(in crate::trace) is_remote: bool,
        pub(in crate::trace) trace_state: Option<&'a TraceState>,
    }

    impl View<'_> {
        pub(in crate::trace) fn to_context(&self) -> SpanContext {
            SpanContext {
                trace_id: self.trace_id,
                span_id: self.span_id,
                flags: self.flags,
                is_remote: self.is_remote,
                trace_state: self.trace_state.cloned(),
            }
        }
    }

    pub trait Parent {
        fn view(&self) -> View<'_>;
    }

    impl Parent for SpanContext {
        #[inline]
        fn view(&self) -> View<'_> {
            View {
                trace_id: self.trace_id,
                span_id: self.span_id,
                flags: self.flags,
                is_remote: self.is_remote,
                trace_state: self.trace_state.as_ref(),
            }
        }
    }
}
