//! The two threads behind a tracer that exports: one collects the spans that ended, the other sends
//! them. They are two, so that a collector that answers slowly, or not at all, does not keep spans
//! from being collected. Knows neither how spans are recorded nor any protocol.

mod collect;
mod counts;
mod queue;
mod send;

#[cfg(test)]
mod tests;

use std::{
    cell::Cell,
    io, ptr,
    sync::Arc,
    thread::{self, Thread},
    time::{Duration, Instant},
};

pub(super) use collect::Source;
pub(super) use counts::Counts;

use super::sink::{Resource, SpanSink};
use collect::Collector;
use queue::{Limits, Queue};
use send::Sender;

/// How long finished spans wait to be collected, where nobody asks for them: what a screen that
/// follows a program may lag behind.
pub(super) const INTERVAL: Duration = Duration::from_secs(1);

/// How many finished spans may wait to be sent: a few megabytes.
pub(super) const QUEUE: usize = 8192;

/// Spans of one request: what the exporters of OpenTelemetry send at most, too.
const BATCH: usize = 512;

/// The longest time that is waited for anything, for limits beyond what the clock can add up.
const FOREVER: Duration = Duration::from_hours(24 * 365);

thread_local! {
    /// The queue that this thread sends from, if it is a sending one.
    static SENDS: Cell<*const Queue> = const { Cell::new(ptr::null()) };
}

/// What the threads need to know.
pub(super) struct Orders {
    /// Where finished spans are taken from.
    pub(super) source: Box<dyn Source>,
    /// Where they go.
    pub(super) sink: Box<dyn SpanSink>,
    /// What they have in common.
    pub(super) resource: Resource,
    /// How many may wait; one at least.
    pub(super) queue: usize,
    /// How long they wait to be collected.
    pub(super) interval: Duration,
}

/// The threads, while they work.
#[derive(Debug)]
pub(super) struct Worker {
    queue: Arc<Queue>,
    collector: Thread,
}

impl Worker {
    /// Starts the threads.
    ///
    /// # Errors
    ///
    /// When the system gives no thread.
    pub(super) fn start(orders: Orders) -> io::Result<Self> {
        let Orders {
            source,
            sink,
            resource,
            queue,
            interval,
        } = orders;
        let queue = Arc::new(Queue::new(Limits {
            queue: queue.max(1),
            batch: BATCH,
        }));
        let collector = Collector {
            source,
            queue: Arc::clone(&queue),
            interval,
        };
        // Linux keeps fifteen characters of a name.
        let thread = |name: &str| thread::Builder::new().name(name.into());
        let started = thread("monitoring-span").spawn(move || collector.run())?;
        let worker = Self {
            queue: Arc::clone(&queue),
            collector: started.thread().clone(),
        };
        let sender = Sender {
            sink,
            queue,
            collector: worker.collector.clone(),
        };
        thread("monitoring-send")
            .spawn(move || {
                SENDS.set(Arc::as_ptr(&sender.queue));
                sender.run(&resource);
            })
            .inspect_err(|_| worker.stop(Instant::now()))?;
        Ok(worker)
    }

    /// The thread to be woken when many spans have ended.
    pub(super) fn collector(&self) -> &Thread {
        &self.collector
    }

    /// What became of the spans that were collected.
    pub(super) fn counts(&self) -> &Counts {
        self.queue.counts()
    }

    /// Whether both threads have ended, or should have by now: nothing more is taken, but for what a
    /// sink does not come back with before its time is over.
    pub(super) fn is_over(&self) -> bool {
        self.queue.is_over()
    }

    /// Waits until the sink has taken, or refused, all spans that ended before the call. False when
    /// it has not within that time: what is left is still kept and sent. False at once for a sink,
    /// which would wait for itself.
    pub(super) fn flush(&self, limit: Duration) -> bool {
        if self.is_called_by_sink() {
            return false;
        }
        let until = after(limit);
        let flush = self.queue.ask();
        self.collector.unpark();
        self.queue.wait_flushed(flush, until)
    }

    /// Has the threads send what is there and end. False when they could not send all of it within
    /// that time: what is left is dropped and counted. Nothing may be recorded any more when this is
    /// called. False at once for a sink, as of [`Self::flush`].
    pub(super) fn shutdown(&self, limit: Duration) -> bool {
        let until = after(limit);
        self.stop(until);
        if self.is_called_by_sink() {
            return false;
        }
        self.queue.wait_ended(until) && self.counts().shut_down() == 0
    }

    /// Whether this is the sending thread.
    fn is_called_by_sink(&self) -> bool {
        ptr::eq(SENDS.get(), Arc::as_ptr(&self.queue))
    }

    fn stop(&self, by: Instant) {
        self.queue.stop(by);
        self.collector.unpark();
    }
}

/// The time so much later.
fn after(limit: Duration) -> Instant {
    Instant::now() + limit.min(FOREVER)
}
