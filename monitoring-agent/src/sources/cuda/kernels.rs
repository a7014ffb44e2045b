//! What launched functions are called, and their launches by name.
//!
//! Names come from the kernel side's ring buffer, and for functions that nobody told of, from what
//! the process or its parent has registered, or from the files of the process. Knows nothing of
//! probes and of metrics.

mod elf;
mod known;
mod modules;
mod name;
mod record;
mod registered;
mod resolve;
mod startups;
mod stubs;
mod symbols;
mod totals;

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
};

pub use known::{MAX_FUNCTIONS, MAX_NAME_BYTES};
use monitoring_common::cuda::{LaunchKey, MAX_LAUNCHED, ProcessId};
pub use name::{FULL_CHARS, LABEL_CHARS, Name};
pub use registered::Registered;
pub use resolve::{Budget, Resolver};
pub use totals::{FIRST_NAMES, LATER_NAMES, Launches, MAX_DEVICES, OTHER};

use self::{
    known::{Function, Known, What},
    record::Says,
    totals::Totals,
};

/// Most functions that wait for their names to be found out: all that can have been launched.
const MAX_WAITING: usize = MAX_LAUNCHED;

/// Answers with the name that a process has said of a function.
pub type Said<'a> = &'a dyn Fn(u32, u64) -> Option<Arc<Name>>;

/// What processes' functions are called, and their launches by name.
///
/// All counts that are passed on are in the sums that come back, each under one name: the one that
/// was known when it was first seen.
///
/// # Example
///
/// ```
/// use monitoring_agent::sources::cuda::kernels::{Budget, Kernels, Resolver};
/// use monitoring_common::cuda::{LaunchKey, process_at};
///
/// let mut kernels = Kernels::new();
/// // For each record of the ring buffer: `kernels.received(&record)`. When it is empty:
/// let (mut resolver, mut budget) = (Resolver::default(), Budget::default());
/// for (process, functions) in kernels.take_waiting() {
///     let said = |pid, function| kernels.said(pid, function);
///     let names = resolver.names(process, &functions, &said, &mut budget);
///     kernels.found(process, functions, names);
/// }
/// let process = process_at(u32::MAX, 0);
/// let key = LaunchKey { function: 0x1000, process, agent: 3, device: 0, padding: 0 };
/// let launches = kernels.launches([(key, 5)].into_iter());
/// assert_eq!((launches[0].agent, launches[0].count), (3, 5));
/// ```
#[derive(Debug)]
pub struct Kernels {
    known: Known,
    waiting: BTreeMap<ProcessId, BTreeSet<u64>>,
    totals: Totals,
    /// For launches that were counted before the function's name was found out.
    unresolved: Arc<Name>,
    lost: Lost,
}

/// What was lost so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Records that are none.
    pub malformed: u64,
    /// Names that were forgotten because there were more than [`MAX_FUNCTIONS`] or
    /// [`MAX_NAME_BYTES`]. Launches keep the name that they were counted under before.
    pub forgotten: u64,
    /// Launches counted as `unknown:unresolved`.
    pub unresolved: u64,
}

impl Default for Kernels {
    fn default() -> Self {
        Self::new()
    }
}

impl Kernels {
    /// Nothing known, nothing launched.
    pub fn new() -> Self {
        Self {
            known: Known::default(),
            waiting: BTreeMap::new(),
            totals: Totals::new(),
            unresolved: Arc::new(Name::unknown("unresolved")),
            lost: Lost::default(),
        }
    }

    /// Takes in a record of the ring buffer `NAMES`: a `Named` with a name behind it.
    pub fn received(&mut self, record: &[u8]) {
        let Some(record) = record::decode(record) else {
            self.lost.malformed += 1;
            return;
        };
        let function = (record.process, record.function);
        match record.says {
            Says::Name { text, cut } => {
                let name = Arc::new(Name::new(text, cut));
                self.known.insert(function, What::Name(name));
            }
            Says::SameAs(other) => self.known.insert(function, What::SameAs(other)),
            Says::Launched => {
                if let Err(handle) = self.known.name(function) {
                    self.wait_for(handle);
                }
            }
        }
    }

    /// Whether names are waited for.
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The functions, by process, whose names are waited for: a [`Resolver`] finds them out, and
    /// [`found`](Self::found) takes them in.
    pub fn take_waiting(&mut self) -> BTreeMap<ProcessId, BTreeSet<u64>> {
        let mut waiting = std::mem::take(&mut self.waiting);
        waiting.retain(|process, functions| {
            // Some may have been told meanwhile.
            functions.retain(|function| self.known.name((*process, *function)).is_err());
            !functions.is_empty()
        });
        waiting
    }

    /// Takes in names of a process's functions; those of `functions` without one go on waiting.
    pub fn found(
        &mut self,
        process: ProcessId,
        mut functions: BTreeSet<u64>,
        names: Vec<(u64, Arc<Name>)>,
    ) {
        for (function, name) in names {
            functions.remove(&function);
            // What was told meanwhile is better.
            if self.known.name((process, function)).is_err() {
                self.known.insert((process, function), What::Name(name));
            }
        }
        for function in functions {
            self.wait_for((process, function));
        }
    }

    /// Whether all these functions have names, or were counted before, under whatever name: if not,
    /// what the kernel side says of them may be on its way, and a look a moment later may find it.
    pub fn has_names_of<'a>(&self, keys: impl IntoIterator<Item = &'a LaunchKey>) -> bool {
        let mut keys = keys.into_iter();
        keys.all(|key| {
            self.totals.has_counted(key) || self.known.name((key.process, key.function)).is_ok()
        })
    }

    /// Counts launches by name; all rows there are, in order of agent, device and name.
    ///
    /// `counts` is all that the kernel's map has at the time. A row may be removed from there when
    /// its process has ended and its last count has been passed on; then [`ended`](Self::ended) is
    /// to be called before the next look. Rows never fall and never go.
    pub fn launches(&mut self, counts: impl Iterator<Item = (LaunchKey, u64)>) -> Vec<Launches> {
        self.totals.begin();
        for (key, count) in counts {
            let name = self.name_for(&key);
            let growth = self.totals.add(key, count, Arc::clone(&name));
            if Arc::ptr_eq(&name, &self.unresolved) {
                self.lost.unresolved += growth;
            }
        }
        self.totals.end()
    }

    /// The processes of which anything is known or waited for, whether they have launched or not.
    pub fn processes(&self) -> HashSet<ProcessId> {
        let known = self.known.processes().iter();
        known.chain(self.waiting.keys()).copied().collect()
    }

    /// Forgets processes that have ended. What they have launched stays counted.
    pub fn ended(&mut self, processes: &HashSet<ProcessId>) {
        self.known.remove(processes);
        self.waiting
            .retain(|process, _| !processes.contains(process));
        self.totals.ended(processes);
    }

    /// What a process's function is called, if that is known.
    pub fn name(&self, process: ProcessId, function: u64) -> Option<Arc<Name>> {
        self.known.name((process, function)).ok()
    }

    /// What the process that has a number now has said that its function is called.
    pub fn said(&self, pid: u32, function: u64) -> Option<Arc<Name>> {
        self.name(self.known.process(pid)?, function)
    }

    /// What was lost so far.
    pub fn lost(&self) -> Lost {
        Lost {
            forgotten: self.known.forgotten(),
            ..self.lost
        }
    }

    fn name_for(&mut self, key: &LaunchKey) -> Arc<Name> {
        let handle = match self.known.name((key.process, key.function)) {
            Ok(name) => return name,
            Err(handle) => handle,
        };
        if let Some(name) = self.totals.last_name(key)
            && !Arc::ptr_eq(&name, &self.unresolved)
        {
            return name;
        }
        self.wait_for(handle);
        Arc::clone(&self.unresolved)
    }

    /// What does not fit is launched again, or counted again.
    fn wait_for(&mut self, (process, function): Function) {
        let waiting: usize = self.waiting.values().map(BTreeSet::len).sum();
        if waiting < MAX_WAITING {
            self.waiting.entry(process).or_default().insert(function);
        }
    }
}

#[cfg(test)]
mod tests;
