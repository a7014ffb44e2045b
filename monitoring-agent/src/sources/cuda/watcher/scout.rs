//! The thread that looks at processes and their files, has probes attached to what it finds, and
//! finds out what functions are called. It may wait for a slow file system, and then holds nothing
//! that others wait for.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    mem,
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use monitoring_common::cuda::pid_of;
use tracing::{debug, info, warn};

use super::{Shared, ends::Ends, lock};
use crate::{
    clock,
    executed::{FileKey, MappedFile, patience::Patience},
    loader,
    sources::cuda::{
        discovery::{Discovery, Fate, Found, Look, Names},
        functions::Chosen,
        kernels::{Budget, Resolver},
        loading::Loading,
        probes::Probes,
    },
};

/// How often all processes are looked at, where the kernel tells of what they map: for what it does
/// not tell of, such as children, which have what their parents had.
const SAFETY_INTERVAL: Duration = Duration::from_secs(30);

/// Such a look may take one part of so many of one CPU's time; with many processes it is rarer.
const SHARE_OF_TIME: u32 = 2_000;

/// But no rarer than this.
const MAX_INTERVAL: Duration = Duration::from_mins(10);

/// How often all processes are looked at where the kernel tells nothing, and at most elsewhere.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// How often it is looked for processes that have ended, and at those that map files which are probed
/// already: nothing is lost meanwhile.
const REST_INTERVAL: Duration = Duration::from_secs(1);

/// Longest wait for the files that name one process's functions: they may be large.
const NAMES_PATIENCE: Duration = Duration::from_secs(10);

/// How often it is tried again to load the kernel object.
const LOAD_AGAIN: Duration = Duration::from_mins(5);

pub(super) struct Scout {
    shared: Arc<Shared>,
    loading: Loading,
    /// Once the kernel object is loaded.
    probes: Option<Probes<FileKey>>,
    /// When it is tried again to load it.
    load_due: Option<Instant>,
    discovery: Discovery,
    names: Names,
    chosen: Chosen,
    ends: Ends,
    resolver: Resolver,
    patience: Patience,
    /// Whether the kernel tells of what is mapped.
    told: bool,
    /// Processes to be looked at when there is time, with what they have mapped, and when.
    later: HashMap<(u32, Option<MappedFile>), u64>,
    later_due: Instant,
    /// Processes that were counted as missed in this second, and in the one before: their last events
    /// may come one by one.
    missed: [HashSet<u32>; 2],
    all_due: Instant,
    all_done: Option<Instant>,
}

impl Scout {
    pub(super) fn new(
        shared: Arc<Shared>,
        loading: Loading,
        probes: Option<Probes<FileKey>>,
        (names, chosen, told): (Names, Chosen, bool),
    ) -> Self {
        let resolver = resolver_for(&shared);
        Self {
            shared,
            loading,
            probes,
            load_due: None,
            discovery: Discovery::with_names(Path::new("/proc"), names.clone()),
            names,
            chosen,
            ends: Ends::default(),
            resolver,
            patience: Patience::new(NAMES_PATIENCE),
            told,
            later: HashMap::new(),
            later_due: Instant::now(),
            missed: Default::default(),
            all_due: Instant::now(),
            all_done: None,
        }
    }

    pub(super) fn run(mut self) {
        loop {
            let idle = self.later.is_empty() && self.ends.is_empty();
            let due = if idle {
                self.all_due
            } else {
                self.all_due.min(self.later_due)
            };
            let work = self.shared.requests.take(due);
            if work.stop {
                return;
            }
            self.hurry(work.named, work.changed);
            if work.all {
                self.look_soon();
            }
            if work.load {
                // Why not is known to collections.
                let _ = self.load();
            }
            let now = Instant::now();
            if self.load_due.is_some_and(|due| now >= due) {
                self.begin_again();
            }
            if now >= self.all_due {
                self.look_at_all(now);
            }
            if now >= self.later_due {
                self.later_due = now + REST_INTERVAL;
                self.look_at_the_rest();
            }
            if work.names {
                self.find_names();
            }
            if work.returns
                && let Err(error) = self.follow_budget()
            {
                warn!("return probes stay away: {error:#}");
            }
        }
    }

    /// Loads the kernel object, if it is not loaded yet; or says why not.
    fn load(&mut self) -> Result<(), String> {
        if self.probes.is_some() {
            return Ok(());
        }
        if let Some(why) = self.shared.failure() {
            return Err(why.to_string());
        }
        let begun = Instant::now();
        let loaded = self.loading.load(&self.shared.kernels);
        loader::release_memory();
        if self.shared.stopped.load(Ordering::Relaxed) {
            return Err("the source ends".to_owned());
        }
        let parts = loaded.map_err(|error| {
            let why = error.to_string();
            self.shared.failed(error);
            self.load_due = Some(Instant::now() + LOAD_AGAIN);
            why
        })?;
        self.probes = Some(self.shared.take_in(parts));
        self.resolver = resolver_for(&self.shared);
        info!(taken = ?begun.elapsed(), "the kernel programs for CUDA are loaded");
        Ok(())
    }

    /// Forgets that the kernel object could not be loaded, and all that was found since.
    fn begin_again(&mut self) {
        self.load_due = None;
        lock(&self.shared.handed).failure = None;
        self.discovery = Discovery::with_names(Path::new("/proc"), self.names.clone());
        self.look_soon();
    }

    /// Has the returns of leaves attached, or not, as the budget wants it.
    fn follow_budget(&mut self) -> anyhow::Result<()> {
        let (Some(probes), Some(kernel)) = (&mut self.probes, self.shared.kernel()) else {
            return Ok(());
        };
        if lock(&kernel.overhead).wants_returns() {
            let mut loaded = lock(&kernel.loaded);
            probes.attach_leaf_returns(&mut loaded)?;
            drop(loaded);
            lock(&kernel.overhead).returns_attached()
        } else {
            probes.detach_leaf_returns();
            Ok(())
        }
    }

    /// Looks at once at what has mapped a file that is not probed; at the rest later.
    fn hurry(&mut self, named: HashMap<(u32, MappedFile), u64>, changed: HashMap<u32, u64>) {
        let mut urgent = Vec::new();
        for ((pid, file), at_ns) in named {
            if self.discovery.was_probed(file, at_ns) {
                self.later.insert((pid, Some(file)), at_ns);
            } else {
                urgent.push((pid, Some(file), at_ns));
            }
        }
        let changed = changed.into_iter().map(|(pid, at_ns)| ((pid, None), at_ns));
        self.later.extend(changed);
        while !urgent.is_empty() {
            urgent = self.look_at(urgent);
        }
    }

    fn look_at_the_rest(&mut self) {
        let later = mem::take(&mut self.later).into_iter();
        let mut rest: Vec<_> = later
            .map(|((pid, file), at_ns)| (pid, file, at_ns))
            .collect();
        while !rest.is_empty() {
            rest = self.look_at(rest);
        }
        self.missed.rotate_right(1);
        self.missed[0].clear();
        // Even if none has ended, files may have changed.
        let ended: Vec<u32> = self.ends.take().into_iter().collect();
        let look = self.discovery.look_at(&ended);
        self.apply(look);
    }

    /// Looks at processes, and at what became of their calls. Those that there was no time for.
    fn look_at(
        &mut self,
        mapped: Vec<(u32, Option<MappedFile>, u64)>,
    ) -> Vec<(u32, Option<MappedFile>, u64)> {
        let pids: BTreeSet<u32> = mapped.iter().map(|(pid, ..)| *pid).collect();
        let pids: Vec<u32> = pids.into_iter().collect();
        let look = self.discovery.look_at(&pids);
        let left: BTreeSet<u32> = pids[pids.len() - look.left..].iter().copied().collect();
        self.apply(look);
        let is_left = |(pid, ..): &(u32, _, u64)| left.contains(pid);
        let (left, done): (Vec<_>, _) = mapped.into_iter().partition(is_left);
        for (pid, file, at_ns) in done {
            let fate = self.discovery.fate(pid, file, at_ns);
            self.count(pid, fate);
        }
        left
    }

    /// Counts a process whose calls were not seen, once.
    fn count(&mut self, pid: u32, fate: Fate) {
        let shared = &self.shared.missed;
        let (counter, what) = match fate {
            Fate::Known => return,
            Fate::Late => (
                &shared.probed_late,
                "its first calls into CUDA were not counted",
            ),
            Fate::Missed => (
                &shared.ended_unprobed,
                "it ended before its calls into CUDA could be counted",
            ),
        };
        if self.missed[1].contains(&pid) || !self.missed[0].insert(pid) {
            return;
        }
        counter.fetch_add(1, Ordering::Relaxed);
        debug!(pid, "{what}");
    }

    /// Has all processes looked at, but not more than once a second.
    fn look_soon(&mut self) {
        let now = Instant::now();
        let soon = self.all_done.map_or(now, |done| done + LOOK_INTERVAL);
        self.all_due = self.all_due.min(soon);
    }

    fn look_at_all(&mut self, now: Instant) {
        let begun = clock::thread_time();
        let look = self.discovery.look();
        let taken = clock::thread_time().saturating_sub(begun);
        let pause = if self.told && look.left == 0 {
            (taken * SHARE_OF_TIME).clamp(SAFETY_INTERVAL, MAX_INTERVAL)
        } else {
            LOOK_INTERVAL
        };
        self.all_done = Some(now);
        self.all_due = now + pause;
        self.apply(look);
    }

    fn apply(&mut self, look: Look) {
        if let Some(probes) = &mut self.probes {
            look.gone.iter().for_each(|key| probes.detach(key));
        }
        if !look.found.is_empty()
            && let Some(kernel) = self.shared.kernel()
            && let Err(error) = lock(&kernel.overhead).file_found()
        {
            warn!("calls into CUDA may be counted twice: {error:#}");
        }
        for found in look.found {
            let key = found.key;
            let outcome = self.attach(found);
            self.discovery.probed(key, outcome);
        }
        for (pid, why) in look.unreadable {
            warn!(pid, "its calls into CUDA are not counted: {why}");
        }
        let processes: Vec<_> = self.discovery.processes().collect();
        let pids: BTreeSet<u32> = processes.iter().map(|(pid, _)| *pid).collect();
        self.ends.watch(&pids);
        *lock(&self.shared.followed) = pids.into_iter().collect();
        *lock(&self.shared.coverage) = processes.into_iter().collect();
    }

    fn attach(&mut self, found: Found) -> Result<(), String> {
        let Found {
            key,
            file,
            path,
            mut points,
        } = found;
        points.retain(|point| self.chosen.has(point.hook));
        if points.is_empty() {
            info!(file = path, "no calls into it are to be counted");
            return Ok(());
        }
        self.load()?;
        let (Some(probes), Some(kernel)) = (&mut self.probes, self.shared.kernel()) else {
            return Err("the kernel programs are not loaded".to_owned());
        };
        self.shared.probed.store(true, Ordering::SeqCst);
        let mut loaded = lock(&kernel.loaded);
        let attached = probes.attach(&mut loaded, key, &file, &points);
        drop(loaded);
        match &attached {
            Ok(()) => info!(
                file = path,
                functions = points.len(),
                "calls into CUDA are counted"
            ),
            Err(error) => warn!(file = path, "calls into CUDA are not counted: {error:#}"),
        }
        attached.map_err(|error| format!("{error:#}"))
    }

    /// Finds out what functions are called. Locks only to ask and to answer.
    fn find_names(&mut self) {
        let mut budget = Budget::default();
        let waiting = lock(&self.shared.kernels).take_waiting();
        for (process, functions) in waiting {
            let (shared, asked) = (Arc::clone(&self.shared), functions.clone());
            let mut resolver = mem::take(&mut self.resolver);
            let found = self.patience.run(move || {
                let said = |pid, function| lock(&shared.kernels).said(pid, function);
                let names = resolver.names(process, &asked, &said, &mut budget);
                (resolver, budget, names)
            });
            let names = match found {
                Ok((resolver, left, names)) => {
                    (self.resolver, budget) = (resolver, left);
                    names
                }
                Err(why) => {
                    let pid = pid_of(process);
                    debug!(pid, "its functions' names were not found out: {why}");
                    self.resolver = resolver_for(&self.shared);
                    budget = Budget::default();
                    Resolver::unreadable(&functions)
                }
            };
            lock(&self.shared.kernels).found(process, functions, names);
        }
        if lock(&self.shared.kernels).is_waiting() {
            self.shared.find_names();
        }
    }
}

/// What finds names out, by what processes have registered if that is known.
fn resolver_for(shared: &Shared) -> Resolver {
    let kernel = shared.kernel();
    Resolver::new(kernel.map_or_else(Arc::default, |kernel| Arc::clone(&kernel.registered)))
}
