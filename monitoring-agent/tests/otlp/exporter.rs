//! An exporter with a queue, as a test drives it. Knows nothing of who answers.

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use monitoring::otlp::{Compression, Headers, Protocol, Signal, Target, TlsFiles};
use monitoring_agent::{
    export::otlp::{Otlp, OtlpSettings, SpanSettings},
    snapshot::Snapshot,
    spans::{DropReason, QueueLimits, Spans},
};
use tokio::{runtime::Runtime, sync::watch};

use crate::{made, poll::poll_until};

/// Every reason for which the exporter or the queue drops.
const REASONS: [DropReason; 6] = [
    DropReason::QueueFull,
    DropReason::Rejected,
    DropReason::TooLarge,
    DropReason::Unreachable,
    DropReason::Shutdown,
    DropReason::Abandoned,
];

/// Long enough that no test sees the end of it.
pub(crate) const LONG: Duration = Duration::from_mins(10);

/// How long a batch waits for more.
const PATIENCE: Duration = Duration::from_millis(5);

/// For what asks a runtime to wait.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());

/// A target for spans, with nothing special.
pub(crate) fn target(protocol: Protocol, base: &str) -> Target {
    Target {
        signal: Signal::Traces,
        url: Target::url(Signal::Traces, protocol, base),
        protocol,
        headers: Headers::default(),
        compression: Compression::None,
        timeout: LONG,
        tls: TlsFiles::default(),
    }
}

/// An exporter, what it is fed from, and what it says became of it.
#[derive(Debug)]
pub(crate) struct Exporter {
    pub(crate) spans: Spans,
    otlp: Otlp,
}

impl Exporter {
    /// One that sends nothing yet.
    pub(crate) fn idle(limits: QueueLimits) -> Self {
        let spans = Spans::new(limits);
        let (_, latest) = watch::channel(Arc::new(Snapshot::empty()));
        let otlp = Otlp::new(spans.clone(), latest);
        Self { spans, otlp }
    }

    /// One with room for all that tests make, which tries the same spans for so long.
    pub(crate) fn new(target: Target, retry_time: Duration) -> Self {
        let mut exporter = Self::idle(QueueLimits {
            spans: 1 << 20,
            bytes: 1 << 30,
        });
        exporter.apply(target, retry_time);
        exporter
    }

    pub(crate) fn apply(&mut self, target: Target, retry_time: Duration) {
        self.otlp.apply(OtlpSettings {
            spans: Some(SpanSettings {
                target,
                retry_time,
                patience: PATIENCE,
            }),
            metrics: None,
        });
    }

    /// Tracing is switched off.
    pub(crate) fn switch_off(&mut self) {
        self.otlp.apply(OtlpSettings::default());
    }

    /// Pushes the spans of these numbers, of one process.
    pub(crate) fn push(&self, numbers: impl IntoIterator<Item = u64>) {
        for span in made::spans(&made::resource("pusher"), numbers) {
            self.spans.queue.push(span);
        }
    }

    pub(crate) fn exported(&self) -> u64 {
        self.spans.outcomes.total_exported()
    }

    pub(crate) fn dropped(&self, reason: DropReason) -> u64 {
        self.spans.outcomes.total_dropped(reason)
    }

    /// How many were dropped, for whatever reason.
    pub(crate) fn all_dropped(&self) -> u64 {
        REASONS.iter().map(|reason| self.dropped(*reason)).sum()
    }

    /// Waits until something has become of so many.
    pub(crate) fn settle(&self, count: u64) {
        poll_until(&format!("{count} spans are settled"), || {
            (self.exported() + self.all_dropped() >= count).then_some(())
        });
        assert_eq!(self.exported() + self.all_dropped(), count);
    }

    /// Ends it as the agent does.
    pub(crate) fn stop(self) -> Spans {
        RUNTIME.block_on(self.otlp.stop());
        self.spans
    }
}
