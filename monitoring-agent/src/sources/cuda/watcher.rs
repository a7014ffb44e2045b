//! The thread that keeps up with the node's processes: finds files, has them probed, and takes what
//! the kernel programs say of functions.
//!
//! It opens files of tenants, and may wait for a slow file system. Collections only take what it has
//! found out; the lock between them is never held during that.

use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use aya::maps::{Map, MapData, RingBuf};
use tracing::{info, warn};

use super::{
    discovery::{Coverage, Discovery, FileKey, Look},
    kernels::Kernels,
    probes::Probes,
};
use crate::loader::Loaded;

/// How often all processes are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// What the thread and the collections share.
pub(super) struct Shared {
    pub(super) loaded: Mutex<Loaded>,
    pub(super) kernels: Mutex<Kernels>,
    /// Processes that use CUDA, and how much of it is seen.
    pub(super) coverage: Mutex<BTreeMap<u32, Coverage>>,
}

/// The thread, until it is dropped.
pub(super) struct Watcher {
    stop: OwnedFd,
    _thread: JoinHandle<()>,
}

impl Watcher {
    pub(super) fn start(
        shared: Arc<Shared>,
        probes: Probes<FileKey>,
        names: MapData,
    ) -> anyhow::Result<Self> {
        let ring = RingBuf::try_from(Map::RingBuf(names)).context("map NAMES")?;
        // SAFETY: the call has no preconditions; the descriptor it gives is nobody else's.
        let stop = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
        if stop < 0 {
            return Err(io::Error::last_os_error()).context("make an event descriptor");
        }
        // SAFETY: as above.
        let stop = unsafe { OwnedFd::from_raw_fd(stop) };
        let stopped = stop.try_clone().context("copy a descriptor")?;
        let mut thread = Thread {
            shared,
            probes,
            discovery: Discovery::new(Path::new("/proc")),
        };
        let thread = thread::Builder::new()
            .name("cuda".into())
            .spawn(move || thread.run(ring, &stopped))
            .context("start the thread that finds CUDA's libraries")?;
        Ok(Self {
            stop,
            _thread: thread,
        })
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let one = 1_u64;
        // SAFETY: writes the 8 bytes that an event descriptor takes. It fails only where the
        // thread would have been told already.
        unsafe { libc::write(self.stop.as_raw_fd(), (&raw const one).cast(), 8) };
    }
}

struct Thread {
    shared: Arc<Shared>,
    probes: Probes<FileKey>,
    discovery: Discovery,
}

impl Thread {
    fn run(&mut self, mut ring: RingBuf<MapData>, stop: &OwnedFd) {
        let mut due = Instant::now();
        loop {
            if due <= Instant::now() {
                due = Instant::now() + LOOK_INTERVAL;
                let look = self.discovery.look();
                self.apply(look);
            }
            let left = due.saturating_duration_since(Instant::now());
            let (names, stopped) = readable(ring.as_raw_fd(), stop.as_raw_fd(), left);
            if stopped {
                return;
            }
            let mut kernels = lock(&self.shared.kernels);
            while names && let Some(record) = ring.next() {
                kernels.received(&record);
            }
            let mut search = kernels.begin_search();
            drop(kernels);
            // Nobody waits for the files that it reads.
            search.run(|pid, function| lock(&self.shared.kernels).name(pid, function));
            lock(&self.shared.kernels).end_search(search);
        }
    }

    fn apply(&mut self, look: Look) {
        for key in look.gone {
            self.probes.detach(&key);
        }
        for found in look.found {
            let mut loaded = lock(&self.shared.loaded);
            let attached = self
                .probes
                .attach(&mut loaded, found.key, &found.file, &found.points);
            drop(loaded);
            match &attached {
                Ok(()) => info!(
                    file = found.path,
                    functions = found.points.len(),
                    "calls into CUDA are counted"
                ),
                Err(error) => warn!(
                    file = found.path,
                    "calls into CUDA are not counted: {error:#}"
                ),
            }
            let outcome = attached.map_err(|error| format!("{error:#}"));
            self.discovery.probed(found.key, outcome);
        }
        for (pid, why) in look.unreadable {
            warn!(pid, "its calls into CUDA are not counted: {why}");
        }
        *lock(&self.shared.coverage) = self.discovery.processes().collect();
    }
}

/// Whether descriptors have something to read; waits for it for some time.
fn readable(first: RawFd, second: RawFd, patience: Duration) -> (bool, bool) {
    let waiting = |fd| libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    };
    let mut fds = [waiting(first), waiting(second)];
    let milliseconds = i32::try_from(patience.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: the array outlives the call. A signal makes it return early, with nothing to read.
    unsafe { libc::poll(fds.as_mut_ptr(), 2, milliseconds) };
    let [first, second] = fds.map(|fd| fd.revents & libc::POLLIN != 0);
    (first, second)
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each value is changed as a whole, whatever panicked.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
