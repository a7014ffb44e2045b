//! What launched functions are called, and their launches by name.
//!
//! Names come from the kernel side's ring buffer, and for functions that nobody told of, from what
//! the process or its parent has registered, or from the files of the process. Knows nothing of
//! probes and of metrics.

mod known;
mod modules;
mod name;
mod record;
mod registered;
mod resolve;
mod symbols;
mod totals;

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
};

use aya::maps::{MapData, MapError};
pub use known::{MAX_FUNCTIONS, MAX_NAME_BYTES};
use monitoring_common::cuda::{LaunchKey, MAX_LAUNCHED};
pub use name::{FULL_CHARS, LABEL_CHARS, Name};
pub use resolve::Search;
pub use totals::{FIRST_NAMES, LATER_NAMES, Launches, MAX_DEVICES, OTHER};

use self::{
    known::{Function, Known, What},
    record::Says,
    registered::Registered,
    resolve::Resolver,
    totals::Totals,
};

/// Most functions that wait for their names to be found out: all that can have been launched.
const MAX_WAITING: usize = MAX_LAUNCHED;

/// What processes' functions are called, and their launches by name.
///
/// All counts that are passed on are in the sums that come back, each under one name: the one that
/// was known when it was first seen.
///
/// # Example
///
/// ```
/// use monitoring_agent::sources::cuda::kernels::Kernels;
/// use monitoring_common::cuda::LaunchKey;
///
/// let mut kernels = Kernels::new();
/// // For each record of the ring buffer: `kernels.received(&record)`. When it is empty:
/// kernels.resolve();
/// let key = LaunchKey { function: 0x1000, pid: u32::MAX, agent: 3, device: 0 };
/// let launches = kernels.launches([(key, 5)].into_iter());
/// assert_eq!((launches[0].agent, launches[0].count), (3, 5));
/// ```
#[derive(Debug)]
pub struct Kernels {
    known: Known,
    waiting: BTreeMap<u32, BTreeSet<u64>>,
    resolver: Resolver,
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
            resolver: Resolver::default(),
            totals: Totals::new(),
            unresolved: Arc::new(Name::unknown("unresolved")),
            lost: Lost::default(),
        }
    }

    /// As [`new`](Self::new), with the kernel side's map `REGISTERED`: what processes have
    /// registered, which those that they fork have, too.
    ///
    /// # Errors
    ///
    /// It is another kind of map.
    pub fn with_registered(map: MapData) -> Result<Self, MapError> {
        Ok(Self {
            resolver: Resolver::new(Registered::new(map)?),
            ..Self::new()
        })
    }

    /// Takes in a record of the ring buffer `NAMES`: a `Named` with a name behind it.
    pub fn received(&mut self, record: &[u8]) {
        let Some(record) = record::decode(record) else {
            self.lost.malformed += 1;
            return;
        };
        let function = (record.pid, record.function);
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

    /// Finds out the names that are waited for. Reads files of processes: bounded, but for file
    /// systems of a network that do not answer.
    pub fn resolve(&mut self) {
        let mut search = self.begin_search();
        search.run(|pid, function| self.name(pid, function));
        self.end_search(search);
    }

    /// Hands out the names that are waited for, to be found out while others use this one; to be
    /// handed back to [`end_search`](Self::end_search) before the next begins.
    pub fn begin_search(&mut self) -> Search {
        Search {
            waiting: std::mem::take(&mut self.waiting),
            resolver: std::mem::take(&mut self.resolver),
            found: Vec::new(),
        }
    }

    /// Takes in what was found.
    pub fn end_search(&mut self, search: Search) {
        self.resolver = search.resolver;
        for (function, name) in search.found {
            // What was said meanwhile is better.
            if self.known.name(function).is_err() {
                self.known.insert(function, What::Name(name));
            }
        }
        for (pid, functions) in search.waiting {
            self.waiting.entry(pid).or_default().extend(functions);
        }
    }

    /// Whether all these functions have names, or are known to have none: if not, what the kernel
    /// side says of them may be on its way, and a look a moment later may find it.
    pub fn has_names_of<'a>(&self, keys: impl IntoIterator<Item = &'a LaunchKey>) -> bool {
        let mut keys = keys.into_iter();
        keys.all(|key| self.known.name((key.pid, key.function)).is_ok())
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

    /// Forgets processes that have ended, whose numbers others may get now. What they have launched
    /// stays counted.
    pub fn ended(&mut self, pids: &HashSet<u32>) {
        self.known.remove(pids);
        self.waiting.retain(|pid, _| !pids.contains(pid));
        self.totals.ended(pids);
    }

    /// What a process's function is called, if that is known.
    pub fn name(&self, pid: u32, function: u64) -> Option<Arc<Name>> {
        self.known.name((pid, function)).ok()
    }

    /// What was lost so far.
    pub fn lost(&self) -> Lost {
        Lost {
            forgotten: self.known.forgotten(),
            ..self.lost
        }
    }

    fn name_for(&mut self, key: &LaunchKey) -> Arc<Name> {
        let handle = match self.known.name((key.pid, key.function)) {
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
    fn wait_for(&mut self, (pid, function): Function) {
        let waiting: usize = self.waiting.values().map(BTreeSet::len).sum();
        if waiting < MAX_WAITING {
            self.waiting.entry(pid).or_default().insert(function);
        }
    }
}

#[cfg(test)]
mod tests;
