//! The queue between the source `trace` and an exporter: bounded by spans and by bytes. What does
//! not fit is refused and counted; nothing that waits is thrown away for it.
//!
//! Knows nothing of how spans are sent.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, time::timeout};

use super::{DropReason, Finished, SpanOutcomes};

/// Room that an empty queue keeps for spans.
const KEPT_ROOM: usize = 1024;

/// How much may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueLimits {
    /// Spans.
    pub spans: usize,
    /// Bytes in memory, those of resources included, each once.
    pub bytes: usize,
}

/// What an exporter wants at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLimits {
    /// The most spans, at least 1.
    pub spans: usize,
    /// The most bytes as they are sent, resources included. A span that alone is larger comes alone.
    pub encoded_bytes: usize,
    /// How long a batch is waited for that is not full.
    pub patience: Duration,
}

/// Spans that wait for an exporter. Any thread pushes; one task at a time receives.
#[derive(Debug)]
pub struct SpanQueue {
    waiting: Mutex<Waiting>,
    /// Told when as much waits as the receiver wants, and when the queue is closed.
    enough: Notify,
    outcomes: Arc<SpanOutcomes>,
}

#[derive(Debug)]
struct Waiting {
    spans: VecDeque<Finished>,
    /// How many of `spans` have the resource at this address.
    resources: HashMap<usize, usize>,
    memory_bytes: usize,
    encoded_bytes: usize,
    limits: QueueLimits,
    /// From how many spans, and from how many encoded bytes on the receiver is told.
    wanted: (usize, usize),
    closed: bool,
}

/// Spans that an exporter has taken over. It says what became of them; if it ends without a word,
/// they count as dropped.
#[derive(Debug)]
pub struct SpanBatch {
    spans: Vec<Finished>,
    outcomes: Arc<SpanOutcomes>,
}

impl SpanQueue {
    /// An empty queue.
    pub fn new(limits: QueueLimits, outcomes: Arc<SpanOutcomes>) -> Self {
        let waiting = Waiting {
            spans: VecDeque::new(),
            resources: HashMap::new(),
            memory_bytes: 0,
            encoded_bytes: 0,
            limits,
            wanted: (1, 1),
            closed: false,
        };
        Self {
            waiting: Mutex::new(waiting),
            enough: Notify::new(),
            outcomes,
        }
    }

    /// Adds a span to the end. `false` if there is no room for it, or nobody will come for it: it
    /// was dropped then, and counted.
    pub fn push(&self, span: Finished) -> bool {
        let mut waiting = self.lock();
        if let Err(reason) = waiting.push(span) {
            drop(waiting);
            self.outcomes.dropped(reason, 1);
            return false;
        }
        let enough = waiting.is_enough();
        drop(waiting);
        if enough {
            self.enough.notify_one();
        }
        true
    }

    /// Takes spans from the front, once there are enough for a full batch or some have waited long
    /// enough; `None` when the queue is closed and empty.
    ///
    /// A caller that gives up waiting loses nothing.
    pub async fn receive_batch(&self, limits: BatchLimits) -> Option<SpanBatch> {
        self.wait_for(1, 1).await;
        let full = self.wait_for(limits.spans, limits.encoded_bytes);
        // If it is over, the batch is not full.
        let _ = timeout(limits.patience, full).await;
        let spans = self.lock().take(&limits);
        (!spans.is_empty()).then(|| SpanBatch {
            spans,
            outcomes: Arc::clone(&self.outcomes),
        })
    }

    /// Waits until one of both is reached, or the queue is closed.
    async fn wait_for(&self, spans: usize, encoded_bytes: usize) {
        loop {
            {
                let mut waiting = self.lock();
                waiting.wanted = (spans.max(1), encoded_bytes);
                if waiting.is_enough() || waiting.closed {
                    return;
                }
            }
            self.enough.notified().await;
        }
    }

    /// Changes how much may wait. What waits already stays.
    pub fn set_limits(&self, limits: QueueLimits) {
        self.lock().limits = limits;
    }

    /// Refuses spans from now on; those that wait can still be received.
    pub fn close(&self) {
        self.lock().closed = true;
        self.enough.notify_one();
    }

    /// Drops everything that waits, for this reason.
    pub fn clear(&self, reason: DropReason) {
        let limits = BatchLimits {
            spans: usize::MAX,
            encoded_bytes: usize::MAX,
            patience: Duration::ZERO,
        };
        let spans = self.lock().take(&limits);
        self.outcomes.dropped(reason, spans.len() as u64);
    }

    /// How many spans wait.
    pub fn len(&self) -> usize {
        self.lock().spans.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes in memory of what waits.
    pub fn memory_bytes(&self) -> usize {
        self.lock().memory_bytes
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // What is behind the lock is consistent whatever panicked: it calls nothing that does.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn push(&mut self, span: Finished) -> Result<(), DropReason> {
        if self.closed {
            return Err(DropReason::Shutdown);
        }
        let address = address_of(&span);
        let known = self.resources.contains_key(&address);
        let resource = if known { (0, 0) } else { resource_bytes(&span) };
        let memory_bytes = self.memory_bytes + span.memory_bytes() + resource.0;
        if self.spans.len() >= self.limits.spans || memory_bytes > self.limits.bytes {
            return Err(DropReason::QueueFull);
        }
        *self.resources.entry(address).or_default() += 1;
        self.memory_bytes = memory_bytes;
        self.encoded_bytes += span.encoded_bytes() + resource.1;
        self.spans.push_back(span);
        Ok(())
    }

    fn is_enough(&self) -> bool {
        let (spans, encoded_bytes) = self.wanted;
        self.spans.len() >= spans || (!self.spans.is_empty() && self.encoded_bytes >= encoded_bytes)
    }

    fn take(&mut self, limits: &BatchLimits) -> Vec<Finished> {
        let first = self.spans.iter().take(limits.spans.max(1));
        let count = within(first, limits.encoded_bytes);
        let mut taken = Vec::with_capacity(count);
        while taken.len() < count
            && let Some(span) = self.spans.pop_front()
        {
            self.removed(&span);
            taken.push(span);
        }
        if self.spans.is_empty() {
            self.spans.shrink_to(KEPT_ROOM);
            self.resources.shrink_to(KEPT_ROOM);
        }
        taken
    }

    fn removed(&mut self, span: &Finished) {
        self.memory_bytes -= span.memory_bytes();
        self.encoded_bytes -= span.encoded_bytes();
        let address = address_of(span);
        let left = self.resources.get_mut(&address).map(|count| {
            *count -= 1;
            *count
        });
        if left == Some(0) {
            self.resources.remove(&address);
            let (memory_bytes, encoded_bytes) = resource_bytes(span);
            self.memory_bytes -= memory_bytes;
            self.encoded_bytes -= encoded_bytes;
        }
    }
}

/// How many of the first spans are so many bytes at most when they are sent, resources included: at
/// least one, if there is one.
fn within<'a>(spans: impl Iterator<Item = &'a Finished>, encoded_bytes: usize) -> usize {
    let (mut resources, mut bytes, mut count) = (HashSet::new(), 0, 0);
    for span in spans {
        bytes += span.encoded_bytes();
        if resources.insert(address_of(span)) {
            bytes += resource_bytes(span).1;
        }
        if bytes > encoded_bytes && count > 0 {
            break;
        }
        count += 1;
    }
    count
}

/// Tells resources apart: one that waits is alive, so that its address is no other's.
fn address_of(span: &Finished) -> usize {
    Arc::as_ptr(&span.resource).addr()
}

/// Bytes of a span's resource, in memory and as it is sent.
fn resource_bytes(span: &Finished) -> (usize, usize) {
    (span.resource.memory_bytes, span.resource.encoded_bytes)
}

impl SpanBatch {
    /// The spans, oldest first.
    pub fn spans(&self) -> &[Finished] {
        &self.spans
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there are none, which is never so of a batch that was received.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// How many of the first are so many bytes at most as they are sent, resources included; at least
    /// one.
    pub fn within(&self, encoded_bytes: usize) -> usize {
        within(self.spans.iter(), encoded_bytes)
    }

    /// Keeps the first so many, and gives the others as a batch of their own.
    #[must_use]
    pub fn split_off(&mut self, first: usize) -> Self {
        Self {
            spans: self.spans.split_off(first.min(self.spans.len())),
            outcomes: Arc::clone(&self.outcomes),
        }
    }

    /// A receiver has taken them, but for so many that it rejected.
    pub fn exported(mut self, rejected: u64) {
        let count = mem::take(&mut self.spans).len() as u64;
        let rejected = rejected.min(count);
        self.outcomes.dropped(DropReason::Rejected, rejected);
        self.outcomes.exported(count - rejected);
    }

    /// They are lost.
    pub fn dropped(mut self, reason: DropReason) {
        let count = mem::take(&mut self.spans).len() as u64;
        self.outcomes.dropped(reason, count);
    }
}

impl Drop for SpanBatch {
    fn drop(&mut self) {
        let left = self.spans.len() as u64;
        self.outcomes.dropped(DropReason::Abandoned, left);
    }
}

#[cfg(test)]
mod tests;
