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
use crate::{
    backoff::Backoff,
    trace::{
        finished::FinishedSpan,
        sink::{Resource, SinkError, SpanSink},
    },
};

/// The longest pause that nobody asked for: a collector that is back is found within that time.
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
                    if works {
                        self.deliver(&batch);
                    } else {
                        self.settle(batch.len(), 0, Outcome::Refused);
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

    /// Tries until the sink has taken or refused the batch, as a whole or in parts, or all has to
    /// end. Each part is counted as soon as it is known what became of it.
    fn deliver(&mut self, batch: &[FinishedSpan]) {
        let mut rest = batch;
        let mut backoff = Backoff::up_to(LONGEST_PAUSE);
        loop {
            // What is asked for from here on is not known to this try.
            let orders = self.queue.orders();
            // What a sink that panicked is left in is its own affair; here nothing changes.
            let (settled, refused, asked) =
                match catch_unwind(AssertUnwindSafe(|| self.sink.export(rest))) {
                    Ok(Ok(())) => return self.settle(rest.len(), 0, Outcome::Exported),
                    Err(_) | Ok(Err(SinkError::Refused(_))) => {
                        return self.settle(rest.len(), 0, Outcome::Refused);
                    }
                    Ok(Err(SinkError::RefusedInPart { spans, .. })) => {
                        let refused = spans.min(rest.len());
                        return self.settle(rest.len(), refused, Outcome::Exported);
                    }
                    Ok(Err(SinkError::Unavailable(_))) => (0, 0, None),
                    Ok(Err(SinkError::Postponed {
                        settled,
                        refused,
                        after,
                        ..
                    })) => (settled.min(rest.len()), refused, after),
                };
            self.settle(settled, refused.min(settled), Outcome::Exported);
            rest = &rest[settled..];
            if rest.is_empty() {
                return;
            }
            if settled > 0 {
                backoff.reset();
            }
            let pause = match asked {
                None if settled > 0 => Duration::ZERO,
                asked => backoff.wait(asked),
            };
            let least = asked.unwrap_or_default().min(Backoff::LONGEST_ASKED);
            match self.queue.pause(least, pause, orders) {
                Pause::Waited => {}
                Pause::Hurried => backoff.reset(),
                Pause::Over => return self.settle(rest.len(), 0, Outcome::ShutDown),
            }
        }
    }

    /// Says what became of a part of the batch, and has the room filled.
    fn settle(&self, spans: usize, refused: usize, outcome: Outcome) {
        if self.queue.settle(spans, refused, outcome) {
            self.collector.unpark();
        }
    }
}
