//! The current span of a thread, and the guards that make spans current.
//!
//! Knows nothing of what is recorded.

use std::{
    cell::{Cell, RefCell},
    marker::PhantomData,
    mem::ManuallyDrop,
};

use super::{
    context::{
        SpanContext,
        sealed::{self, View},
    },
    kernel_context,
    span::Span,
    thread,
};

/// The current span of a thread: whatever it starts without another parent is a child of it.
pub(super) struct Current {
    /// Invalid if there is none. It is dropped by hand, so that a thread's own needs no destructor.
    context: Cell<ManuallyDrop<SpanContext>>,
    /// How many guards there are, of which each knows its number.
    depth: Cell<usize>,
    /// How many of them are gone although one with a higher number is not.
    early: Cell<usize>,
}

thread_local! {
    /// What guards that went early would have made current again, with their numbers.
    static EARLY: RefCell<Vec<(usize, SpanContext)>> = const { RefCell::new(Vec::new()) };
}

/// As long as it lives, a span is its thread's current one.
///
/// Guards may be dropped in any order: a span ends to be current when its guard and all later ones
/// are gone. A guard that is forgotten instead leaves its span current.
#[must_use = "the span is current only as long as the guard lives"]
#[derive(Debug)]
pub struct Entered<'a> {
    _span: PhantomData<&'a Span>,
    _guard: Attached,
}

/// As long as it lives, a context is its thread's current one. See [`Entered`].
#[must_use = "the context is current only as long as the guard lives"]
#[derive(Debug)]
pub struct Attached {
    /// What is current again thereafter.
    previous: SpanContext,
    depth: usize,
    /// It belongs to its thread.
    _not_send: PhantomData<*const ()>,
}

impl<'a> Entered<'a> {
    #[inline]
    pub(super) fn new(span: &'a Span) -> Self {
        Self {
            _span: PhantomData,
            _guard: Attached::new(span.context()),
        }
    }
}

impl Attached {
    #[inline]
    pub(super) fn new(context: SpanContext) -> Self {
        // Whoever starts a span looks at one of the ids only.
        let context = if context.is_valid() {
            context
        } else {
            SpanContext::NONE
        };
        let enter = |own: &thread::Own| own.current.enter(context);
        let (previous, depth) = thread::with(enter);
        Self {
            previous,
            depth,
            _not_send: PhantomData,
        }
    }
}

impl Drop for Attached {
    #[inline]
    fn drop(&mut self) {
        let previous = std::mem::replace(&mut self.previous, SpanContext::NONE);
        thread::with(|own| own.current.leave(self.depth, previous));
    }
}

impl Current {
    pub(super) const fn none() -> Self {
        Self {
            context: Cell::new(ManuallyDrop::new(SpanContext::NONE)),
            depth: Cell::new(0),
            early: Cell::new(0),
        }
    }

    /// The context, as that of a parent.
    ///
    /// # Safety
    ///
    /// No span is entered or left as long as the answer is used.
    #[inline]
    pub(super) unsafe fn view(&self) -> View<'_> {
        // SAFETY: The cell is this thread's, and only `set` writes it.
        sealed::Parent::view(&**unsafe { &*self.context.as_ptr() })
    }

    /// Returns what was current, and the number of the guard.
    #[inline]
    fn enter(&self, context: SpanContext) -> (SpanContext, usize) {
        let depth = self.depth.get() + 1;
        self.depth.set(depth);
        (self.set(context), depth)
    }

    /// The guard of this number is gone.
    #[inline]
    fn leave(&self, depth: usize, previous: SpanContext) {
        if self.early.get() != 0 || self.depth.get() != depth {
            return self.leave_in_disorder(depth, previous);
        }
        self.depth.set(depth - 1);
        drop(self.set(previous));
    }

    #[cold]
    fn leave_in_disorder(&self, depth: usize, previous: SpanContext) {
        if self.depth.get() != depth {
            self.early.set(self.early.get() + 1);
            // A thread that is ending has nothing to make current any more.
            let _ = EARLY.try_with(|early| early.borrow_mut().push((depth, previous)));
            return;
        }
        let mut previous = previous;
        let mut depth = depth - 1;
        while let Some(earlier) = take_early(depth) {
            self.early.set(self.early.get() - 1);
            previous = earlier;
            depth -= 1;
        }
        self.depth.set(depth);
        drop(self.set(previous));
    }

    /// Makes a context current, and returns what was.
    #[inline]
    fn set(&self, context: SpanContext) -> SpanContext {
        if context.span_id.is_valid() {
            let (trace, span) = (context.trace_id.to_u128(), context.span_id.to_u64());
            kernel_context::publish(trace, span, context.flags.bits());
        } else {
            kernel_context::clear();
        }
        ManuallyDrop::into_inner(self.context.replace(ManuallyDrop::new(context)))
    }
}

/// What the guard of this number would have made current again, if it is gone already.
fn take_early(depth: usize) -> Option<SpanContext> {
    let take = |early: &RefCell<Vec<(usize, SpanContext)>>| {
        let mut early = early.borrow_mut();
        let place = early.iter().position(|(of, _)| *of == depth)?;
        Some(early.swap_remove(place).1)
    };
    EARLY.try_with(take).ok()?
}
