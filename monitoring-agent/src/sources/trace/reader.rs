//! The thread that takes records from the ring. It looks by itself several times a second, because
//! the kernel wakes it only when much is waiting: waking it for each span would cost more than the
//! rest of the span.
//!
//! Knows nothing of what is made of records.

use std::{
    io, mem,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::Context as _;
use aya::maps::{Map, MapData, RingBuf};
use monitoring_common::agents::start_ticks;
use tracing::error;

use super::{
    assembler::Assembler,
    facts::Looks,
    process_key::ProcessKey,
    roots::{Past, PastRoots},
    timeline::Reading,
};
use crate::{clock::monotonic_ns, identity, labels::Labels, ring::readable};

/// How often it looks while there are spans: processes are gone soon, and then nobody can look at
/// them any more.
const SOON: Duration = Duration::from_millis(20);

/// How often it looks while there are none.
const LATER: Duration = Duration::from_millis(100);

/// How long it looks often after the last span.
const BUSY_NS: u64 = 1_000_000_000;

/// Most records that are taken in before what is complete is handed on: about what the ring holds at a
/// time, so that a kernel that is faster than this thread cannot keep it from everything else.
const MOST_AT_ONCE: usize = 8_192;

/// How often what the ring holds is taken in at the end, when nobody fills it any more.
const LAST_TURNS: usize = 16;

/// Reads until it is dropped; what waits is handed on by then.
pub(super) struct Reader {
    stop: OwnedFd,
    thread: Option<JoinHandle<()>>,
}

/// The thread's own.
struct Thread {
    assembler: Assembler,
    looks: Looks,
    labels: Arc<Labels>,
}

impl Reader {
    /// Starts the thread, which begins when no other one reads the ring any more.
    pub(super) fn start(
        ring: MapData,
        labels: Arc<Labels>,
        past: Arc<PastRoots>,
        make: impl FnOnce(Past) -> Assembler + Send + 'static,
    ) -> anyhow::Result<Self> {
        let ring = RingBuf::try_from(Map::RingBuf(ring)).context("map SPANS")?;
        // SAFETY: the call has no preconditions; the descriptor it gives is nobody else's.
        let stop = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
        if stop < 0 {
            return Err(io::Error::last_os_error()).context("make an event descriptor");
        }
        // SAFETY: as above.
        let stop = unsafe { OwnedFd::from_raw_fd(stop) };
        let stopped = stop.try_clone().context("copy a descriptor")?;
        let looks = Looks::start()?;
        let run = move || {
            // Held for as long as the thread runs: nobody else reads the ring.
            let mut past = past.lock();
            let thread = Thread {
                assembler: make(mem::take(&mut *past)),
                looks,
                labels,
            };
            *past = thread.run(ring, &stopped);
        };
        let thread = thread::Builder::new()
            .name("spans".into())
            .spawn(run)
            .context("start the thread that reads spans")?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }

    /// Whether the thread has ended, which it does by itself only in a panic.
    pub(super) fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let one = 1_u64;
        // SAFETY: writes the 8 bytes that an event descriptor takes. It fails only where the thread
        // would have been told already.
        unsafe { libc::write(self.stop.as_raw_fd(), (&raw const one).cast(), 8) };
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            error!("the thread that reads spans panicked; see the log above");
        }
    }
}

impl Thread {
    fn run(mut self, mut ring: RingBuf<MapData>, stop: &OwnedFd) -> Past {
        let (ring_fd, stop) = (ring.as_raw_fd(), stop.as_raw_fd());
        let mut last_ns = 0;
        loop {
            let is_busy = monotonic_ns().saturating_sub(last_ns) < BUSY_NS;
            // A ring with a record in it would be readable at once, each time.
            let (ring_fd, patience) = if is_busy {
                (-1, SOON)
            } else {
                (ring_fd, LATER)
            };
            let [_, is_stopped] = readable([ring_fd, stop], patience);
            if self.turn(&mut ring) {
                last_ns = monotonic_ns();
            }
            if is_stopped {
                let mut left = LAST_TURNS;
                while left > 0 && self.turn(&mut ring) {
                    left -= 1;
                }
                return self.assembler.end(monotonic_ns(), is_alive);
            }
        }
    }

    /// Takes what is in the ring, and hands on what is complete. Whether there was anything.
    fn turn(&mut self, ring: &mut RingBuf<MapData>) -> bool {
        let assembler = &mut self.assembler;
        assembler.observe(Reading::now());
        assembler.names.agents = self.labels.names();
        let mut taken = 0;
        while taken < MOST_AT_ONCE
            && let Some(record) = ring.next()
        {
            taken += 1;
            assembler.take(&record, monotonic_ns());
        }
        for process in assembler.processes.take_wanted() {
            if !self.looks.ask(process) {
                assembler.processes.found(process, None);
            }
        }
        for (process, facts) in self.looks.answers() {
            assembler.processes.found(process, facts);
        }
        assembler.turn(monotonic_ns(), is_alive);
        taken > 0
    }
}

/// Whether a process is still there.
fn is_alive(process: ProcessKey) -> bool {
    let ticks = identity::started_ticks(process.pid);
    ticks.is_some_and(|ticks| process.start_ns == 0 || ticks == start_ticks(process.start_ns))
}
