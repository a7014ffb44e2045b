//! The thread that waits for NVML's events. The only other thread that is in NVML.
//!
//! Knows nothing of readings. By the bindings, because nvml-wrapper's sets of events may not
//! outlive a borrow of the library, and its events lack the MIG instance.

mod set;
mod waiter;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use nvml_wrapper::Nvml;
use nvml_wrapper_sys::bindings::nvmlDevice_t;

use self::{
    set::{Registration, Set},
    waiter::{WAIT, Waiter, Watched},
};
use super::{GpuIdentity, backoff::Backoff, exchange::Exchange};

/// How long the thread is waited for when it is to end. It waits no longer than [`WAIT`] in one
/// call, unless NVML does not keep to the time.
const GIVE_UP: Duration = WAIT.saturating_mul(20);

/// Events of a session. To be closed before the session.
pub(super) struct Events {
    set: Option<Arc<Set>>,
    /// Devices whose events are in the set, by their handles.
    watched: BTreeMap<usize, Watched>,
    /// Devices that have no events.
    without: BTreeSet<usize>,
    /// Devices whose events could not be had, and when to try it again.
    failed: BTreeMap<usize, Backoff>,
    waiting: Option<Waiting>,
    retry_interval: Duration,
}

/// A thread that NVML has not come back to. It outlives its session, keeps the library loaded and
/// initialised, and gives all back when NVML comes back. There are no events until then, so that
/// there is never more than one such thread.
#[derive(Default)]
pub(super) struct Stuck(Option<JoinHandle<()>>);

/// The thread that waits.
struct Waiting {
    thread: JoinHandle<()>,
    /// Nothing is ever sent; it is closed when the thread ends.
    ended: Receiver<()>,
    stop: Arc<AtomicBool>,
}

impl Stuck {
    fn is_stuck(&mut self) -> bool {
        self.0.take_if(|thread| thread.is_finished());
        self.0.is_some()
    }
}

impl Events {
    /// `retry_interval`: the first wait after a registration that failed.
    pub(super) fn new(retry_interval: Duration) -> Self {
        Self {
            set: None,
            watched: BTreeMap::new(),
            without: BTreeSet::new(),
            failed: BTreeMap::new(),
            waiting: None,
            retry_interval,
        }
    }

    /// Watches all devices that are not yet watched: their handle, index and identity.
    pub(super) fn watch<'a>(
        &mut self,
        nvml: &Arc<Nvml>,
        devices: impl Iterator<Item = (nvmlDevice_t, u32, &'a GpuIdentity)>,
        exchange: &Exchange,
        stuck: &mut Stuck,
    ) {
        if stuck.is_stuck() {
            return;
        }
        // One that has panicked waits for nothing any more.
        self.waiting.take_if(|waiting| waiting.thread.is_finished());
        let mut new = Vec::new();
        for (handle, device_id, identity) in devices {
            // What has no name could not be told from others of that kind.
            if let Some(key) = identity.key()
                && self.can_be_watched(handle, nvml, exchange)
            {
                let watched = Watched {
                    device_id,
                    key: key.to_owned(),
                    pci_bus_id: identity.pci_bus_id.clone(),
                };
                new.push((handle, watched));
            }
        }
        if !new.is_empty() {
            // Only one thread at a time may use the set. What happens meanwhile waits in it.
            self.stop(exchange, stuck);
            if stuck.is_stuck() {
                return;
            }
            self.add(nvml, new, exchange);
        }
        if self.waiting.is_none()
            && let Some(set) = self.set.as_ref().filter(|_| !self.watched.is_empty())
        {
            // A thread that cannot be started is tried again at the next poll.
            self.waiting = start(set, &self.watched, exchange);
        }
    }

    /// Whether a device that is not yet watched has events. This is tried with a set of its own,
    /// because a registration that fails may spoil the set.
    fn can_be_watched(
        &mut self,
        handle: nvmlDevice_t,
        nvml: &Arc<Nvml>,
        exchange: &Exchange,
    ) -> bool {
        let now = Instant::now();
        let place = handle as usize;
        if self.watched.contains_key(&place) || self.without.contains(&place) {
            return false;
        }
        if let Some(backoff) = self.failed.get_mut(&place)
            && !backoff.is_due(now)
        {
            return false;
        }
        let Some(set) = Set::create(nvml, &exchange.calls) else {
            return false;
        };
        let registration = set.register(handle, &exchange.calls);
        set.free(&exchange.calls);
        match registration {
            Registration::Done => {
                self.failed.remove(&place);
                return true;
            }
            Registration::Unsupported => {
                self.failed.remove(&place);
                self.without.insert(place);
            }
            Registration::Failed => {
                let first = self.retry_interval;
                let backoff = self.failed.entry(place);
                backoff.or_insert_with(|| Backoff::new(first)).failed(now);
            }
        }
        false
    }

    fn add(&mut self, nvml: &Arc<Nvml>, new: Vec<(nvmlDevice_t, Watched)>, exchange: &Exchange) {
        let calls = &exchange.calls;
        if self.set.is_none() {
            self.set = Set::create(nvml, calls).map(Arc::new);
        }
        let Some(set) = &self.set else {
            return;
        };
        for (handle, watched) in new {
            if set.register(handle, calls) == Registration::Done {
                self.watched.insert(handle as usize, watched);
            } else {
                // It may be spoilt now. The next poll makes another.
                self.watched.clear();
                self.free(exchange);
                return;
            }
        }
    }

    /// Ends the waiting and gives the set back. Devices have to be watched anew.
    pub(super) fn close(&mut self, exchange: &Exchange, stuck: &mut Stuck) {
        self.stop(exchange, stuck);
        self.watched.clear();
        self.without.clear();
        self.failed.clear();
        self.free(exchange);
    }

    fn free(&mut self, exchange: &Exchange) {
        if let Some(set) = self.set.take().and_then(Arc::into_inner) {
            set.free(&exchange.calls);
        }
    }

    /// Ends the thread, or leaves it to itself, and the set to it, if it does not end.
    fn stop(&mut self, exchange: &Exchange, stuck: &mut Stuck) {
        let Some(waiting) = self.waiting.take() else {
            return;
        };
        waiting.tell_to_stop();
        let _call = exchange.calls.enter("nvmlEventSetWait_v2");
        match waiting.ended.recv_timeout(GIVE_UP) {
            Err(RecvTimeoutError::Timeout) => {
                self.set = None;
                self.watched.clear();
                stuck.0 = Some(waiting.thread);
            }
            // If it has panicked, it is not in NVML either.
            Ok(()) | Err(RecvTimeoutError::Disconnected) => drop(waiting.thread.join()),
        }
    }
}

impl Drop for Events {
    /// Events that were not closed, because of a panic, end by themselves.
    fn drop(&mut self) {
        if let Some(waiting) = &self.waiting {
            waiting.tell_to_stop();
        }
    }
}

impl Waiting {
    fn tell_to_stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.thread().unpark();
    }
}

fn start(
    set: &Arc<Set>,
    watched: &BTreeMap<usize, Watched>,
    exchange: &Exchange,
) -> Option<Waiting> {
    let stop = Arc::new(AtomicBool::new(false));
    let waiter = Waiter {
        set: Arc::clone(set),
        watched: watched.clone(),
        log: Arc::clone(&exchange.xids),
        stop: Arc::clone(&stop),
    };
    let (running, ended) = mpsc::channel();
    let thread = thread::Builder::new().name("gpu-events".into());
    let thread = thread.spawn(move || {
        waiter.run();
        drop(running);
    });
    Some(Waiting {
        thread: thread.ok()?,
        ended,
        stop,
    })
}
