//! The tracer: what starts spans, and what all of its spans have in common.
//!
//! Knows nothing of sinks.

use std::{
    borrow::Cow,
    fmt, iter, ptr,
    sync::{
        Arc, OnceLock,
        atomic::{
            AtomicBool, AtomicPtr,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
    time::Duration,
};

use super::{
    builder::TracerBuilder,
    context::TraceFlags,
    fork,
    ids::TraceId,
    sampling::Sampling,
    span::Span,
    spool::{Outcome, Spool},
    text::Text,
    thread::Own,
    worker::Worker,
};

/// How long the last handle of a tracer waits for what is left to be sent when it is dropped: a
/// program that ends should not seem to hang.
const LAST_WAIT: Duration = Duration::from_secs(2);

/// Starts spans, which tell how long something took, and what it was a part of.
///
/// What a tracer needs is never freed, so that spans need not count who uses it: programs make one,
/// or a few, and keep them. Cloning one is cheap, and its clones are the same tracer. When the last
/// of them is dropped, what has ended is sent, and that is waited for, for 2 seconds at most. A
/// tracer in a `static` is never dropped: call [`Self::shutdown`] before the program ends.
///
/// A process that forks without executing another program should build its tracers afterwards: the
/// threads that send spans do not go on in the child. There, a tracer of the parent records nothing
/// and has nothing to say of its spans, and flushing it or shutting it down says at once that it has
/// not worked.
///
/// # Where spans go
///
/// To the sink or the collector that the [`TracerBuilder`] was told, or the collector that the
/// environment names by OpenTelemetry's variables, such as `OTEL_EXPORTER_OTLP_ENDPOINT`. Without
/// any, nothing is recorded, and spans have contexts all the same.
///
/// # Example
///
/// ```
/// use monitoring::Tracer;
///
/// let tracer = Tracer::new("stratoswarm");
/// let request = tracer.start_span("process_request");
/// let query = tracer
///     .start_span("database_query")
///     .with_parent(&request)
///     .with_tag("db.type", "postgres");
/// query.add_event("query_completed");
/// // Spans end when they are dropped.
/// ```
#[derive(Clone)]
pub struct Tracer {
    core: &'static Core,
    _last: Arc<Last>,
}

/// Ends the work of a tracer that nobody has any more.
struct Last(&'static Core);

/// What the spans of a tracer have in common.
pub(super) struct Core {
    pub(super) sampling: Sampling,
    /// Whether somebody takes what is recorded.
    has_sink: AtomicBool,
    pub(super) spool: Spool,
    /// What sends spans, if somebody takes them.
    pub(super) worker: OnceLock<Worker>,
    /// This process is a child of the one that has built it, whose threads it has not.
    is_of_parent: AtomicBool,
    /// The tracer that was built before it.
    older: Option<&'static Self>,
}

/// The newest tracer. A list that only grows, and of which nothing is freed, can be walked at any
/// time, and after a fork as well: it has no lock that another thread had at that moment.
static NEWEST: AtomicPtr<Core> = AtomicPtr::new(ptr::null_mut());

/// What became of a tracer's spans so far.
///
/// Each span that has ended is in exactly one of `recorded`, `sampled_out`, `without_sink` and
/// `dropped_buffer_full`. Of the recorded ones, those that are not in `exported`, `dropped_refused`
/// or `dropped_shut_down` are still to be sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TraceStats {
    /// Spans that have ended and were recorded.
    pub recorded: u64,
    /// Spans of traces that are not recorded, by the sample rate or as their parents said.
    pub sampled_out: u64,
    /// Spans of traces that are recorded, but not here: the tracer has no sink, or was shut down.
    pub without_sink: u64,
    /// Spans that were dropped when they ended, as their thread had filled its buffer before that
    /// was read, or there were too many threads. That happens when many end at once, and when a
    /// collector is away for so long that the queue behind the buffers is full.
    pub dropped_buffer_full: u64,
    /// Spans that the sink took.
    pub exported: u64,
    /// Spans that the sink will never take.
    pub dropped_refused: u64,
    /// Spans that the sink had not taken when the time was over in which the tracer was to shut down.
    /// From then on no recorded span is in none of the three. Those of a request that is answered
    /// later yet are counted as what became of them.
    pub dropped_shut_down: u64,
}

impl Core {
    /// The id and the flags of a new trace.
    #[inline]
    pub(super) fn begin_trace(&self, own: &Own) -> (TraceId, TraceFlags) {
        let trace_id = TraceId::from_words(own.random.draw(), own.random.draw_id());
        let sampled = u8::from(self.sampling.includes(trace_id));
        let flags = TraceFlags::RANDOM.bits() | sampled;
        (trace_id, TraceFlags::from_bits(flags))
    }

    /// Whether spans of such a trace are recorded.
    #[inline]
    pub(super) fn wants(&self, flags: TraceFlags) -> bool {
        flags.is_sampled() && self.has_sink()
    }

    /// Whether somebody takes what is recorded.
    #[inline]
    pub(super) fn has_sink(&self) -> bool {
        self.has_sink.load(Relaxed)
    }
}

impl Tracer {
    /// A tracer for a service, with what [`TracerBuilder`] does when nothing else is said.
    ///
    /// Where the environment says something that cannot be, or the system gives no thread, it says
    /// so on the standard error output, and records nothing: the program that is observed goes on.
    pub fn new(service: impl Into<String>) -> Self {
        Self::builder(service).build().unwrap_or_else(|error| {
            eprintln!("monitoring: no spans are sent: {error}");
            TracerBuilder::without_export()
        })
    }

    /// A tracer for a service, of which more is to be said.
    pub fn builder(service: impl Into<String>) -> TracerBuilder {
        TracerBuilder::new(service.into())
    }

    pub(super) fn from_core(core: &'static Core) -> Self {
        Self {
            core,
            _last: Arc::new(Last(core)),
        }
    }

    /// Starts a span: a child of the thread's current one, if it has one, else a root. Another
    /// parent is given by [`Span::with_parent`].
    ///
    /// A static name costs nothing; another one is kept, which takes an allocation.
    #[inline(always)]
    pub fn start_span(&self, name: impl Into<Cow<'static, str>>) -> Span {
        Span::start(self.core, Text::new(name.into()))
    }

    /// Waits until the sink has taken, or refused, all spans that ended before the call. False if it
    /// has not within that time; then they are still kept and sent. Also false, at once, if a sink
    /// calls it, which would wait for itself.
    pub fn flush(&self, limit: Duration) -> bool {
        self.core.flush(limit)
    }

    /// Has what has ended sent, and ends the tracer's threads. Of later spans nothing is recorded.
    /// False if it was not all sent within that time: what is left is then dropped and counted.
    pub fn shutdown(&self, limit: Duration) -> bool {
        self.core.shutdown(limit)
    }

    /// What became of the spans so far.
    pub fn stats(&self) -> TraceStats {
        self.core.stats()
    }
}

impl Core {
    /// Never freed, so that spans need not count who uses it.
    pub(super) fn leaked(sampling: Sampling, has_sink: bool) -> &'static Self {
        fork::prepare();
        let core = ptr::from_mut(Box::leak(Box::new(Self {
            sampling,
            has_sink: AtomicBool::new(has_sink),
            spool: Spool::new(),
            worker: OnceLock::new(),
            is_of_parent: AtomicBool::new(false),
            older: None,
        })));
        let mut newest = NEWEST.load(Acquire);
        loop {
            // SAFETY: Nobody else has the new one yet, and what is in the list is never freed.
            unsafe { (*core).older = newest.as_ref() };
            match NEWEST.compare_exchange(newest, core, Release, Acquire) {
                // SAFETY: It is never freed, and not written any more but by its own rules.
                Ok(_) => return unsafe { &*core },
                Err(newer) => newest = newer,
            }
        }
    }

    /// All tracers, the newest first.
    pub(super) fn all() -> impl Iterator<Item = &'static Self> {
        // SAFETY: What is in the list is never freed, and not written but by its own rules.
        let newest = unsafe { NEWEST.load(Acquire).as_ref() };
        iter::successors(newest, |core| core.older)
    }

    /// In the child of a fork: nobody sends what is recorded. Does nothing that a child may not do.
    pub(super) fn is_in_child(&self) {
        self.is_of_parent.store(true, Relaxed);
        self.has_sink.store(false, Relaxed);
    }

    fn flush(&self, limit: Duration) -> bool {
        if self.is_of_parent.load(Relaxed) {
            return false;
        }
        let worker = self.worker.get();
        worker.is_none_or(|worker| worker.flush(limit))
    }

    fn shutdown(&self, limit: Duration) -> bool {
        self.has_sink.store(false, Relaxed);
        if self.is_of_parent.load(Relaxed) {
            return false;
        }
        let worker = self.worker.get();
        worker.is_none_or(|worker| worker.shutdown(limit))
    }

    pub(super) fn stats(&self) -> TraceStats {
        if self.is_of_parent.load(Relaxed) {
            // A thread that is not there may have had the locks.
            return TraceStats::default();
        }
        // Read first, so that none is exported that was not recorded.
        let worker = self.worker.get();
        let is_over = worker.is_some_and(Worker::is_over);
        let sent = worker.map(Worker::counts);
        let [exported, dropped_refused, mut dropped_shut_down] = sent.map_or([0; 3], |sent| {
            [sent.exported(), sent.refused(), sent.shut_down()]
        });
        let totals = self.spool.totals();
        let recorded = totals.get(Outcome::Kept);
        if is_over {
            // What a sink still has in its hands has not been taken by the end, and moves when it is
            // after all. A thread that looked for a sink just before the end keeps a span that nobody
            // reads.
            dropped_shut_down = recorded.saturating_sub(exported + dropped_refused);
        }
        TraceStats {
            recorded,
            sampled_out: totals.get(Outcome::SampledOut),
            without_sink: totals.get(Outcome::Unrecorded),
            dropped_buffer_full: totals.get(Outcome::Full),
            exported,
            dropped_refused,
            dropped_shut_down,
        }
    }
}

impl Drop for Last {
    fn drop(&mut self) {
        self.0.shutdown(LAST_WAIT);
    }
}

impl fmt::Debug for Tracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracer")
            .field("has_sink", &self.core.has_sink())
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{FinishedSpan, SinkError, SpanSink},
        *,
    };

    const LIMIT: Duration = Duration::from_secs(20);

    struct Nowhere;

    impl SpanSink for Nowhere {
        fn export(&mut self, _batch: &[FinishedSpan]) -> Result<(), SinkError> {
            Ok(())
        }
    }

    #[test]
    fn a_span_that_ends_while_the_tracer_does_is_counted() {
        let builder = Tracer::builder("test").sample_rate(1.0).sink(Nowhere);
        let tracer = builder.build().unwrap();
        let end = |name: &'static str| tracer.start_span(name).end();
        end("before");
        assert!(tracer.shutdown(LIMIT));
        let before = tracer.stats();
        assert_eq!(
            (before.recorded, before.exported, before.dropped_shut_down),
            (1, 1, 0)
        );
        // As in a thread that looked before that.
        tracer.core.has_sink.store(true, Relaxed);
        end("late");
        tracer.core.has_sink.store(false, Relaxed);
        end("after");
        let after = tracer.stats();
        let want = TraceStats {
            recorded: 2,
            dropped_shut_down: 1,
            without_sink: 1,
            ..before
        };
        assert_eq!(after, want);
    }
}
