//! The thread that names what was sampled and keeps it, in its own time.

use std::{
    collections::BTreeMap,
    mem,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::Context as _;
use monitoring_profile::{Profile, pprof};
use prometheus::proto::MetricFamily;
use tracing::error;

use crate::{
    clock,
    profile::{
        Type,
        assemble::{Content, Filter, assemble},
        history::History,
        placer::Window,
        profiler::Profiler,
    },
};

/// Windows that may wait to be named: one is named while the next one comes. What does not fit is not
/// in the history, and counts as lost.
const WAITING: usize = 8;

/// Most memory of windows that wait to be named or are being named; one may take more. On a node where
/// naming is slower than sampling there are always as many as fit.
const WAITING_BYTES: usize = 16 << 20;

/// How much time windows are of that are named together: of shorter ones several, so that a file is
/// not read anew for each.
const NAMING_INTERVAL: Duration = Duration::from_secs(10);

/// Largest profile that is added to: one that has grown beyond is kept before its time, so that the
/// agent's memory does not depend on what the node runs.
const LARGEST_BYTES: usize = 4 << 20;

/// What a window is of.
pub(super) struct Recorded {
    pub(super) content: Content,
    pub(super) window: Window,
    /// When it was handed over, by [`clock::since_boot`].
    pub(super) ended: Duration,
    /// The agents' names when it ended.
    pub(super) agents: Arc<[String]>,
}

/// The thread. When this is closed or dropped, it keeps what it has, and ends.
pub(super) struct Keeper {
    windows: SyncSender<Recorded>,
    history: History,
    lost: AtomicU64,
    waiting: Arc<AtomicUsize>,
    thread: JoinHandle<()>,
}

impl Keeper {
    /// Keeps profiles in this history, each of about this time.
    pub(super) fn start(
        profiler: &Arc<Profiler>,
        history: &History,
        length: Duration,
    ) -> anyhow::Result<Self> {
        let (windows, receiver) = sync_channel(WAITING);
        let profiler = Arc::clone(profiler);
        let waiting = Arc::<AtomicUsize>::default();
        let mut shelf = Shelf {
            history: history.clone(),
            waiting: Arc::clone(&waiting),
            length,
            unnamed: Vec::new(),
            open: BTreeMap::new(),
        };
        let thread = thread::Builder::new()
            .name("profile-keeper".into())
            .spawn(move || shelf.fill(&receiver, &profiler))
            .context("start the thread that keeps profiles")?;
        Ok(Self {
            windows,
            history: history.clone(),
            lost: AtomicU64::new(0),
            waiting,
            thread,
        })
    }

    /// Takes no more windows; the thread ends when it has kept those that it has.
    pub(super) fn close(self) -> JoinHandle<()> {
        self.thread
    }

    /// Has a window kept. Does not wait.
    pub(super) fn keep(&self, recorded: Recorded) {
        let bytes = recorded.window.memory_bytes();
        // Only this thread adds to it.
        let waiting = self.waiting.load(Ordering::Relaxed);
        let has_room = waiting == 0 || waiting + bytes <= WAITING_BYTES;
        self.waiting.fetch_add(bytes, Ordering::Relaxed);
        if !has_room || self.windows.try_send(recorded).is_err() {
            self.waiting.fetch_sub(bytes, Ordering::Relaxed);
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How much is kept.
    pub(super) fn families(&self) -> Vec<MetricFamily> {
        self.history.families()
    }

    /// What is not, by reason.
    pub(super) fn lost(&self) -> Vec<(&'static str, u64)> {
        let mut lost = self.history.lost();
        lost.push(("unnamed_window", self.lost.load(Ordering::Relaxed)));
        lost
    }
}

/// Profiles that are being added to.
struct Shelf {
    history: History,
    /// See [`WAITING_BYTES`].
    waiting: Arc<AtomicUsize>,
    length: Duration,
    /// Windows that have not been named yet.
    unnamed: Vec<Recorded>,
    open: BTreeMap<Type, Open>,
}

struct Open {
    profile: Profile,
    /// By [`clock::since_boot`].
    since: Duration,
}

impl Shelf {
    fn fill(&mut self, windows: &Receiver<Recorded>, profiler: &Profiler) {
        loop {
            let due = self
                .open
                .values()
                .map(|open| open.since + self.length)
                .min();
            let wait = due.map_or(self.length, |due| due.saturating_sub(clock::since_boot()));
            let (ended, is_due) = match windows.recv_timeout(wait) {
                Ok(recorded) => {
                    self.unnamed.push(recorded);
                    (false, false)
                }
                Err(RecvTimeoutError::Timeout) => (false, true),
                Err(RecvTimeoutError::Disconnected) => (true, true),
            };
            let lasted: Duration = self.unnamed.iter().map(|new| new.window.lasted).sum();
            if lasted >= NAMING_INTERVAL || is_due {
                self.name(profiler);
            }
            self.keep(ended);
            if ended {
                return;
            }
        }
    }

    /// Names the windows that are there, and adds them to what is open.
    fn name(&mut self, profiler: &Profiler) {
        let unnamed = mem::take(&mut self.unnamed);
        if unnamed.len() > 1 {
            // All at once: each file is read once for what is new in any of them.
            let windows = || unnamed.iter().map(|recorded| &recorded.window);
            let places = windows().flat_map(|window| window.places.iter().cloned());
            let kernel = windows().flat_map(|window| window.kernel.iter().copied());
            let (places, kernel): (Vec<_>, Vec<_>) = (places.collect(), kernel.collect());
            profiler.symbols().name(&places, &kernel);
        }
        for recorded in unnamed {
            self.add(&recorded, profiler);
            let bytes = recorded.window.memory_bytes();
            drop(recorded);
            self.waiting.fetch_sub(bytes, Ordering::Relaxed);
        }
    }

    fn add(&mut self, recorded: &Recorded, profiler: &Profiler) {
        let Recorded {
            content,
            window,
            ended,
            agents,
        } = recorded;
        let filter = Filter::default();
        let more = assemble(window, *content, profiler.symbols(), agents, filter);
        let since = ended.saturating_sub(window.lasted);
        match self.open.get_mut(&content.kind) {
            None => {
                let open = Open {
                    profile: more,
                    since,
                };
                self.open.insert(content.kind, open);
            }
            Some(open) => {
                if let Err(error) = open.profile.merge(&more) {
                    error!("a window is missing in the history of profiles: {error}");
                }
            }
        }
    }

    /// Puts away what is as long or as large as it should be, or everything.
    fn keep(&mut self, everything: bool) {
        let kinds: Vec<_> = self.open.keys().copied().collect();
        for kind in kinds {
            let open = &self.open[&kind];
            let length = clock::since_boot().saturating_sub(open.since);
            let is_full =
                length >= self.length || open.profile.memory_bytes() > LARGEST_BYTES || everything;
            if !is_full {
                continue;
            }
            let Some(open) = self.open.remove(&kind) else {
                continue;
            };
            let bytes = pprof::write(&open.profile);
            // A failure has been counted and said; the next window is tried again.
            let _ = self.history.keep(kind, length, &bytes);
        }
    }
}
