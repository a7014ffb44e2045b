//! What GPUs were last known to do, for who tells what happened at a time: bounded histories, filled by
//! source `gpu` as it reads. Knows neither NVML nor spans.
//!
//! A process numbers its devices as it likes, so that a number of CUDA's alone names no GPU. It does
//! where the process uses one only, or the node has no other.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::{Instant, SystemTime},
};

use monitoring::gpu::{GpuMetrics, Poll, XidEvent};

use crate::clock;

/// Readings, and critical errors, that are kept of each GPU.
const KEPT: usize = 64;

/// Most GPUs that are remembered, as in source `gpu`.
const MOST_GPUS: usize = 256;

/// Reasons that are none for a slow kernel: nothing runs, or it was asked for.
const HARMLESS: [&str; 2] = ["gpu_idle", "applications_clocks_setting"];

/// What is known of GPUs. Shared; nobody waits for anybody longer than a copy takes.
#[derive(Debug, Default)]
pub struct GpuStates {
    gpus: Mutex<BTreeMap<String, Gpu>>,
    /// How many have begun to fill it, one after the other.
    starts: AtomicU64,
}

/// A GPU by what tells it from others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// NVML's index.
    pub number: u32,
    /// `GPU-` and a UUID.
    pub uuid: String,
    /// The product's name.
    pub name: String,
}

/// A GPU at one moment. What it does not tell is absent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    /// When it was read, by `CLOCK_MONOTONIC`.
    pub at_ns: u64,
    /// Share of the last sample period in which a kernel ran.
    pub utilization_ratio: Option<f64>,
    /// Device memory in use.
    pub memory_used_bytes: Option<u64>,
    /// Clock of the multiprocessors.
    pub sm_hertz: Option<f64>,
    /// Power drawn.
    pub power_watts: Option<f64>,
    /// Temperature of the chip.
    pub celsius: Option<f64>,
    /// Reasons for which clocks were lower than asked for, in order; see
    /// [`monitoring::gpu::ThrottleReason`].
    pub throttled: Vec<&'static str>,
}

/// What happened to a GPU.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// It was read.
    State(State),
    /// It was read, and throttled for a reason for which it was not at the reading before.
    Throttled(u64, &'static str),
    /// It was read, and no longer throttled for a reason.
    Released(u64, &'static str),
    /// The driver reported a critical error (XID), at a time by `CLOCK_MONOTONIC`.
    Xid(u64, u64),
}

#[derive(Debug, Default)]
struct Gpu {
    identity: Identity,
    states: VecDeque<State>,
    /// Time and code.
    xids: VecDeque<(u64, u64)>,
    /// Processes that used it when it was read last.
    pids: Vec<u32>,
    /// The start whose poll read it last, and that poll's number: each start's begin at 1. 0 if none
    /// has.
    poll: (u64, u64),
    has_mig: bool,
}

impl GpuStates {
    /// Somebody begins to fill it, with polls that are numbered anew; what is given here goes with
    /// each. Those of earlier starts change nothing any more.
    pub fn begin(&self) -> u64 {
        self.starts.fetch_add(1, SeqCst) + 1
    }

    /// Takes in a poll. One that was taken in before changes nothing.
    pub fn polled(&self, start: u64, poll: &Poll) {
        let age = Instant::now().saturating_duration_since(poll.at);
        let age_ns = u64::try_from(age.as_nanos()).unwrap_or(u64::MAX);
        self.polled_at(start, poll, clock::monotonic_ns().saturating_sub(age_ns));
    }

    fn polled_at(&self, start: u64, poll: &Poll, at_ns: u64) {
        let mut gpus = self.lock();
        if start != self.starts.load(SeqCst) {
            return;
        }
        let number = (start, poll.number);
        for metrics in poll.devices.values() {
            let Some(gpu) = of(&mut gpus, &metrics.identity.uuid) else {
                continue;
            };
            if gpu.poll == number {
                continue;
            }
            gpu.poll = number;
            gpu.identity = Identity {
                number: metrics.device_id,
                uuid: metrics.identity.uuid.clone(),
                name: metrics.identity.name.clone(),
            };
            gpu.pids = metrics
                .processes
                .iter()
                .map(|process| process.pid)
                .collect();
            gpu.has_mig = !metrics.mig.is_empty();
            push(&mut gpu.states, state(metrics, at_ns));
        }
        // A GPU that is gone is nobody's; what it did stays known.
        for gpu in gpus.values_mut().filter(|gpu| gpu.poll != number) {
            gpu.pids.clear();
        }
    }

    /// Takes in critical errors.
    pub fn failed(&self, events: &[XidEvent]) {
        let (now, now_ns) = (SystemTime::now(), clock::monotonic_ns());
        let mut gpus = self.lock();
        for event in events {
            let age = now.duration_since(event.at).unwrap_or_default();
            let age_ns = u64::try_from(age.as_nanos()).unwrap_or(u64::MAX);
            if let Some(gpu) = of(&mut gpus, &event.uuid) {
                push(&mut gpu.xids, (now_ns.saturating_sub(age_ns), event.xid));
            }
        }
    }

    /// The GPU that a process uses, if it is known to use one only, or there is no other.
    pub fn of_process(&self, pid: u32) -> Option<Identity> {
        let gpus = self.lock();
        let newest = gpus.values().map(|gpu| gpu.poll).max()?;
        // One of which there was but an error is not known.
        if newest == (0, 0) {
            return None;
        }
        let present: Vec<_> = gpus.values().filter(|gpu| gpu.poll == newest).collect();
        let mut used = present.iter().filter(|gpu| gpu.pids.contains(&pid));
        let ((Some(gpu), None, _) | (None, _, [gpu])) =
            (used.next(), used.next(), present.as_slice())
        else {
            return None;
        };
        // Of a part of it, the whole one says nothing.
        (!gpu.has_mig).then(|| gpu.identity.clone())
    }

    /// What is known of a GPU between two times: how it was at the beginning, first, and what happened
    /// until the end, in order.
    pub fn between(&self, uuid: &str, start_ns: u64, end_ns: u64) -> Vec<Change> {
        let gpus = self.lock();
        let Some(gpu) = gpus.get(uuid) else {
            return Vec::new();
        };
        let mut changes = Vec::new();
        let mut before: Option<&State> = None;
        for state in &gpu.states {
            if state.at_ns > end_ns {
                break;
            }
            if state.at_ns >= start_ns {
                if let Some(before) = before {
                    if before.at_ns < start_ns {
                        changes.push(Change::State(before.clone()));
                    }
                    changes.extend(throttling(before, state));
                }
                changes.push(Change::State(state.clone()));
            }
            before = Some(state);
        }
        if changes.is_empty() {
            changes.extend(before.cloned().map(Change::State));
        }
        let xids = gpu.xids.iter();
        let within = xids.filter(|(at_ns, _)| (start_ns..=end_ns).contains(at_ns));
        changes.extend(within.map(|(at_ns, code)| Change::Xid(*at_ns, *code)));
        changes.sort_by_key(Change::at_ns);
        changes
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Gpu>> {
        // Each value is changed as a whole, whatever panicked.
        self.gpus.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Change {
    /// When it happened, or was seen.
    pub fn at_ns(&self) -> u64 {
        match self {
            Self::State(state) => state.at_ns,
            Self::Throttled(at_ns, _) | Self::Released(at_ns, _) | Self::Xid(at_ns, _) => *at_ns,
        }
    }
}

/// A GPU by its UUID, unless there are too many.
fn of<'a>(gpus: &'a mut BTreeMap<String, Gpu>, uuid: &str) -> Option<&'a mut Gpu> {
    if uuid.is_empty() || (gpus.len() >= MOST_GPUS && !gpus.contains_key(uuid)) {
        return None;
    }
    Some(gpus.entry(uuid.to_owned()).or_default())
}

fn push<T>(kept: &mut VecDeque<T>, new: T) {
    if kept.len() == KEPT {
        kept.pop_front();
    }
    kept.push_back(new);
}

fn state(gpu: &GpuMetrics, at_ns: u64) -> State {
    let reasons = gpu.throttle_reasons.iter();
    let active = reasons.filter(|reason| reason.active == Some(true));
    let mut throttled: Vec<_> = active.map(|reason| reason.reason).collect();
    throttled.retain(|reason| !HARMLESS.contains(reason));
    throttled.sort_unstable();
    let clock = gpu.clocks_hertz.iter().find(|clock| clock.name == "sm");
    State {
        at_ns,
        utilization_ratio: gpu.utilization.get().map(|percent| percent / 100.0),
        memory_used_bytes: gpu.memory.map(|memory| memory.used_bytes),
        sm_hertz: clock.map(|clock| clock.value),
        power_watts: gpu.power_watts,
        celsius: gpu.temperature.get(),
        throttled,
    }
}

/// How throttling changed from one reading to the next.
fn throttling(before: &State, now: &State) -> Vec<Change> {
    let new = now.throttled.iter().copied();
    let new = new.filter(|reason| !before.throttled.contains(reason));
    let old = before.throttled.iter().copied();
    let old = old.filter(|reason| !now.throttled.contains(reason));
    let begun = new.map(|reason| Change::Throttled(now.at_ns, reason));
    begun
        .chain(old.map(|reason| Change::Released(now.at_ns, reason)))
        .collect()
}

#[cfg(test)]
mod tests;
