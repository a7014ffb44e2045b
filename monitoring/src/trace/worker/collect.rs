//! The collecting thread: takes finished spans from where their threads put them, as far as the
//! queue has room. Knows nothing of where they go.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use super::queue::Queue;
use crate::trace::finished::FinishedSpan;

/// Where finished spans are taken from.
pub(in crate::trace) trait Source: Send {
    /// Puts up to so many behind those of the vector, and says how many. When they are fewer, no
    /// more had ended before the call.
    fn drain(&mut self, into: &mut Vec<FinishedSpan>, most: usize) -> usize;

    /// Remembers what has ended by now.
    fn mark(&mut self);

    /// Whether all that had ended when it was last marked was taken.
    fn is_past_mark(&self) -> bool;

    /// Forgets what is not needed any more, when there is no room to take anything.
    fn forget_ended(&mut self);
}

/// Spans that are taken at once.
const STEP: usize = 512;

/// What the collecting thread owns.
pub(super) struct Collector {
    pub(super) source: Box<dyn Source>,
    pub(super) queue: Arc<Queue>,
    /// How long spans wait to be collected.
    pub(super) interval: Duration,
}

/// What is known after some spans were taken.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Taken {
    /// There were no more.
    All,
    /// There may be more.
    Some,
    /// There was no room for more. What stays where it is, is dropped and counted there once that is
    /// full as well.
    Full,
}

impl Collector {
    /// Works until all has to end.
    pub(super) fn run(mut self) {
        let mut spans = Vec::with_capacity(STEP);
        // The last flush whose spans are all collected, and the one whose spans are marked: threads
        // that never pause cannot keep it waiting, nor can flushes that are asked for later.
        let (mut collected, mut marked) = (0, 0);
        let mut limit = self.interval;
        let mut taken = Taken::All;
        loop {
            if taken != Taken::Some {
                // Whoever has something to be done unparks the thread. Being woken for nothing does
                // no harm.
                thread::park_timeout(limit);
            }
            let (flush, stop) = self.queue.orders();
            if flush > marked && marked == collected {
                self.source.mark();
                marked = flush;
            }
            taken = self.take_some(&mut spans);
            if taken == Taken::All {
                (collected, marked) = (flush, flush);
                self.queue.collected(flush);
                if stop.is_some() {
                    return self.queue.collector_ends(0);
                }
            } else if collected < marked && self.source.is_past_mark() {
                collected = marked;
                self.queue.collected(marked);
            }
            if let Some(stop) = stop {
                let left = stop.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    let thrown_away = self.throw_away(&mut spans);
                    return self.queue.collector_ends(thrown_away);
                }
                limit = left.min(self.interval);
            }
        }
    }

    /// Takes what is there, as far as there is room, but not more than is taken at once.
    fn take_some(&mut self, spans: &mut Vec<FinishedSpan>) -> Taken {
        let wanted = self.queue.room().min(STEP);
        if wanted == 0 {
            self.source.forget_ended();
            return Taken::Full;
        }
        let taken = self.source.drain(spans, wanted);
        self.queue.put(spans);
        if taken < wanted {
            Taken::All
        } else {
            Taken::Some
        }
    }

    fn throw_away(&mut self, spans: &mut Vec<FinishedSpan>) -> u64 {
        let mut thrown_away = 0;
        loop {
            let taken = self.source.drain(spans, STEP);
            thrown_away += taken as u64;
            spans.clear();
            if taken < STEP {
                return thrown_away;
            }
        }
    }
}
