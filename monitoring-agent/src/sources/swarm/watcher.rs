//! The thread that keeps up with files that have hooks: has them found, and probes them.
//!
//! The kernel tells it of each file that is mapped to be executed. Nobody is woken for that but ten
//! times a second, and where nothing is mapped the first mapping wakes it.

use std::{
    collections::HashSet,
    io::{self, PipeReader, PipeWriter},
    os::fd::AsRawFd,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use tracing::{info, warn};

use super::{
    finder::{Finder, Hooked, Told},
    hooks::Place,
    probes::Probes,
    unseen::Counts,
};
use crate::{
    clock,
    executed::{Events, files::Changes, pace::Pace},
    loader::{FunctionProbe, Loaded},
    ring::readable,
};

/// How often the kernel's rings are read. What a program says between mapping a file that nobody has
/// mapped before and then is not seen, so it is short.
const LISTEN_INTERVAL: Duration = Duration::from_millis(100);

/// How often in a row the rings have to be empty until they are left alone.
const QUIET_LISTENS: u32 = 2;

/// How long after the first mapping the rings are read: programs begin by mapping one file after
/// another.
const SETTLE_INTERVAL: Duration = Duration::from_millis(20);

/// How often CPUs are looked for that were switched on or off, and late processes forgotten.
const CPU_INTERVAL: Duration = Duration::from_secs(1);

/// How often all processes are looked at where the kernel tells of what they map: for whether anyone
/// uses files with hooks.
const SAFETY_INTERVAL: Duration = Duration::from_secs(30);

/// The same where the kernel tells nothing.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Such a look may take one part of so many of one CPU's time; with many processes it is rarer.
const SHARE_OF_TIME: u32 = 2_000;

/// But no rarer than this, which is also how often it is done as long as nobody has hooks.
const MAX_INTERVAL: Duration = Duration::from_mins(10);

/// Most mappings that are kept while a file is being probed.
const MAX_TOLD: usize = 16_384;

/// What the thread and the collections share.
pub(super) struct Shared {
    pub(super) loaded: Mutex<Loaded>,
    /// Files that are probed, each at all of its places.
    probed: AtomicU64,
    late: AtomicU64,
    mappings_lost: AtomicU64,
    unseen: Arc<Counts>,
}

impl Shared {
    pub(super) fn new(loaded: Loaded) -> Self {
        Self {
            loaded: Mutex::new(loaded),
            probed: AtomicU64::new(0),
            late: AtomicU64::new(0),
            mappings_lost: AtomicU64::new(0),
            unseen: Arc::default(),
        }
    }

    /// Files that are probed.
    pub(super) fn probed(&self) -> u64 {
        self.probed.load(Relaxed)
    }

    /// What was not seen, by reason.
    pub(super) fn missed(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let own = [
            ("probed_late", self.late.load(Relaxed)),
            ("mappings_lost", self.mappings_lost.load(Relaxed)),
        ];
        own.into_iter().chain(self.unseen.read())
    }
}

/// The thread, until this is dropped.
pub(super) struct Watcher {
    /// Closed, it wakes the thread.
    _stop: PipeWriter,
}

impl Watcher {
    pub(super) fn start(shared: &Arc<Shared>, probe: FunctionProbe) -> anyhow::Result<Self> {
        let events = Events::open().inspect_err(|error| {
            warn!(
                "the kernel does not tell of files that are mapped, so all processes are looked at \
                 every second, and what lives shorter may be missed: {error}"
            );
        });
        let (stopped, stop) = io::pipe().context("make a pipe")?;
        let keeper = Keeper {
            shared: Arc::clone(shared),
            probes: Probes::new(probe),
            finder: Finder::new(Path::new("/proc"), &shared.unseen),
            news: News {
                shared: Arc::clone(shared),
                events: events.ok(),
                stopped,
                told: Vec::new(),
                lost: false,
                woken: false,
            },
            all_due: Instant::now(),
            taken: Duration::ZERO,
            late: Default::default(),
        };
        thread::Builder::new()
            .name("swarm-files".into())
            .spawn(move || keeper.run())
            .context("start the thread that looks for hooks")?;
        Ok(Self { _stop: stop })
    }
}

/// What the thread has.
struct Keeper {
    shared: Arc<Shared>,
    probes: Probes,
    finder: Finder,
    news: News,
    /// When all processes are looked at.
    all_due: Instant,
    /// What the running look at all has taken.
    taken: Duration,
    /// Processes that were counted as late in this second, and in the one before.
    late: [HashSet<u32>; 2],
}

/// What the thread is told, also while it probes a file.
struct News {
    shared: Arc<Shared>,
    events: Option<Events>,
    /// Readable when the thread is to end.
    stopped: PipeReader,
    /// What was mapped, and not looked at yet.
    told: Vec<Told>,
    /// Whether some of it was lost.
    lost: bool,
    /// Whether the rings were no longer left alone.
    woken: bool,
}

impl News {
    /// Takes in what was mapped. Whether anything was.
    fn take(&mut self) -> bool {
        let Some(events) = &mut self.events else {
            return false;
        };
        let (told, mut over) = (&mut self.told, 0);
        let heard = events.take(|record| {
            if told.len() >= MAX_TOLD {
                over += 1;
                return;
            }
            told.push(Told {
                pid: record.pid,
                file: record.file,
                at_ns: record.at_ns,
                path: record.path.to_owned(),
            });
        });
        let lost = heard.lost + over;
        self.shared.mappings_lost.fetch_add(lost, Relaxed);
        self.lost |= lost > 0;
        heard.any
    }

    /// Takes in what was mapped while something else takes long. Whether to go on with that.
    fn go_on(&mut self) -> bool {
        self.woken |= self.events.as_mut().is_some_and(Events::rest);
        self.take();
        !self.ends()
    }

    fn ends(&self) -> bool {
        readable([self.stopped.as_raw_fd()], Duration::ZERO) == [true]
    }
}

impl Keeper {
    fn run(mut self) {
        let (mut due, mut cpus_due) = (Instant::now(), Instant::now() + CPU_INTERVAL);
        let mut pace = Pace::new(Instant::now());
        let mut quiet = 0;
        let mut rests_until = Instant::now();
        loop {
            let now = Instant::now();
            let next = if self.finder.is_looking() {
                now
            } else {
                due.min(self.all_due)
            };
            let wait = next.max(rests_until).saturating_duration_since(now);
            // While it rests, nobody wakes it.
            let events = self.news.events.as_ref().filter(|_| now >= rests_until);
            let events = events.map_or(-1, AsRawFd::as_raw_fd);
            let [ends, told] = readable([self.news.stopped.as_raw_fd(), events], wait);
            if ends {
                return;
            }
            let (now, begun) = (Instant::now(), clock::thread_time());
            if told && self.news.events.as_mut().is_some_and(Events::rest) {
                (due, quiet) = (now + SETTLE_INTERVAL, 0);
                continue;
            }
            if now >= cpus_due {
                cpus_due = now + CPU_INTERVAL;
                self.follow_cpus();
                self.late.rotate_right(1);
                self.late[0].clear();
            }
            if told || now >= due {
                quiet = if self.listen() { 0 } else { quiet + 1 };
                due = if quiet >= QUIET_LISTENS && self.is_left_alone() {
                    cpus_due
                } else {
                    now + LISTEN_INTERVAL
                };
            }
            self.look_at_all(now);
            if std::mem::take(&mut self.news.woken) || !self.news.told.is_empty() {
                (due, quiet) = (Instant::now(), 0);
            }
            let spent = clock::thread_time().saturating_sub(begun);
            rests_until = Instant::now() + pace.rest(Instant::now(), spent);
        }
    }

    /// Takes in what was mapped. Whether anything was.
    fn listen(&mut self) -> bool {
        let any = self.news.take() || !self.news.told.is_empty();
        if std::mem::take(&mut self.news.lost) {
            self.look_soon();
        }
        let told = std::mem::take(&mut self.news.told);
        if !told.is_empty() {
            let changes = self.finder.look_at(&told);
            self.apply(changes);
            self.count_late(&told);
        }
        any
    }

    /// Counts processes that may have called hooks before they were probed, each once.
    fn count_late(&mut self, told: &[Told]) {
        for told in told.iter().filter(|told| self.finder.was_late(told)) {
            if !self.late[1].contains(&told.pid) && self.late[0].insert(told.pid) {
                self.shared.late.fetch_add(1, Relaxed);
            }
        }
    }

    /// Leaves the rings alone until something is mapped. Whether it does.
    fn is_left_alone(&mut self) -> bool {
        let events = &mut self.news.events;
        let watches = events.as_mut().is_some_and(|events| events.watch().is_ok());
        // What was mapped before that has woken nobody.
        if watches && !self.listen() {
            return true;
        }
        if let Some(events) = &mut self.news.events {
            events.rest();
        }
        false
    }

    /// Has all processes looked at.
    fn look_soon(&mut self) {
        self.all_due = Instant::now();
    }

    /// Goes on looking at all processes, or begins to when it is time.
    fn look_at_all(&mut self, now: Instant) {
        if now >= self.all_due && !self.finder.is_looking() {
            self.finder.begin();
            self.taken = Duration::ZERO;
        }
        if !self.finder.is_looking() {
            return;
        }
        let begun = clock::thread_time();
        let changes = self.finder.look();
        self.apply(changes);
        self.taken += clock::thread_time().saturating_sub(begun);
        let pause = if self.news.events.is_none() {
            LOOK_INTERVAL
        } else if self.probes.len() == 0 && !self.finder.is_incomplete() {
            MAX_INTERVAL
        } else {
            (self.taken * SHARE_OF_TIME).clamp(SAFETY_INTERVAL, MAX_INTERVAL)
        };
        self.all_due = Instant::now() + pause;
    }

    fn follow_cpus(&mut self) {
        let Some(events) = &mut self.news.events else {
            return;
        };
        match events.follow_cpus() {
            Ok(false) => {}
            Ok(true) => self.look_soon(),
            Err(error) => {
                warn!("what is mapped on some CPU is found late: {error}");
                self.look_soon();
            }
        }
    }

    fn apply(&mut self, changes: Changes<Place>) {
        for key in changes.gone {
            self.probes.remove(key);
        }
        for found in changes.found {
            // Each takes tens of milliseconds at least, and the rings fill up meanwhile.
            if !self.news.go_on() {
                return;
            }
            let outcome = self.attach(&found);
            if self.news.ends() {
                return;
            }
            self.finder.probed(found.key, &found.path, outcome);
        }
        let probed = u64::try_from(self.probes.len()).unwrap_or(u64::MAX);
        self.shared.probed.store(probed, Relaxed);
    }

    fn attach(&mut self, found: &Hooked) -> Result<(), String> {
        // From now on somebody may stop using it.
        self.all_due = self.all_due.min(Instant::now() + SAFETY_INTERVAL);
        let mut loaded = lock(&self.shared.loaded);
        let news = &mut self.news;
        let added = self.probes.add(&mut loaded, found, || news.go_on());
        drop(loaded);
        added.map_err(|error| format!("{error:#}"))?;
        let (file, places) = (&found.path, found.points.len());
        info!(file, places, "what a program says of its agents is counted");
        Ok(())
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each value is changed as a whole, whatever panicked.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
