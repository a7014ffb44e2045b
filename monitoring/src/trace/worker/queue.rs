//! The queue between the thread that collects finished spans and the one that sends them: bounded,
//! and it knows what has become of each span that went through. Knows neither rings nor sinks.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::counts::{Counts, Outcome};
use crate::trace::finished::FinishedSpan;

/// For how long the sender sleeps where nothing limits it: it is woken anyway.
const LONG: Duration = Duration::from_hours(1);

/// What the sending thread is to do next.
#[derive(Debug)]
pub(super) enum Work {
    /// Send these, then say what became of them.
    Batch(Vec<FinishedSpan>),
    /// Have the sink make sure that all has arrived, for the flush of this number.
    Flush(u64),
    /// End.
    Stop,
}

/// How a pause ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pause {
    /// It took as long as it was to take.
    Waited,
    /// Somebody waits for the spans.
    Hurried,
    /// All has to end now.
    Over,
}

/// How full a queue may become, and how many spans are sent at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Spans that wait and those that are being sent, together.
    pub(super) queue: usize,
    /// Spans of one batch.
    pub(super) batch: usize,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<FinishedSpan>,
    /// Spans of the batch that is being sent.
    in_flight: usize,
    /// Spans that were ever put in.
    taken: u64,
    /// Spans of which it is known what became of them.
    settled: u64,
    /// The rings could not be emptied, because there was no room.
    starved: bool,
    /// The number of the last flush that was asked for, of the last one whose spans have all been
    /// collected, of the last one that is complete, and of the last one that the sink failed.
    asked: u64,
    collected: u64,
    flushed: u64,
    failed: u64,
    /// What `taken` was when the spans of flush `collected` were complete.
    target: u64,
    /// When everything has to end.
    stop: Option<Instant>,
    /// The collecting thread, the sending thread, has ended.
    collector_ended: bool,
    sender_ended: bool,
}

impl State {
    fn orders(&self) -> (u64, Option<Instant>) {
        (self.asked, self.stop)
    }

    fn has_ended(&self) -> bool {
        self.collector_ended && self.sender_ended
    }

    fn expired(&self) -> bool {
        self.stop.is_some_and(|stop| Instant::now() >= stop)
    }

    /// What the sender can do now, if there is anything.
    fn work(&mut self, batch: usize) -> Option<Work> {
        if self.expired() {
            return Some(Work::Stop);
        }
        if self.flushed < self.collected && self.settled >= self.target {
            return Some(Work::Flush(self.collected));
        }
        if !self.waiting.is_empty() {
            let count = self.waiting.len().min(batch);
            self.in_flight = count;
            return Some(Work::Batch(self.waiting.drain(..count).collect()));
        }
        (self.stop.is_some() && self.collector_ended).then_some(Work::Stop)
    }
}

/// The queue.
#[derive(Debug)]
pub(super) struct Queue {
    limits: Limits,
    state: Mutex<State>,
    /// There is work for the sender, or it is to hurry.
    work: Condvar,
    /// A batch is settled, a flush complete, or a thread has ended.
    progress: Condvar,
    counts: Counts,
}

impl Queue {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            state: Mutex::default(),
            work: Condvar::new(),
            progress: Condvar::new(),
            counts: Counts::default(),
        }
    }

    /// What became of the spans so far.
    pub(super) fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Nothing in here panics half-way through a change.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // For both threads.

    /// The number of the last flush that was asked for, and when everything has to end.
    pub(super) fn orders(&self) -> (u64, Option<Instant>) {
        self.state().orders()
    }

    // For the collecting thread.

    /// How many spans may be put in. Where there is no room, the answer to the next
    /// [`settle`](Self::settle) says so.
    pub(super) fn room(&self) -> usize {
        let mut state = self.state();
        let room = self.limits.queue - (state.waiting.len() + state.in_flight);
        state.starved = room == 0;
        room
    }

    /// Puts spans in, for which there was room.
    pub(super) fn put(&self, spans: &mut Vec<FinishedSpan>) {
        let mut state = self.state();
        state.taken += spans.len() as u64;
        state.waiting.extend(spans.drain(..));
        drop(state);
        self.work.notify_all();
    }

    /// All spans that ended before this flush was asked for have been put in.
    pub(super) fn collected(&self, flush: u64) {
        let mut state = self.state();
        if flush > state.collected {
            state.collected = flush;
            state.target = state.taken;
            drop(state);
            self.work.notify_all();
        }
    }

    /// The collecting thread ends, and has thrown away some last spans.
    pub(super) fn collector_ends(&self, thrown_away: u64) {
        self.counts.add(Outcome::ShutDown, thrown_away);
        self.one_ends(|state| state.collector_ended = true);
    }

    // For the sending thread.

    /// What to do next. Sleeps while there is nothing.
    pub(super) fn next(&self) -> Work {
        let mut state = self.state();
        loop {
            if let Some(work) = state.work(self.limits.batch) {
                return work;
            }
            let until = state.stop.unwrap_or_else(|| Instant::now() + LONG);
            state = sleep(&self.work, state, until);
        }
    }

    /// Says what became of a batch or a part of it, of which some may be refused whatever became of
    /// the others, and whether the collector waits for the room.
    pub(super) fn settle(&self, spans: usize, refused: usize, outcome: Outcome) -> bool {
        self.counts.add(Outcome::Refused, refused as u64);
        self.counts.add(outcome, (spans - refused) as u64);
        let mut state = self.state();
        state.in_flight -= spans;
        state.settled += spans as u64;
        let starved = std::mem::take(&mut state.starved);
        drop(state);
        self.progress.notify_all();
        starved
    }

    /// Waits before the next try. Other [`orders`](Self::orders) than those that were known before
    /// the last one shorten it, though not to less than the `least`: a new flush does, and the order
    /// to end.
    pub(super) fn pause(
        &self,
        least: Duration,
        limit: Duration,
        known: (u64, Option<Instant>),
    ) -> Pause {
        let now = Instant::now();
        let (least, limit) = (now + least, now + limit);
        let mut state = self.state();
        loop {
            if state.expired() {
                return Pause::Over;
            }
            let (until, end) = if state.orders() == known {
                (limit, Pause::Waited)
            } else {
                (least.min(limit), Pause::Hurried)
            };
            if Instant::now() >= until {
                return end;
            }
            let until = state.stop.map_or(until, |stop| stop.min(until));
            state = sleep(&self.work, state, until);
        }
    }

    /// A flush is complete, as far as the sink could.
    pub(super) fn flushed(&self, flush: u64, well: bool) {
        let mut state = self.state();
        state.flushed = flush;
        if !well {
            state.failed = flush;
        }
        drop(state);
        self.progress.notify_all();
    }

    /// The sending thread ends.
    pub(super) fn sender_ends(&self) {
        self.one_ends(|state| state.sender_ended = true);
    }

    /// One of the threads ends, as it says. What then waits for none is thrown away.
    fn one_ends(&self, end: impl FnOnce(&mut State)) {
        let mut state = self.state();
        end(&mut state);
        if state.has_ended() {
            let left = state.waiting.len() as u64;
            state.waiting.clear();
            self.counts.add(Outcome::ShutDown, left);
        }
        drop(state);
        self.work.notify_all();
        self.progress.notify_all();
    }

    // For everybody else.

    /// Asks for a flush, and says its number.
    pub(super) fn ask(&self) -> u64 {
        let mut state = self.state();
        state.asked += 1;
        let asked = state.asked;
        drop(state);
        self.work.notify_all();
        asked
    }

    /// Waits until a flush is complete. False when it is not by then, or the sink failed it.
    pub(super) fn wait_flushed(&self, flush: u64, until: Instant) -> bool {
        let done = |state: &State| state.flushed >= flush || state.sender_ended;
        let state = self.wait_until(until, done);
        state.flushed >= flush && state.failed < flush
    }

    /// Orders both threads to end, by this time.
    pub(super) fn stop(&self, by: Instant) {
        let mut state = self.state();
        state.stop = Some(state.stop.map_or(by, |stop| stop.min(by)));
        drop(state);
        self.work.notify_all();
    }

    /// Waits until both threads have ended. False when one has not by then.
    pub(super) fn wait_ended(&self, until: Instant) -> bool {
        self.wait_until(until, State::has_ended).has_ended()
    }

    /// Whether both threads have ended, or should have by now.
    pub(super) fn is_over(&self) -> bool {
        let state = self.state();
        state.has_ended() || state.expired()
    }

    fn wait_until(&self, until: Instant, done: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        let mut state = self.state();
        while !done(&state) && Instant::now() < until {
            state = sleep(&self.progress, state, until);
        }
        state
    }
}

/// Sleeps until it is woken, or until then.
fn sleep<'a>(
    condition: &Condvar,
    state: MutexGuard<'a, State>,
    until: Instant,
) -> MutexGuard<'a, State> {
    let left = until.saturating_duration_since(Instant::now());
    let woken = condition.wait_timeout(state, left);
    woken.unwrap_or_else(PoisonError::into_inner).0
}
