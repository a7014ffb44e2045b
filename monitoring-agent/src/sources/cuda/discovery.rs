//! Which processes use CUDA's libraries, and which files are to be probed for it.
//!
//! Owns the walk over all processes' mappings, and what is remembered from one to the next. Knows
//! nothing of probes: the caller attaches what is found, and says how that went.
//!
//! [`News`] tell of files as they are mapped, and name processes for [`Discovery::look_at`]. A look
//! at all processes is for those that were there before, and for what nothing tells of: children,
//! which have what their parents had. A library that is probed already is seen from its first call in
//! every new process; what a process did with one before that is in [`Discovery::fate`].
//!
//! Everything that is read here may be a tenant's work. A look takes bounded time and memory,
//! opens nothing but regular files, and waits for no file system without end.

mod coverage;
mod fate;
mod names;
mod news;
#[cfg(test)]
mod tests;
mod uses;

use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasher as _, RandomState},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use self::{names::Library, uses::Uses};
use super::attach_points::{AttachPoint, Content};
use crate::{
    executed::{
        Events, FileKey, MappedFile,
        files::{Files, NOT_YET},
        mappings::{self, Mappings},
        opening,
        signature::{self, Signature},
    },
    printable::printable,
    process_maps::Mapping,
};

pub use coverage::Coverage;
pub use fate::Fate;
pub use names::Names;
pub use news::News;

/// A look ends after that time; the next one goes on with the processes that are left.
const LOOK_TIME: Duration = Duration::from_secs(1);

/// Mappings are read again at every so many looks, though nothing tells of a change.
const READ_AGAIN_LOOKS: u64 = 32;

/// Longest path in a message.
const PATH_CHARACTERS: usize = 200;

/// Messages that are remembered to have been given, so that each is given once.
const MAX_TOLD: usize = 512;

/// Finds out, look by look.
#[derive(Debug)]
pub struct Discovery {
    proc_root: PathBuf,
    names: Names,
    files: Files<Content>,
    processes: HashMap<u32, Process>,
    looks: u64,
    /// Where the last look ended that was not finished.
    left_at: u32,
    told: HashSet<String>,
    hasher: RandomState,
}

/// What is new since the look before.
#[derive(Debug, Default)]
pub struct Look {
    /// Files whose probes are to be removed: no process uses them, or they have other functions
    /// now. Comes before [`Look::found`], which may have the same file again.
    pub gone: Vec<FileKey>,
    /// Files to be probed; tell [`Discovery::probed`] how it went.
    pub found: Vec<Found>,
    /// Processes whose calls are not seen, and why; each reason once.
    pub unreadable: Vec<(u32, String)>,
    /// Processes that were left for the next look because time was up.
    pub left: usize,
}

/// A file to be probed.
pub type Found = crate::executed::Found<AttachPoint>;

#[derive(Debug)]
struct Process {
    signature: Signature,
    /// The look at which its mappings were read.
    read_at: u64,
    /// Stands for the files that it executes.
    files: u64,
    uses: Option<Uses>,
    /// Whether it is known that some of its calls were not seen.
    incomplete: bool,
}

impl Discovery {
    /// Looks for the usual libraries in the processes of a `/proc`.
    pub fn new(proc_root: &Path) -> Self {
        Self::with_names(proc_root, Names::default())
    }

    /// Looks for libraries with other names.
    pub fn with_names(proc_root: &Path, names: Names) -> Self {
        Self {
            proc_root: proc_root.to_owned(),
            names,
            files: Files::new(),
            processes: HashMap::new(),
            looks: 0,
            left_at: 0,
            told: HashSet::new(),
            hasher: RandomState::new(),
        }
    }

    /// Goes over all processes. One whose mappings have not changed costs microseconds.
    ///
    /// Reads files: not for a thread that others wait for.
    pub fn look(&mut self) -> Look {
        self.look_now(Instant::now())
    }

    /// Looks at some processes only, of which it is known that they have changed. Those that are
    /// [left](Look::left) are the last.
    pub fn look_at(&mut self, pids: &[u32]) -> Look {
        let now = Instant::now();
        let mut look = Look {
            gone: self.files.refresh(now),
            ..Look::default()
        };
        self.visit_all(pids, true, &mut look);
        self.settle(now, false, &mut look);
        look
    }

    fn look_now(&mut self, now: Instant) -> Look {
        let mut pids = signature::all(&self.proc_root);
        pids.sort_unstable();
        let alive: HashSet<u32> = pids.iter().copied().collect();
        self.processes.retain(|pid, _| alive.contains(pid));
        self.looks += 1;
        // Whoever was left out last time is first.
        let first = pids.partition_point(|pid| *pid < self.left_at);
        pids.rotate_left(first);
        let mut look = Look {
            gone: self.files.refresh(now),
            ..Look::default()
        };
        self.visit_all(&pids, false, &mut look);
        self.left_at = pids[pids.len() - look.left..].first().map_or(0, |pid| *pid);
        self.settle(now, look.left == 0, &mut look);
        look
    }

    fn visit_all(&mut self, pids: &[u32], changed: bool, look: &mut Look) {
        let begin = Instant::now();
        for (at, pid) in pids.iter().enumerate() {
            if begin.elapsed() > LOOK_TIME {
                look.left = pids.len() - at;
                break;
            }
            self.visit(*pid, changed);
        }
    }

    fn settle(&mut self, now: Instant, all: bool, look: &mut Look) {
        let processes = self.processes.values();
        let uses = processes.filter_map(|process| process.uses.as_ref());
        let mapped = uses.flat_map(|uses| &uses.mapped);
        let changes = self.files.settle(now, mapped, all);
        look.gone.extend(changes.gone);
        look.found = changes.found;
        self.tell(look);
    }

    /// Forgets processes that have ended.
    pub fn ended(&mut self, pids: &[u32]) {
        for pid in pids {
            self.processes.remove(pid);
        }
    }

    /// Notes how probing a file went that a look found.
    pub fn probed(&mut self, key: FileKey, outcome: Result<(), String>) {
        self.files.probed(key, outcome);
    }

    /// The processes that use CUDA, and how much of it is seen.
    pub fn processes(&self) -> impl Iterator<Item = (u32, Coverage)> {
        let processes = self.processes.iter();
        processes.filter_map(|(pid, process)| Some((*pid, self.coverage(process.uses.as_ref()?))))
    }

    /// The processes that have a file mapped.
    #[cfg(test)]
    fn users(&self, key: FileKey) -> impl Iterator<Item = u32> {
        let uses = move |process: &Process| {
            let uses = process.uses.as_ref();
            uses.is_some_and(|uses| uses.probed().any(|each| each == key))
        };
        let processes = self.processes.iter();
        processes.filter_map(move |(pid, process)| uses(process).then_some(*pid))
    }

    fn coverage(&self, uses: &Uses) -> Coverage {
        let trouble = uses.probed().find_map(|key| self.files.trouble(key));
        if let Some(reason) = trouble.or_else(|| uses.failure.clone()) {
            Coverage::Unreadable(reason)
        } else if !uses.runtime.is_empty() {
            Coverage::Attached
        } else if !uses.containing.is_empty() {
            Coverage::Static
        } else if uses.stripped {
            Coverage::Stripped
        } else {
            Coverage::Attached
        }
    }

    /// Looks at one process, of which it may be known that it has changed.
    fn visit(&mut self, pid: u32, changed: bool) {
        let folder = self.proc_root.join(pid.to_string());
        let before = self.processes.get(&pid);
        // Before the mappings: what changes in between is found at the next look.
        let Some(signature) = Signature::read(&folder, pid, before.map(|old| &old.signature))
        else {
            self.processes.remove(&pid);
            return;
        };
        // Not all at the same look.
        let due = (self.looks + u64::from(pid)).is_multiple_of(READ_AGAIN_LOOKS);
        if let Some(old) = self.processes.get_mut(&pid)
            && !changed
            && old.is_settled()
            && old.signature.same_code(&signature)
            && (!due || old.read_at == self.looks)
        {
            old.signature = signature;
            return;
        }
        let Ok(mappings) = mappings::read(&folder) else {
            self.processes.remove(&pid);
            return;
        };
        let files = self.hasher.hash_one(&mappings.files);
        if let Some(old) = self.processes.get_mut(&pid)
            && old.files == files
            && old.is_settled()
        {
            // What it executes without a file was changed, such as compiled code.
            old.signature = signature;
            old.read_at = self.looks;
            return;
        }
        let uses = self.examine(&folder, &mappings);
        if uses.as_ref().is_some_and(|uses| uses.failure.is_some()) {
            // It may have ended meanwhile, or be another program: then that is no failure.
            let after = Signature::read(&folder, pid, None);
            if !after.is_some_and(|after| after.same_code(&signature)) {
                self.processes.remove(&pid);
                return;
            }
        }
        // One that has executed another program is told of anew.
        let old = self.processes.get(&pid);
        let same = old.is_some_and(|old| old.signature.same_program(&signature));
        let process = Process {
            signature,
            read_at: self.looks,
            files,
            uses,
            incomplete: same && old.is_some_and(|old| old.incomplete),
        };
        self.processes.insert(pid, process);
    }

    /// What a process with these mappings uses.
    fn examine(&mut self, folder: &Path, mappings: &Mappings) -> Option<Uses> {
        let mut uses = Uses::default();
        let mut named = false;
        for mapping in &mappings.files {
            let Some(library) = self.names.library(mapping.file_name()) else {
                continue;
            };
            named = true;
            let added = self.files.add(folder, mapping, shown(mapping));
            let added = added.and_then(|(key, file)| self.files.probe(key, &file).map(|()| key));
            match added {
                Ok(key) => {
                    let content = self.files.content(key);
                    let is_runtime = match library {
                        Library::Runtime => true,
                        Library::Driver => false,
                        Library::Named => content.is_some_and(|content| content.runtime),
                    };
                    let list = if is_runtime {
                        &mut uses.runtime
                    } else {
                        &mut uses.driver
                    };
                    list.push(key);
                    uses.mapped.push((MappedFile::of(mapping), key));
                }
                Err(reason) => uses.fail(&shown(mapping), &reason.to_string()),
            }
        }
        if !named {
            return None;
        }
        if mappings.cut {
            uses.fail("its mappings", "more than are looked at");
        }
        if !uses.driver.is_empty() {
            self.examine_others(folder, mappings, &mut uses);
        }
        Some(uses)
    }

    /// Looks for the runtime in all else that a process executes.
    fn examine_others(&mut self, folder: &Path, mappings: &Mappings, uses: &mut Uses) {
        let program = opening::program(folder);
        for mapping in &mappings.files {
            let is_program = program.as_deref() == Some(&*mapping.name);
            let (key, file) = match self.files.add(folder, mapping, shown(mapping)) {
                Ok(added) => added,
                Err(reason) => {
                    if is_program {
                        uses.fail(&shown(mapping), &reason.to_string());
                    }
                    continue;
                }
            };
            if uses.probed().any(|each| each == key) {
                continue;
            }
            uses.mapped.push((MappedFile::of(mapping), key));
            let content = self.files.content(key);
            if is_program {
                uses.stripped = content.is_none_or(|content| !content.symbols);
            }
            if content.is_some_and(|content| content.runtime) {
                match self.files.probe(key, &file) {
                    Ok(()) => uses.containing.push(key),
                    Err(reason) => uses.fail(&shown(mapping), &reason.to_string()),
                }
            }
        }
    }

    /// Says why processes' calls are not seen.
    fn tell(&mut self, look: &mut Look) {
        for (pid, process) in &self.processes {
            let Some(uses) = &process.uses else { continue };
            let Coverage::Unreadable(reason) = self.coverage(uses) else {
                continue;
            };
            if reason.ends_with(NOT_YET) || self.told.contains(&reason) {
                continue;
            }
            if self.told.len() == MAX_TOLD {
                self.told.clear();
            }
            self.told.insert(reason.clone());
            look.unreadable.push((*pid, reason));
        }
    }
}

impl Process {
    /// Whether nothing of it is to be tried again.
    fn is_settled(&self) -> bool {
        let uses = self.uses.as_ref();
        uses.is_none_or(|uses| uses.failure.is_none())
    }
}

fn shown(mapping: &Mapping<'_>) -> String {
    printable(&mapping.name, PATH_CHARACTERS)
}
