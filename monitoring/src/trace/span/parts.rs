//! What a span consists of, as words that can be in registers.
//!
//! The compiler keeps a value in memory, and copies it from place to place, as soon as anything gets
//! a reference to it, be it for the case of a panic. With the copies a span that is not recorded
//! took three times as long. So everything here takes and returns words.

use std::ptr::{self, NonNull};

use super::super::{
    context::{TraceFlags, sealed::View},
    ids::{SpanId, TraceId},
    open::Open,
    record::{Origin, Record},
    spool::Outcome,
    text::{Text, Word},
    thread,
    tracer::Core,
    tracestate::{RawState, TraceState},
};
use crate::clock;

/// A span, without the duty to end it.
#[derive(Clone, Copy)]
pub(super) struct Parts {
    pub(super) core: &'static Core,
    pub(super) trace_id: TraceId,
    pub(super) span_id: SpanId,
    /// What is recorded; none if nothing is.
    pub(super) open: Option<NonNull<Open>>,
    /// The name of a span that is not recorded, in case that it gets a parent that is.
    name: Word,
    trace_state: RawState,
    flags: u32,
    /// Tags that were said of it when it was not recorded.
    lost_tags: u32,
}

impl Parts {
    /// What is inlined here is all that there is to do for a span that is not recorded.
    #[inline(always)]
    pub(super) fn start(core: &'static Core, name: Text) -> Self {
        // SAFETY: What is the thread's own is used within this function.
        let own = unsafe { thread::own() };
        let span_id = SpanId::from_u64(own.random.draw_id());
        // SAFETY: Nothing here enters or leaves a span.
        let parent = unsafe { own.current.view() };
        let (trace_id, flags) = if parent.span_id.is_valid() {
            let flags = core.sampling.flags_within(parent.trace_id, parent.flags);
            (parent.trace_id, flags)
        } else {
            core.begin_trace(own)
        };
        let name = name.into_raw();
        let (open, name) = if core.wants(flags) {
            let origin = Origin::new(flags, parent.is_remote);
            // SAFETY: The word is not used again.
            let open = unsafe { begin(trace_id, span_id, parent.span_id, origin, name) };
            (Some(open), ptr::null_mut())
        } else {
            (None, name)
        };
        Self {
            core,
            trace_id,
            span_id,
            open,
            name,
            trace_state: TraceState::share(parent.trace_state),
            flags: flags.bits().into(),
            lost_tags: 0,
        }
    }

    /// The same span as a child of `parent`. The former is not used again.
    #[inline(always)]
    pub(super) fn inherit(self, parent: &View<'_>) -> Self {
        let sampling = self.core.sampling;
        let flags = sampling.flags_within(parent.trace_id, parent.flags);
        let origin = Origin::new(flags, parent.is_remote);
        let (open, name) = match (self.open, self.core.wants(flags)) {
            (None, false) => (None, self.name),
            (Some(mut open), true) => {
                // SAFETY: The box is the span's, whose owner is the caller.
                let record = unsafe { open.as_mut() }.get_mut();
                record.adopt(parent.trace_id, parent.span_id, origin);
                (Some(open), self.name)
            }
            (None, true) => {
                let (trace_id, parent_id) = (parent.trace_id, parent.span_id);
                // SAFETY: The word is not used again.
                let open = unsafe { begin(trace_id, self.span_id, parent_id, origin, self.name) };
                if self.lost_tags > 0 {
                    // SAFETY: The box is the span's, whose owner is the caller.
                    unsafe { lose_tags(open, self.lost_tags) };
                }
                (Some(open), ptr::null_mut())
            }
            // SAFETY: The span has the box no more.
            (Some(open), false) => (None, unsafe { forget(open) }),
        };
        let trace_state = TraceState::share(parent.trace_state);
        // SAFETY: The share is not used again.
        unsafe { TraceState::release(self.trace_state) };
        Self {
            trace_id: parent.trace_id,
            open,
            name,
            trace_state,
            flags: flags.bits().into(),
            lost_tags: 0,
            ..self
        }
    }

    /// The same span, of which a tag is lost if it is not recorded.
    #[inline(always)]
    pub(super) fn with_lost_tag(self) -> Self {
        Self {
            lost_tags: self.lost_tags.wrapping_add(self.open.is_none().into()),
            ..self
        }
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "they were a byte")]
    pub(super) fn flags(&self) -> TraceFlags {
        TraceFlags::from_bits(self.flags as u8)
    }

    #[inline]
    pub(super) fn trace_state(&self) -> Option<&TraceState> {
        // SAFETY: The share is the span's, which is borrowed.
        unsafe { TraceState::borrow(&self.trace_state) }
    }

    /// Ends the span.
    ///
    /// # Safety
    ///
    /// The parts are not used again.
    #[inline(always)]
    pub(super) unsafe fn end(self) {
        if let Some(open) = self.open {
            // SAFETY: As the caller says. A span that is recorded has no name beside the record.
            return unsafe { finish(self.core, open, self.trace_state) };
        }
        let outcome = if self.flags().is_sampled() {
            Outcome::Unrecorded
        } else {
            Outcome::SampledOut
        };
        // SAFETY: What is the thread's own is used within this function.
        unsafe { thread::own() }.count(&self.core.spool, outcome);
        // SAFETY: As the caller says.
        unsafe {
            drop(Text::from_raw(self.name));
            TraceState::release(self.trace_state);
        }
    }
}

/// Begins to record.
///
/// # Safety
///
/// The name is a text, which is not used again.
#[inline(never)]
unsafe fn begin(
    trace_id: TraceId,
    span_id: SpanId,
    parent_id: SpanId,
    origin: Origin,
    name: Word,
) -> NonNull<Open> {
    let start = clock::now().0;
    let open = thread::with(|own| own.spares.take());
    // SAFETY: As the caller says.
    let name = unsafe { Text::from_raw(name) };
    let record = Record::begin(trace_id, span_id, parent_id, origin, name, start);
    // SAFETY: The box is the caller's, and has nothing in it yet.
    unsafe { open.write(Open::new(record)) };
    open
}

/// # Safety
///
/// The box is a span's, whose owner is the caller.
#[cold]
#[inline(never)]
unsafe fn lose_tags(mut open: NonNull<Open>, count: u32) {
    // SAFETY: As the caller says.
    unsafe { open.as_mut() }.get_mut().lose_tags(count);
}

/// Ends to record, as if it had never begun, and returns the span's name.
///
/// # Safety
///
/// The box was a span's, which has it no more.
#[cold]
#[inline(never)]
unsafe fn forget(mut open: NonNull<Open>) -> Word {
    // SAFETY: As the caller says.
    unsafe {
        let record = open.as_mut().get_mut();
        let name = record.take_name();
        ptr::drop_in_place(record);
        thread::with(|own| own.spares.put(open));
        name.into_raw()
    }
}

/// Hands what was recorded to the thread's lane.
///
/// # Safety
///
/// The box and the state were a span's, which has them no more.
#[inline(never)]
unsafe fn finish(core: &'static Core, mut open: NonNull<Open>, state: RawState) {
    let end = clock::now().0;
    if !core.has_sink() {
        // The tracer was shut down in the meantime: nobody would read it.
        // SAFETY: As the caller says.
        return unsafe { finish_unread(core, open, state) };
    }
    // SAFETY: As the caller says.
    let record = unsafe { open.as_mut() }.get_mut();
    record.end = end;
    if state.is_some() {
        // SAFETY: As the caller says.
        record.rest_mut().trace_state = unsafe { TraceState::from_raw(state) };
    }
    thread::with(|own| {
        // SAFETY: The record is whole, and the box is not used again but as a spare.
        own.with_lane(&core.spool, |lane| unsafe {
            lane.push(record, &core.spool);
        });
        // SAFETY: The record was moved out.
        unsafe { own.spares.put(open) };
    });
}

/// # Safety
///
/// As of [`finish`].
#[cold]
#[inline(never)]
unsafe fn finish_unread(core: &'static Core, open: NonNull<Open>, state: RawState) {
    // SAFETY: As the caller says, and the name is not used again.
    unsafe {
        drop(Text::from_raw(forget(open)));
        TraceState::release(state);
    }
    thread::with(|own| own.count(&core.spool, Outcome::Unrecorded));
}
