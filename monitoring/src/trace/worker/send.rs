//! The sending thread: hands batches to the sink, and tries again while the sink cannot take them.
//! Knows no protocol.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread::Thread,
    time::Duration,
};

use super::{
    counts::Outcome,
    queue::{Pause, Queue, Work},
};
use crate::trace::{
    finished::FinishedSpan,
    sink::{Resource, SinkError, SpanSink},
};

/// The first pause after a failure: most are over soon.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The longest pause: a collector that is back is found within that time.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// What the sending thread owns.
pub(super) struct Sender {
    pub(super) sink: Box<dyn SpanSink>,
    pub(super) queue: Arc<Queue>,
    /// The collecting thread, which may wait for room.
    pub(super) collector: Thread,
}

impl Sender {
    /// Works until all has to end.
    pub(super) fn run(mut self, resource: &Resource) {
        #[cfg(feature = "layer")]
        crate::trace::layer::ignore_this_thread();
        let started = catch_unwind(AssertUnwindSafe(|| self.sink.start(resource)));
        // A sink that could not even be started is not asked for more: what it would be given is
        // counted as refused.
        let works = started.is_ok();
        loop {
            match self.queue.next() {
                Work::Batch(batch) => {
                    let (refused, outcome) = if works {
                        self.deliver(&batch)
                    } else {
                        (0, Outcome::Refused)
                    };
                    if self.queue.settle(batch.len(), refused, outcome) {
                        self.collector.unpark();
                    }
                }
                Work::Flush(flush) => {
                    let flushed = catch_unwind(AssertUnwindSafe(|| self.sink.flush()));
                    self.queue.flushed(flush, matches!(flushed, Ok(Ok(()))));
                }
                Work::Stop => break,
            }
        }
        let Self {
            mut sink, queue, ..
        } = self;
        let _ = catch_unwind(AssertUnwindSafe(move || sink.shutdown()));
        queue.sender_ends();
    }

    /// Tries until the sink takes the batch, refuses it, or all has to end. How many spans are
    /// refused whatever becomes of the others, and what becomes of these.
    fn deliver(&mut self, batch: &[FinishedSpan]) -> (usize, Outcome) {
        let mut pause = FIRST_PAUSE;
        loop {
            // What is asked for from here on is not known to this try.
            let orders = self.queue.orders();
            // What a sink that panicked is left in is its own affair; here nothing changes.
            match catch_unwind(AssertUnwindSafe(|| self.sink.export(batch))) {
                Ok(Ok(())) => return (0, Outcome::Exported),
                Err(_) | Ok(Err(SinkError::Refused(_))) => return (0, Outcome::Refused),
                Ok(Err(SinkError::RefusedInPart { spans, .. })) => {
                    return (spans.min(batch.len()), Outcome::Exported);
                }
                Ok(Err(SinkError::Unavailable(_))) => {}
            }
            match self.queue.pause(pause, orders) {
                Pause::Waited => pause = (pause * 2).min(LONGEST_PAUSE),
                Pause::Hurried => pause = FIRST_PAUSE,
                Pause::Over => return (0, Outcome::ShutDown),
            }
        }
    }
}
