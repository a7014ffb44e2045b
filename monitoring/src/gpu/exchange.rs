//! What those who ask and the thread that talks to NVML share: who wants a poll, and what the
//! newest brought.
//!
//! Knows nothing of NVML. No lock is held while a call into it is made.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::{GpuError, Poll, calls::Calls, xid::XidLog};

/// How often one who waits looks whether a call hangs.
const HANG_CHECK: Duration = Duration::from_millis(25);
/// How long the end of a monitor waits for its threads. A thread that takes longer ends by itself.
const END_DEADLINE: Duration = Duration::from_secs(1);
/// How many times as long as one call a poll of all devices may take. Calls that are slow, each
/// within its deadline, would otherwise hold up those who wait for minutes.
const POLL_DEADLINES: u32 = 6;
/// Stands for a call where it is not one that takes long.
const ALL_CALLS: &str = "the calls of one poll";

/// Between those who ask and the thread that answers.
#[derive(Debug, Default)]
pub(super) struct Exchange {
    state: Mutex<State>,
    changed: Condvar,
    pub(super) calls: Calls,
    pub(super) xids: Arc<XidLog>,
}

#[derive(Debug)]
struct State {
    /// The number of the last poll that somebody waits for.
    asked: u64,
    /// The number of the last poll that has begun, and of the last that has ended.
    begun: u64,
    ended: u64,
    /// Since when there is a poll that has not ended.
    polling: Option<Instant>,
    newest: Result<Arc<Poll>, GpuError>,
    stopping: bool,
    stopped: bool,
}

/// What the thread has to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Somebody waits for a poll.
    Asked,
    /// It is time for the next poll.
    Due,
    /// The monitor is gone.
    Stop,
}

impl Exchange {
    /// A poll that begins from now on. Those who ask at the same time share one.
    pub(super) fn ask(&self, deadline: Duration) -> Result<Arc<Poll>, GpuError> {
        let mut state = self.lock();
        let ticket = state.begun + 1;
        state.asked = ticket;
        self.changed.notify_all();
        loop {
            if state.ended >= ticket {
                return state.newest.clone();
            }
            self.check(&state, deadline)?;
            state = self.wait(state, HANG_CHECK.min(deadline));
        }
    }

    /// The newest outcome.
    pub(super) fn newest(&self, deadline: Duration) -> Result<Arc<Poll>, GpuError> {
        let state = self.lock();
        self.check(&state, deadline)?;
        state.newest.clone()
    }

    /// Why there is no use in waiting, if there is none.
    fn check(&self, state: &State, deadline: Duration) -> Result<(), GpuError> {
        if state.stopped {
            return Err(GpuError::Nvml("the thread that calls it has ended".into()));
        }
        if let Some(hanging) = self.calls.hanging(deadline) {
            return Err(hanging);
        }
        match state.polling.map(|since| since.elapsed()) {
            Some(for_) if for_ >= deadline.saturating_mul(POLL_DEADLINES) => {
                let call = ALL_CALLS;
                Err(GpuError::Hanging { call, for_ })
            }
            _ => Ok(()),
        }
    }

    /// Waits for something to do, until `due` if there is such a time.
    pub(super) fn next(&self, due: Option<Instant>) -> Order {
        let mut state = self.lock();
        loop {
            if state.stopping {
                return Order::Stop;
            }
            let asked = state.asked > state.begun;
            let left = due.map(|due| due.saturating_duration_since(Instant::now()));
            if asked || left == Some(Duration::ZERO) {
                state.begun += 1;
                state.polling = Some(Instant::now());
                return if asked { Order::Asked } else { Order::Due };
            }
            state = match left {
                Some(left) => self.wait(state, left),
                None => self
                    .changed
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// Gives the outcome of a poll to those who wait for it.
    pub(super) fn publish(&self, outcome: Result<Arc<Poll>, GpuError>) {
        let mut state = self.lock();
        state.newest = outcome;
        state.ended = state.begun;
        state.polling = None;
        self.changed.notify_all();
    }

    /// Tells the thread to end, and waits a moment for it.
    pub(super) fn stop(&self) {
        let until = Instant::now() + END_DEADLINE;
        let mut state = self.lock();
        state.stopping = true;
        self.changed.notify_all();
        while !state.stopped {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state = self.wait(state, left);
        }
    }

    /// The thread has ended, in whatever way.
    pub(super) fn stopped(&self) {
        self.lock().stopped = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>, time: Duration) -> MutexGuard<'a, State> {
        let waited = self.changed.wait_timeout(state, time);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

impl Default for State {
    fn default() -> Self {
        Self {
            asked: 0,
            begun: 0,
            ended: 0,
            polling: None,
            newest: Err(GpuError::Starting),
            stopping: false,
            stopped: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEADLINE: Duration = Duration::from_millis(5);

    fn is_slow(error: &GpuError) -> bool {
        let limit = DEADLINE * POLL_DEADLINES;
        matches!(error, GpuError::Hanging { call: ALL_CALLS, for_ } if *for_ >= limit)
    }

    #[test]
    fn a_poll_that_takes_too_long_is_told() {
        let exchange = Exchange::default();
        let begun = Instant::now();
        exchange.next(Some(begun));
        assert!(is_slow(&exchange.ask(DEADLINE).unwrap_err()));
        assert!(is_slow(&exchange.newest(DEADLINE).unwrap_err()));
        assert!(begun.elapsed() >= DEADLINE * POLL_DEADLINES);
        exchange.publish(Err(GpuError::Nvml("done".into())));
        let newest = exchange.newest(DEADLINE).unwrap_err();
        assert!(matches!(newest, GpuError::Nvml(done) if done == "done"));
    }

    #[test]
    fn nothing_is_shown_of_a_thread_that_has_ended() {
        let exchange = Exchange::default();
        let starting = exchange.newest(DEADLINE).unwrap_err();
        assert!(matches!(starting, GpuError::Starting));
        exchange.stopped();
        let hour = Duration::from_hours(1);
        assert!(matches!(exchange.newest(hour), Err(GpuError::Nvml(_))));
        assert!(matches!(exchange.ask(hour), Err(GpuError::Nvml(_))));
    }
}
