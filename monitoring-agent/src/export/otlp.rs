//! What is sent by OTLP: spans, and on request the snapshots' metrics. Owns the thread that sends,
//! which there is only once somebody has named an endpoint.
//!
//! Knows no source: spans come from a queue, metrics from snapshots.

mod connection;
mod health;
mod push;
mod recovery;
mod request;
mod size;
mod spans;

use std::{
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use monitoring::otlp::Target;
use tokio::sync::watch;
use tracing::{error, warn};

pub use self::push::{PushStats, convert};
use crate::{snapshot::Latest, spans::Spans};

/// How long what waits is still sent when the agent ends, or when tracing is switched off.
pub const FAREWELL: Duration = Duration::from_secs(5);

/// How often it is looked whether the thread has ended.
const LOOK: Duration = Duration::from_millis(5);

/// Where spans go.
#[derive(Clone, Debug, PartialEq)]
pub struct SpanSettings {
    /// The collector.
    pub target: Target,
    /// How long the same spans are sent again while the collector does not take them.
    pub retry_time: Duration,
    /// How long spans wait at most for others that are sent with them.
    pub patience: Duration,
}

/// Where metrics go.
#[derive(Clone, Debug, PartialEq)]
pub struct PushSettings {
    /// The collector.
    pub target: Target,
    /// Time between two pushes.
    pub interval: Duration,
    /// `host.name` of the resource.
    pub node: String,
    /// The node's type, `stratoswarm.node.type` of the resource.
    pub node_type: String,
}

/// What is to be sent. Nothing by default.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OtlpSettings {
    /// Spans, if they are.
    pub spans: Option<SpanSettings>,
    /// Metrics, if they are.
    pub metrics: Option<PushSettings>,
}

/// What a part of the thread is to do.
#[derive(Clone, Debug)]
struct Order<T> {
    settings: Option<T>,
    /// Everything has to end by then.
    end: Option<Instant>,
}

/// Sends what its settings say.
#[derive(Debug)]
pub struct Otlp {
    spans: Spans,
    latest: Latest,
    stats: Arc<PushStats>,
    settings: OtlpSettings,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    spans: watch::Sender<Order<SpanSettings>>,
    metrics: watch::Sender<Order<PushSettings>>,
    thread: JoinHandle<()>,
}

impl Otlp {
    /// Nothing is sent until settings are [applied](Self::apply).
    pub fn new(spans: Spans, latest: Latest) -> Self {
        Self {
            spans,
            latest,
            stats: Arc::default(),
            settings: OtlpSettings::default(),
            running: None,
        }
    }

    /// What became of metrics.
    pub fn stats(&self) -> Arc<PushStats> {
        Arc::clone(&self.stats)
    }

    /// Goes over to other settings; what did not change goes on without a gap. Spans that wait go to
    /// the new collector, or, if there is none, to the old one for [`FAREWELL`] at most.
    pub fn apply(&mut self, settings: OtlpSettings) {
        if settings == self.settings {
            return;
        }
        if self.running.is_none() {
            match self.start(&settings) {
                Ok(running) => self.running = Some(running),
                Err(error) => {
                    error!("nothing is sent by OTLP: its thread cannot be started: {error}");
                    return;
                }
            }
        } else if let Some(running) = &self.running {
            if settings.spans != self.settings.spans {
                running.spans.send_replace(order(settings.spans.as_ref()));
            }
            if settings.metrics != self.settings.metrics {
                running
                    .metrics
                    .send_replace(order(settings.metrics.as_ref()));
            }
        }
        self.settings = settings;
    }

    /// Sends what waits, for [`FAREWELL`] at most, and ends. Nobody may push spans any more: they
    /// would be dropped, and counted.
    pub async fn stop(self) {
        self.spans.queue.close();
        let Some(running) = self.running else {
            return;
        };
        let end = Instant::now() + FAREWELL;
        running.spans.send_modify(|order| order.end = Some(end));
        running.metrics.send_modify(|order| order.end = Some(end));
        while !running.thread.is_finished() {
            if Instant::now() > end + FAREWELL {
                warn!("what sends by OTLP hangs and ends with the process");
                return;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn start(&self, settings: &OtlpSettings) -> std::io::Result<Running> {
        let (spans, span_orders) = watch::channel(order(settings.spans.as_ref()));
        let (metrics, metric_orders) = watch::channel(order(settings.metrics.as_ref()));
        let (queue, latest, stats) = (self.spans.clone(), self.latest.clone(), self.stats());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        // Takes the first order before another can come: whoever switches tracing off at once wants
        // what waits to be sent.
        let mut first = Some(spans::Sending::new(queue.clone(), span_orders.clone()));
        let work = move || {
            let send = || {
                let sending = first.take();
                sending
                    .unwrap_or_else(|| spans::Sending::new(queue.clone(), span_orders.clone()))
                    .run()
            };
            let push = || {
                let orders = metric_orders.clone();
                push::Pushing::new(latest.clone(), orders, Arc::clone(&stats)).run()
            };
            // What a batch of spans had that is dropped is counted by the batch.
            let sending = recovery::working("spans", span_orders.clone(), send, || ());
            let pushing =
                recovery::working("metrics", metric_orders.clone(), push, || stats.failed());
            runtime.block_on(async { tokio::join!(sending, pushing) });
            // A name that is still being looked up must not hold up the end.
            runtime.shutdown_background();
        };
        let thread = thread::Builder::new().name("otlp".into()).spawn(work)?;
        Ok(Running {
            spans,
            metrics,
            thread,
        })
    }
}

fn order<T: Clone>(settings: Option<&T>) -> Order<T> {
    Order {
        settings: settings.cloned(),
        end: None,
    }
}
