//! The thread that takes events from the kernel: it has executing processes labelled, and counts
//! what the kernel left to it because it could not know the label.
//!
//! It reads the ring buffer itself. The ring is all that waits, and what does not fit is counted
//! by the kernel.

mod ending;

use std::{
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{
            AtomicBool, AtomicU64,
            Ordering::{Relaxed, SeqCst},
        },
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use aya::maps::{Map, MapData, RingBuf};
use monitoring_common::{
    agents::{AgentId, MAX_AGENTS, OTHER},
    process::{
        EXEC, EXIT, Event,
        lifecycle::Lifecycle,
        lost::{LABEL_FAILED, MALFORMED_EVENT},
    },
};
use tracing::warn;

use self::ending::Ending;
use crate::{
    labels::{CgroupMemory, Labels},
    ring::decode,
};

/// How long a collection waits for the events before it. Labelling one takes 0.1 ms.
const PATIENCE: Duration = Duration::from_millis(100);

/// How often it looks meanwhile whether they are handled.
const LOOK_AGAIN: Duration = Duration::from_micros(200);

/// Follows processes until it is dropped.
pub(super) struct Follower {
    shared: Arc<Shared>,
    ring: RawFd,
    stop: OwnedFd,
    thread: JoinHandle<()>,
}

struct Shared {
    counts: Mutex<Vec<Lifecycle>>,
    /// Whether an event has been taken from the ring and is not handled yet.
    busy: AtomicBool,
    /// Processes that could not be looked at.
    failed: AtomicU64,
    /// Records that are no events.
    malformed: AtomicU64,
}

impl Follower {
    /// Starts the thread. It ends when the follower is dropped, unless a process that is stuck in
    /// the kernel holds up a look at it; then when that goes on.
    pub(super) fn start(events: MapData, labels: Arc<Labels>) -> anyhow::Result<Self> {
        let ring = RingBuf::try_from(Map::RingBuf(events)).context("map EVENTS")?;
        // SAFETY: the call has no preconditions; the descriptor it gives is nobody else's.
        let stop = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
        if stop < 0 {
            return Err(io::Error::last_os_error()).context("make an event descriptor");
        }
        // SAFETY: as above.
        let stop = unsafe { OwnedFd::from_raw_fd(stop) };
        let shared = Arc::new(Shared {
            counts: Mutex::new(vec![Lifecycle::EMPTY; MAX_AGENTS]),
            busy: AtomicBool::new(false),
            failed: AtomicU64::new(0),
            malformed: AtomicU64::new(0),
        });
        let thread = Thread {
            labels,
            shared: Arc::clone(&shared),
            cgroups: CgroupMemory::default(),
            ending: Ending::default(),
        };
        let (number, stopped) = (ring.as_raw_fd(), stop.try_clone());
        let stopped = stopped.context("copy a descriptor")?;
        let thread = thread::Builder::new()
            .name("labels".into())
            .spawn(move || thread.run(ring, &stopped))
            .context("start the thread that labels processes")?;
        Ok(Self {
            shared,
            ring: number,
            stop,
            thread,
        })
    }

    /// Waits until what the kernel has sent so far is counted, up to a limit.
    ///
    /// # Errors
    ///
    /// When the thread has ended, which it does by itself only in a panic: from then on labels
    /// would grow old without a sign.
    pub(super) fn settle(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        // In this order: an event leaves the ring only after the thread has said that it is busy.
        loop {
            ensure!(
                !self.thread.is_finished(),
                "the thread that labels processes has ended"
            );
            let waiting = readable(self.ring, None, 0).0 || self.shared.busy.load(SeqCst);
            if !waiting || Instant::now() >= deadline {
                return Ok(());
            }
            thread::sleep(LOOK_AGAIN);
        }
    }

    /// What the kernel left to this side to count, by agent.
    pub(super) fn counts(&self) -> Vec<Lifecycle> {
        lock(&self.shared.counts).clone()
    }

    /// What could not be accounted for, by reason.
    pub(super) fn losses(&self) -> [(&'static str, u64); 2] {
        [
            (LABEL_FAILED, self.shared.failed.load(Relaxed)),
            (MALFORMED_EVENT, self.shared.malformed.load(Relaxed)),
        ]
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let one = 1_u64;
        // SAFETY: writes the 8 bytes that an event descriptor takes. It fails only where the
        // thread would have been told already.
        unsafe { libc::write(self.stop.as_raw_fd(), (&raw const one).cast(), 8) };
    }
}

/// The thread's own.
struct Thread {
    labels: Arc<Labels>,
    shared: Arc<Shared>,
    cgroups: CgroupMemory,
    ending: Ending,
}

impl Thread {
    fn run(mut self, mut ring: RingBuf<MapData>, stop: &OwnedFd) {
        loop {
            let (events, stopped) = readable(ring.as_raw_fd(), Some(stop.as_raw_fd()), -1);
            if stopped {
                return;
            }
            if events {
                self.shared.busy.store(true, SeqCst);
                while let Some(record) = ring.next() {
                    let event = decode::<Event>(&record);
                    drop(record);
                    self.ending.turn();
                    match event {
                        Some(event) => self.handle(&event),
                        None => _ = self.shared.malformed.fetch_add(1, Relaxed),
                    }
                }
                self.shared.busy.store(false, SeqCst);
            }
        }
    }

    fn handle(&mut self, event: &Event) {
        let before = AgentId::try_from(event.agent).unwrap_or(OTHER);
        let process = (event.pid, event.started_ticks);
        match event.kind {
            EXEC => {
                let answer = self.labels.exec(event, &mut self.cgroups);
                let agent = match answer {
                    Ok(answer) => {
                        if answer.end_follows {
                            self.ending.insert(process, answer.agent);
                        } else {
                            // Its end counts by its label, whatever was known before.
                            self.ending.take(process);
                        }
                        answer.agent
                    }
                    Err(error) => {
                        let failed = self.shared.failed.fetch_add(1, Relaxed);
                        if failed == 0 {
                            let pid = event.pid;
                            warn!(pid, "could not label a process: {error:#}");
                        }
                        before
                    }
                };
                if event.uncounted != 0 {
                    self.count(agent, |counts| {
                        counts.executed += 1;
                        counts.started += u64::from(agent != before && agent != OTHER);
                    });
                }
            }
            EXIT => {
                let known = self.ending.take(process);
                let out_of_memory = event.out_of_memory != 0;
                self.count(known.unwrap_or(before), |counts| {
                    counts.count_end(event.status, out_of_memory);
                });
            }
            _ => _ = self.shared.malformed.fetch_add(1, Relaxed),
        }
    }

    fn count(&self, agent: AgentId, change: impl FnOnce(&mut Lifecycle)) {
        if let Some(counts) = lock(&self.shared.counts).get_mut(usize::from(agent)) {
            change(counts);
        }
    }
}

/// Whether descriptors have something to read; waits for it up to so many milliseconds, or for
/// ever if that is negative.
fn readable(first: RawFd, second: Option<RawFd>, patience_ms: libc::c_int) -> (bool, bool) {
    let waiting = |fd| libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    };
    // A negative descriptor is passed over.
    let mut fds = [waiting(first), waiting(second.unwrap_or(-1))];
    // SAFETY: the array outlives the call. A signal makes it return early, with nothing to read.
    unsafe { libc::poll(fds.as_mut_ptr(), 2, patience_ms) };
    let [first, second] = fds.map(|fd| fd.revents & libc::POLLIN != 0);
    (first, second)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Numbers stay numbers whatever panicked.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A follower whose ring is empty.
    fn follower(busy: bool, thread: JoinHandle<()>) -> Follower {
        // SAFETY: the call has no preconditions; the descriptor it gives is nobody else's.
        let stop = unsafe { OwnedFd::from_raw_fd(libc::eventfd(0, libc::EFD_CLOEXEC)) };
        Follower {
            shared: Arc::new(Shared {
                counts: Mutex::default(),
                busy: AtomicBool::new(busy),
                failed: AtomicU64::new(0),
                malformed: AtomicU64::new(0),
            }),
            ring: stop.as_raw_fd(),
            stop,
            thread,
        }
    }

    #[test]
    fn a_thread_that_is_gone_is_an_error() {
        let gone = thread::spawn(|| ());
        while !gone.is_finished() {
            thread::yield_now();
        }
        assert!(follower(true, gone).settle().is_err());
    }

    #[test]
    fn a_thread_that_is_there_is_waited_for_up_to_a_limit() {
        for busy in [false, true] {
            let (alive, wait) = std::sync::mpsc::channel::<()>();
            let thread = thread::spawn(move || _ = wait.recv());
            let begun = Instant::now();
            assert!(follower(busy, thread).settle().is_ok());
            assert_eq!(begun.elapsed() >= PATIENCE, busy);
            drop(alive);
        }
    }
}
