//! The threads that keep up with the node's processes.
//!
//! One listens: to the kernel, which tells of files as they are mapped, and to the kernel programs,
//! which tell of functions. It opens nothing and waits for nobody, so that the rings in which both
//! are told do not run over. The other, the [`scout`], is told by it what to look at; it reads
//! processes' files, and may wait for a slow file system. Collections only take what it has found
//! out; no lock is held while it reads files.

mod ends;
mod listener;
mod requests;
mod scout;

use std::{
    collections::{BTreeMap, HashSet},
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
};

use anyhow::{Context as _, anyhow};
use aya::maps::{MapData, RingBuf};
use tracing::warn;

use self::{listener::Listener, requests::Requests, scout::Scout};
use super::{
    counting::Counting,
    discovery::{Coverage, Names},
    functions::Chosen,
    kernels::Kernels,
    loading::{Kernel, Loading, Parts},
    probes::Probes,
};
use crate::{
    executed::{Events, FileKey},
    source::StartError,
};

/// What the threads and the collections share.
pub(super) struct Shared {
    /// The kernel object, once it is loaded.
    kernel: OnceLock<Kernel>,
    /// What of it nobody has taken yet.
    handed: Mutex<Handed>,
    pub(super) kernels: Arc<Mutex<Kernels>>,
    /// Processes that use CUDA, and how much of it is seen.
    pub(super) coverage: Mutex<BTreeMap<u32, Coverage>>,
    /// The same processes: everything that they map is of interest.
    followed: Mutex<HashSet<u32>>,
    requests: Requests,
    /// Readable when the listener is to look at once.
    look: OwnedFd,
    stopped: AtomicBool,
    /// Whether probing any file was begun.
    probed: AtomicBool,
    missed: Missed,
}

/// What is for one thread each; and why there is nothing.
#[derive(Default)]
struct Handed {
    counting: Option<Counting>,
    names: Option<RingBuf<MapData>>,
    failure: Option<StartError>,
}

/// Processes whose calls were not seen.
#[derive(Debug, Default)]
struct Missed {
    ended_unprobed: AtomicU64,
    probed_late: AtomicU64,
    mappings_lost: AtomicU64,
}

impl Shared {
    pub(super) fn new() -> io::Result<Self> {
        // SAFETY: the call has no preconditions; the descriptor it gives is nobody else's.
        let look = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if look < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self {
            kernel: OnceLock::new(),
            handed: Mutex::default(),
            kernels: Arc::default(),
            coverage: Mutex::default(),
            followed: Mutex::default(),
            requests: Requests::default(),
            // SAFETY: as above.
            look: unsafe { OwnedFd::from_raw_fd(look) },
            stopped: AtomicBool::new(false),
            probed: AtomicBool::new(false),
            missed: Missed::default(),
        })
    }

    /// Makes the loaded object known to all; gives what is for who attaches it.
    pub(super) fn take_in(&self, parts: Parts) -> Probes<FileKey> {
        // Only ever loaded by one thread, and once.
        let _ = self.kernel.set(parts.kernel);
        *lock(&self.handed) = Handed {
            counting: Some(parts.counting),
            names: Some(parts.names),
            failure: None,
        };
        // The listener takes the ring of names.
        self.look();
        parts.probes
    }

    /// Notes that it could not be loaded, and why.
    fn failed(&self, why: StartError) {
        lock(&self.handed).failure = Some(why);
    }

    /// The kernel object, if it is loaded.
    pub(super) fn kernel(&self) -> Option<&Kernel> {
        self.kernel.get()
    }

    /// What collections read of it, once.
    pub(super) fn counting(&self) -> Option<Counting> {
        lock(&self.handed).counting.take()
    }

    /// Why it is not loaded though it is needed.
    pub(super) fn failure(&self) -> Option<StartError> {
        let handed = lock(&self.handed);
        let failure = handed.failure.as_ref()?;
        Some(match failure {
            StartError::Unsupported(why) => StartError::Unsupported(why.clone()),
            StartError::Broken(why) => StartError::Broken(anyhow!("{why:#}")),
        })
    }

    /// Has the object loaded before anybody uses CUDA.
    pub(super) fn expect_calls(&self) {
        self.requests.add(|work| work.load = true);
    }

    /// Whether anything can have been counted.
    pub(super) fn has_probed(&self) -> bool {
        self.probed.load(Ordering::SeqCst)
    }

    /// Has names looked for that a collection waits for: first in the kernel's ring.
    pub(super) fn look_for_names(&self) {
        self.look();
    }

    fn look(&self) {
        let one = 1_u64;
        // SAFETY: writes the 8 bytes that an event descriptor takes. It fails only where the
        // thread would have been told already.
        unsafe { libc::write(self.look.as_raw_fd(), (&raw const one).cast(), 8) };
    }

    /// Forgets that the listener is to look.
    fn looks(&self) {
        let mut count = 0_u64;
        // SAFETY: reads the 8 bytes that an event descriptor gives. It fails where nobody asked.
        unsafe { libc::read(self.look.as_raw_fd(), (&raw mut count).cast(), 8) };
    }

    /// Has names looked for that launches wait for.
    fn find_names(&self) {
        self.requests.add(|work| work.names = true);
    }

    /// Has the returns of leaves attached or detached.
    pub(super) fn follow_budget(&self) {
        self.requests.add(|work| work.returns = true);
    }

    /// What was not seen, by reason.
    pub(super) fn missed(&self) -> [(&'static str, u64); 3] {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        [
            ("ended_unprobed", of(&self.missed.ended_unprobed)),
            ("probed_late", of(&self.missed.probed_late)),
            ("mappings_lost", of(&self.missed.mappings_lost)),
        ]
    }
}

/// The threads, until this is dropped.
pub(super) struct Watcher {
    shared: Arc<Shared>,
    _threads: [JoinHandle<()>; 2],
}

impl Watcher {
    /// Begins to look for files of these names, and to attach to the functions that are chosen.
    pub(super) fn start(
        shared: &Arc<Shared>,
        loading: Loading,
        probes: Option<Probes<FileKey>>,
        names: Names,
        chosen: Chosen,
    ) -> anyhow::Result<Self> {
        let events = Events::open();
        let events = events.inspect_err(|error| {
            warn!(
                "the kernel does not tell of files that are mapped, so all processes are looked at \
                 every second, and what lives shorter may be missed: {error}"
            );
        });
        let found_by = (names.clone(), chosen, events.is_ok());
        let scout = Scout::new(Arc::clone(shared), loading, probes, found_by);
        let mut listener = Listener::new(Arc::clone(shared), events.ok(), names);
        let listening = thread::Builder::new()
            .name("cuda-listener".into())
            .spawn(move || listener.run())
            .context("start the thread that hears of CUDA's libraries")?;
        let scouting = thread::Builder::new()
            .name("cuda-scout".into())
            .spawn(move || scout.run())
            .context("start the thread that looks for CUDA's libraries")?;
        Ok(Self {
            shared: Arc::clone(shared),
            _threads: [listening, scouting],
        })
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
        self.shared.look();
        self.shared.requests.add(|work| work.stop = true);
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each value is changed as a whole, whatever panicked.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
