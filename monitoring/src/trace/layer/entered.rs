//! Which spans of `tracing` a thread has entered. Knows nothing of what is in a span.

use std::cell::RefCell;

use tracing_core::span::Id;

use crate::trace::{SpanContext, current::Attached};

thread_local! {
    /// A span that is entered more than once is here as often.
    static ENTERED: RefCell<Vec<(u64, Attached)>> = const { RefCell::new(Vec::new()) };
}

/// Makes this the thread's current span.
pub(super) fn enter(id: &Id, context: &SpanContext) {
    // A thread that is ending has no current span any more.
    let _ = ENTERED.try_with(|entered| {
        let entry = (id.into_u64(), context.attach());
        entered.borrow_mut().push(entry);
    });
}

/// Makes what was current before the thread's current span again. Spans may be left in another
/// order than they were entered in: that is what the guards are made for.
pub(super) fn exit(id: &Id) {
    let _ = ENTERED.try_with(|entered| {
        let mut entered = entered.borrow_mut();
        let id = id.into_u64();
        let place = entered.iter().rposition(|(entered, _)| *entered == id);
        drop(place.map(|place| entered.remove(place)));
    });
}
