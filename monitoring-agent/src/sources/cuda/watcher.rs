//! The threads that keep up with the node's processes.
//!
//! One listens: to the kernel, which tells of files as they are mapped, and to the kernel programs,
//! which tell of functions. It opens nothing and waits for nobody, so that the rings in which both
//! are told do not run over. The other, the [`scout`], is told by it what to look at; it reads
//! processes' files, and may wait for a slow file system. Collections only take what it has found
//! out; no lock is held while it reads files.

mod ends;
mod pace;
mod requests;
mod scout;

use std::{
    collections::{BTreeMap, HashSet},
    io,
    os::fd::{AsRawFd, FromRawFd as _, OwnedFd, RawFd},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use aya::maps::{Map, MapData, RingBuf};
use tracing::warn;

use self::{pace::Pace, requests::Requests, scout::Scout};
use super::{
    discovery::{Coverage, Events, FileKey, Names},
    functions::Chosen,
    kernels::{Kernels, Registered},
    overhead::Overhead,
    probes::Probes,
};
use crate::{clock, loader::Loaded};

/// How often the kernel's rings are read. What a process calls between mapping a library that nobody
/// has mapped before and then is not seen, so it is short; nobody is woken more often for it, however
/// many programs start.
const LISTEN_INTERVAL: Duration = Duration::from_millis(100);

/// Most names that are taken in at a time: collections wait for as long.
const MAX_NAMES: usize = 1_024;

/// How often CPUs are looked for that were switched on or off.
const CPU_INTERVAL: Duration = Duration::from_secs(1);

/// What the threads and the collections share.
pub(super) struct Shared {
    pub(super) loaded: Mutex<Loaded>,
    pub(super) kernels: Arc<Mutex<Kernels>>,
    /// What processes have registered.
    registered: Arc<Registered>,
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
    pub(super) overhead: Mutex<Overhead>,
}

/// Processes whose calls were not seen.
#[derive(Debug, Default)]
struct Missed {
    ended_unprobed: AtomicU64,
    probed_late: AtomicU64,
    mappings_lost: AtomicU64,
}

impl Shared {
    pub(super) fn new(
        loaded: Loaded,
        kernels: Arc<Mutex<Kernels>>,
        registered: Registered,
        overhead: Overhead,
    ) -> io::Result<Self> {
        // SAFETY: the call has no preconditions; the descriptor it gives is nobody else's.
        let look = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if look < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self {
            loaded: Mutex::new(loaded),
            kernels,
            registered: Arc::new(registered),
            coverage: Mutex::default(),
            followed: Mutex::default(),
            requests: Requests::default(),
            // SAFETY: as above.
            look: unsafe { OwnedFd::from_raw_fd(look) },
            stopped: AtomicBool::new(false),
            probed: AtomicBool::new(false),
            missed: Missed::default(),
            overhead: Mutex::new(overhead),
        })
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
        probes: Probes<FileKey>,
        told: MapData,
        names: Names,
        chosen: Chosen,
    ) -> anyhow::Result<Self> {
        let ring = RingBuf::try_from(Map::RingBuf(told)).context("map NAMES")?;
        let events = Events::open(names.clone());
        let events = events.inspect_err(|error| {
            warn!(
                "the kernel does not tell of files that are mapped, so all processes are looked at \
                 every second, and what lives shorter may be missed: {error}"
            );
        });
        let scout = Scout::new(Arc::clone(shared), probes, names, chosen, events.is_ok());
        let mut listener = Listener {
            shared: Arc::clone(shared),
            ring,
            events: events.ok(),
        };
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

struct Listener {
    shared: Arc<Shared>,
    ring: RingBuf<MapData>,
    events: Option<Events>,
}

impl Listener {
    fn run(&mut self) {
        let (mut due, mut cpus_due) = (Instant::now(), Instant::now() + CPU_INTERVAL);
        let mut pace = Pace::new(Instant::now());
        let mut rests_until = Instant::now();
        loop {
            let now = Instant::now();
            let rests = now < rests_until;
            let next = if rests { rests_until } else { due };
            let events = self.events.as_ref().map_or(-1, AsRawFd::as_raw_fd);
            let rings = [self.ring.as_raw_fd(), events].map(|ring| if rests { -1 } else { ring });
            let fds = [self.shared.look.as_raw_fd(), rings[0], rings[1]];
            let [asked, named, full] = readable(fds, next.saturating_duration_since(now));
            if self.shared.stopped.load(Ordering::Relaxed) {
                return;
            }
            let begun = clock::thread_time();
            let now = Instant::now();
            let is_due = now >= due && now >= rests_until;
            if asked {
                self.shared.looks();
            }
            let more = (asked || named || is_due) && self.hear_names();
            if !(asked || named || full || is_due) {
                continue;
            }
            if full || is_due {
                due = now + LISTEN_INTERVAL;
                self.hear_events();
            }
            if now >= cpus_due {
                cpus_due = now + CPU_INTERVAL;
                self.follow_cpus();
            }
            let spent = clock::thread_time().saturating_sub(begun);
            rests_until = rests_until.max(now + pace.rest(Instant::now(), spent));
            if more {
                due = rests_until;
            }
        }
    }

    /// Takes in what functions are called. Whether there is more.
    fn hear_names(&mut self) -> bool {
        let mut kernels = lock(&self.shared.kernels);
        let mut taken = 0;
        while taken < MAX_NAMES
            && let Some(record) = self.ring.next()
        {
            kernels.received(&record);
            taken += 1;
        }
        let waiting = kernels.is_waiting();
        drop(kernels);
        if waiting {
            self.shared.find_names();
        }
        taken == MAX_NAMES
    }

    fn hear_events(&mut self) {
        let Some(events) = &mut self.events else {
            return;
        };
        let news = events.take(&lock(&self.shared.followed));
        if news.named.is_empty() && news.changed.is_empty() && news.lost == 0 {
            return;
        }
        let mut lost = news.lost;
        self.shared.requests.add(|work| lost += work.tell(news));
        let counter = &self.shared.missed.mappings_lost;
        counter.fetch_add(lost, Ordering::Relaxed);
    }

    fn follow_cpus(&mut self) {
        let Some(events) = &mut self.events else {
            return;
        };
        match events.follow_cpus() {
            Ok(false) => {}
            Ok(true) => self.shared.requests.add(|work| work.all = true),
            Err(error) => {
                warn!("what is mapped on some CPU is found late: {error}");
                self.shared.requests.add(|work| work.all = true);
            }
        }
    }
}

/// Which descriptors have something to read; waits for it for some time.
fn readable(fds: [RawFd; 3], patience: Duration) -> [bool; 3] {
    let mut fds = fds.map(|fd| libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    });
    // Rounded up: what is not due yet is waited for.
    let milliseconds = patience.as_micros().div_ceil(1_000);
    let milliseconds = i32::try_from(milliseconds).unwrap_or(i32::MAX);
    // SAFETY: the array outlives the call. A signal makes it return early, with nothing to read. A
    // negative descriptor is passed over.
    unsafe { libc::poll(fds.as_mut_ptr(), 3, milliseconds) };
    fds.map(|fd| fd.revents & libc::POLLIN != 0)
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each value is changed as a whole, whatever panicked.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
