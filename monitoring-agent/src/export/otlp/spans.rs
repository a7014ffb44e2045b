//! Takes spans from the queue, in batches, and sends each until the collector takes it, refuses it,
//! or it has been tried for long enough. Every span is counted once. Knows nothing of the wire.

use std::time::{Duration, Instant};

use bytes::Bytes;
use monitoring::otlp::{Accepted, Failure};
use tokio::{sync::watch, time::sleep_until};

use super::{FAREWELL, Order, SpanSettings, connection::Connection, health::Health, request};
use crate::spans::{BatchLimits, DropReason, SpanBatch, Spans};

/// Spans that are sent at a time, if they are not too many bytes.
const BATCH_SPANS: usize = 2048;

/// How often a collector may fail at the end, before what waits is dropped: a connection that it had
/// closed in the meantime is one failure.
const FAREWELL_FAILURES: u32 = 2;

/// Sends spans.
pub(super) struct Sending {
    spans: Spans,
    orders: watch::Receiver<Order<SpanSettings>>,
    /// Where to, as long as there is a where.
    connection: Option<Connection>,
    retry_time: Duration,
    /// How long spans wait for others.
    patience: Duration,
    health: Health,
    /// All has to be over by then: the agent ends, or tracing was switched off.
    end: Option<Instant>,
    /// The agent ends.
    is_last: bool,
    /// Failures since all has to be over.
    failures: u32,
}

/// What became of a request.
enum Sent {
    Accepted(Accepted),
    /// In the collector's words.
    TooLarge(String),
    Dropped(DropReason),
}

impl Sending {
    pub(super) fn new(spans: Spans, orders: watch::Receiver<Order<SpanSettings>>) -> Self {
        let mut sending = Self {
            spans,
            orders,
            connection: None,
            retry_time: Duration::ZERO,
            patience: Duration::ZERO,
            health: Health::of("spans"),
            end: None,
            is_last: false,
            failures: 0,
        };
        sending.take_orders();
        sending
    }

    /// Works until the agent ends.
    pub(super) async fn run(mut self) {
        loop {
            if self.is_over() {
                self.connection = None;
                self.spans.queue.clear(DropReason::Shutdown);
                if self.is_last {
                    return;
                }
                self.end = None;
            }
            let queue = std::sync::Arc::clone(&self.spans.queue);
            let limits = self.limits();
            let (is_connected, is_ending) = (self.connection.is_some(), self.end.is_some());
            let received = async {
                if is_connected && is_ending && queue.is_empty() {
                    return None;
                }
                match queue.receive_batch(limits).await {
                    // Closed: an order to end comes.
                    None if !is_connected => std::future::pending().await,
                    batch => batch,
                }
            };
            let batch = tokio::select! {
                // What comes after an order goes where the order says.
                biased;
                changed = self.orders.changed() => {
                    self.changed(changed.is_err());
                    continue;
                }
                batch = received => batch,
            };
            match batch {
                // Whoever had these came too late: tracing is off.
                Some(batch) if !is_connected => batch.dropped(DropReason::Shutdown),
                Some(batch) => self.deliver(batch).await,
                // All is sent.
                None => self.end = Some(Instant::now()),
            }
        }
    }

    /// How much is sent at a time.
    fn limits(&self) -> BatchLimits {
        let largest = self.connection.as_ref().map(Connection::largest);
        BatchLimits {
            spans: BATCH_SPANS,
            encoded_bytes: largest.unwrap_or(usize::MAX),
            patience: self.patience,
        }
    }

    /// Whether nothing more is to be sent to anybody.
    fn is_over(&self) -> bool {
        let is_late = self.end.is_some_and(|end| Instant::now() >= end);
        let has_failed = self.end.is_some() && self.failures >= FAREWELL_FAILURES;
        let has_nowhere = self.end.is_some() && self.connection.is_none();
        is_late || has_failed || has_nowhere
    }

    fn changed(&mut self, nobody_orders: bool) {
        if nobody_orders {
            // The agent is gone without a word.
            (self.end, self.is_last) = (Some(Instant::now()), true);
        } else {
            self.take_orders();
        }
    }

    fn take_orders(&mut self) {
        let order = self.orders.borrow_and_update().clone();
        match order.settings {
            Some(SpanSettings {
                target,
                retry_time,
                patience,
            }) => {
                self.retry_time = retry_time;
                self.patience = patience;
                self.end = None;
                let now = self.connection.as_ref().map(Connection::target);
                if now != Some(&target) {
                    self.connection = Some(Connection::new(target));
                    self.health = Health::of("spans");
                }
            }
            None if self.connection.is_some() => {
                self.end.get_or_insert_with(|| Instant::now() + FAREWELL);
            }
            None => {}
        }
        if let Some(end) = order.end {
            (self.end, self.is_last) = (Some(end), true);
        }
        self.failures = 0;
        if self.end.is_some()
            && let Some(connection) = &mut self.connection
        {
            connection.hurry();
        }
    }

    /// Sends a batch, in as few requests as the collector takes.
    async fn deliver(&mut self, batch: SpanBatch) {
        let mut parts = vec![batch];
        while let Some(mut batch) = parts.pop() {
            let first = batch.within(self.limits().encoded_bytes);
            if first < batch.len() {
                parts.push(batch.split_off(first));
            }
            let request = request::encoded(batch.spans());
            match self.send(&request).await {
                Sent::Accepted(accepted) => batch.exported(accepted.rejected),
                Sent::TooLarge(_) if batch.len() > 1 => {
                    let rest = batch.split_off(batch.len() / 2);
                    parts.extend([rest, batch]);
                }
                Sent::TooLarge(why) => {
                    batch.dropped(DropReason::TooLarge);
                    self.one_was_too_large(&why);
                }
                Sent::Dropped(reason) => batch.dropped(reason),
            }
        }
    }

    fn one_was_too_large(&mut self, why: &str) {
        if let Some(connection) = &self.connection {
            let then = "one that alone is too large is dropped, and counted";
            let url = &connection.target().url;
            self.health.failed(url, why, then, Instant::now());
        }
    }

    /// Sends a request until its time is over.
    async fn send(&mut self, request: &Bytes) -> Sent {
        let begun = Instant::now();
        loop {
            let expiry = begun + self.retry_time;
            if self.is_over() {
                return Sent::Dropped(DropReason::Shutdown);
            }
            let now = Instant::now();
            let Some(connection) = &mut self.connection else {
                return Sent::Dropped(DropReason::Shutdown);
            };
            if let Some(next) = connection.next_try().filter(|next| *next > now) {
                if now >= expiry {
                    return Sent::Dropped(DropReason::Unreachable);
                }
                self.pause(next.min(expiry)).await;
                continue;
            }
            let trying = connection.send(request.clone());
            let Some(answer) = self.unless_ordered(trying).await else {
                continue;
            };
            let Some(connection) = &mut self.connection else {
                return Sent::Dropped(DropReason::Shutdown);
            };
            let then = "they are sent again later, and dropped and counted when they have waited \
                        for too long or are too many";
            match connection.settle(answer, &mut self.health, then) {
                Ok(accepted) => return Sent::Accepted(accepted),
                Err(Failure::Refused(_)) => return Sent::Dropped(DropReason::Rejected),
                Err(Failure::TooLarge(why)) => return Sent::TooLarge(why),
                Err(Failure::Unavailable { .. }) => {
                    self.failures += 1;
                    if Instant::now() >= expiry && self.end.is_none() {
                        return Sent::Dropped(DropReason::Unreachable);
                    }
                }
            }
        }
    }

    /// Waits, unless there is a new order.
    async fn pause(&mut self, until: Instant) {
        let until = self.end.map_or(until, |end| end.min(until));
        tokio::select! {
            () = sleep_until(until.into()) => {}
            changed = self.orders.changed() => self.changed(changed.is_err()),
        }
    }

    /// What comes of it, unless it is to go elsewhere in the meantime, or all has to be over.
    async fn unless_ordered<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        tokio::pin!(work);
        let target = self.connection.as_ref()?.target().clone();
        loop {
            let end = self.end;
            let is_over = async {
                match end {
                    Some(end) => sleep_until(end.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                done = &mut work => return Some(done),
                changed = self.orders.changed() => {
                    self.changed(changed.is_err());
                    let now = self.connection.as_ref().map(Connection::target);
                    if now != Some(&target) {
                        return None;
                    }
                }
                () = is_over => return None,
            }
        }
    }
}
