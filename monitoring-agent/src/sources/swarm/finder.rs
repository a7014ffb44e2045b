//! Which files that processes execute have hooks. Knows nothing of probes: the caller attaches what
//! is found, and says how that went.
//!
//! Any file may have hooks, whatever its name. So each is opened and read once when somebody maps it,
//! and looked at again, which is no more than asking for its size and times, when it is mapped later:
//! of all that start the same program within a second, for the first. A probe is at a file, so that
//! every process that maps it is seen from then on, whether or not anybody knows of the process.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use tracing::debug;

use super::{
    hooks::{Hooks, Place},
    unseen::{Counts, Unseen, Why},
};
use crate::{
    executed::{
        FileKey, Found, MappedFile,
        files::{Changes, Files},
        mappings,
        opening::Refusal,
        signature::{self, Signature},
    },
    printable::printable,
    process_maps::Mapping,
};

/// How long what is known of a file holds without a look at it: a number may be another file's by
/// then, and a file may have been written anew.
const FRESH: Duration = Duration::from_secs(1);

/// A look ends after that time, and goes on after the kernel's rings were read.
const LOOK_TIME: Duration = Duration::from_millis(100);

/// Longest path in a message.
const PATH_CHARACTERS: usize = 200;

/// A file that a process has mapped, as the kernel told of it.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) pid: u32,
    pub(super) file: MappedFile,
    /// On the monotonic clock.
    pub(super) at_ns: u64,
    pub(super) path: Vec<u8>,
}

/// Finds out, look by look.
#[derive(Debug)]
pub(super) struct Finder {
    proc_root: PathBuf,
    files: Files<Hooks>,
    /// All processes as of the last look at all of them, and the files with hooks that they execute.
    processes: HashMap<u32, Process>,
    /// Files that were looked at a moment ago, and whether they have hooks.
    fresh: HashMap<MappedFile, (Instant, Option<FileKey>)>,
    /// Processes that are still to be looked at, if all are.
    left: VecDeque<u32>,
    unseen: Unseen,
}

#[derive(Debug)]
struct Process {
    signature: Signature,
    uses: Vec<(MappedFile, FileKey)>,
    /// Whether it has files of which nobody knows whether they have hooks: it is looked at again.
    incomplete: bool,
}

impl Finder {
    pub(super) fn new(proc_root: &Path, unseen: &Arc<Counts>) -> Self {
        Self {
            proc_root: proc_root.to_owned(),
            files: Files::new(),
            processes: HashMap::new(),
            fresh: HashMap::new(),
            left: VecDeque::new(),
            unseen: Unseen::new(unseen),
        }
    }

    /// Has all processes looked at from now on, by [`Self::look`].
    pub(super) fn begin(&mut self) {
        let pids = signature::all(&self.proc_root);
        let alive: HashSet<u32> = pids.iter().copied().collect();
        self.processes.retain(|pid, _| alive.contains(pid));
        self.left = pids.into();
    }

    /// Whether some are still to be looked at.
    pub(super) fn is_looking(&self) -> bool {
        !self.left.is_empty()
    }

    /// Whether some process has to be looked at again, though it may be as it was.
    pub(super) fn is_incomplete(&self) -> bool {
        self.processes.values().any(|process| process.incomplete)
    }

    /// Looks at some of those that are left.
    pub(super) fn look(&mut self) -> Changes<Place> {
        let begun = Instant::now();
        self.forget_stale(begun);
        while begun.elapsed() < LOOK_TIME
            && let Some(pid) = self.left.pop_front()
        {
            self.visit(pid, false);
        }
        self.changes(begun, self.left.is_empty())
    }

    /// Looks at what processes have mapped.
    pub(super) fn look_at(&mut self, told: &[Told]) -> Changes<Place> {
        let now = Instant::now();
        self.forget_stale(now);
        // The last first: it is the least likely to have ended.
        for told in told.iter().rev() {
            if !self.is_known(told.file) {
                self.visit(told.pid, true);
            }
            if !self.is_known(told.file) {
                self.look_for(told);
            }
        }
        self.changes(now, false)
    }

    /// Notes how probing a file went.
    pub(super) fn probed(&mut self, key: FileKey, path: &str, outcome: Result<(), String>) {
        let file = (key.device, key.inode);
        match &outcome {
            Ok(()) => self.unseen.forget(file),
            Err(why) => self.unseen.add(file, Why::Refused, path, why),
        }
        self.files.probed(key, outcome);
    }

    /// Whether hooks of a file that was mapped may have been called before it was probed, or are not
    /// seen at all.
    pub(super) fn was_late(&self, told: &Told) -> bool {
        let key = self.files.mapped(told.file);
        key.is_some_and(|key| !self.files.seen_since(key, told.at_ns))
    }

    fn is_known(&self, file: MappedFile) -> bool {
        // One with hooks is held open, so that its number cannot become another's.
        self.fresh.contains_key(&file) || self.files.mapped(file).is_some()
    }

    fn forget_stale(&mut self, now: Instant) {
        self.fresh
            .retain(|_, (at, _)| now.duration_since(*at) < FRESH);
    }

    fn changes(&mut self, now: Instant, all: bool) -> Changes<Place> {
        let gone = self.files.refresh(now);
        let uses = self.processes.values().flat_map(|process| &process.uses);
        let mut changes = self.files.settle(now, uses, all);
        changes.gone.splice(..0, gone);
        changes
    }

    /// Looks at the files of one process, unless they are as they were, which may be known not to be.
    fn visit(&mut self, pid: u32, changed: bool) {
        let folder = self.proc_root.join(pid.to_string());
        let old = self.processes.get(&pid);
        let before = old.map(|process| process.signature);
        let is_settled = old.is_some_and(|process| !process.incomplete);
        // Before the mappings: what changes in between is found when the kernel tells of it.
        let Some(signature) = Signature::read(&folder, pid, before.as_ref()) else {
            self.processes.remove(&pid);
            return;
        };
        let is_same = before.is_some_and(|before| before.same_code(&signature));
        if !changed && is_settled && is_same {
            return;
        }
        let Ok(mappings) = mappings::read(&folder) else {
            self.processes.remove(&pid);
            return;
        };
        let (mut uses, mut refused) = (Vec::new(), Vec::new());
        for mapping in &mappings.files {
            match self.hooked(&folder, mapping) {
                Ok(Some(key)) => uses.push((MappedFile::of(mapping), key)),
                Ok(None) => {}
                Err(why) => refused.push((mapping, why)),
            }
        }
        if !refused.is_empty() {
            // It may have ended meanwhile, or be another program: then nothing is missing.
            let after = Signature::read(&folder, pid, None);
            if !after.is_some_and(|after| after.same_code(&signature)) {
                self.processes.remove(&pid);
                return;
            }
        }
        for (mapping, why) in &refused {
            self.miss(mapping, why);
        }
        if mappings.cut {
            let process = (u64::MAX, pid.into());
            let why = "more is mapped than is looked at";
            self.unseen
                .add(process, Why::Full, &format!("process {pid}"), why);
        }
        let process = Process {
            signature,
            uses,
            incomplete: !refused.is_empty(),
        };
        self.processes.insert(pid, process);
    }

    /// Counts a file of which nobody knows whether it has hooks, or which has some that are not seen.
    fn miss(&mut self, mapping: &Mapping<'_>, refusal: &Refusal) {
        let path = printable(&mapping.name, PATH_CHARACTERS);
        let why = match refusal {
            Refusal::Full(_) => Why::Full,
            _ => Why::Unreadable,
        };
        let file = (mapping.device, mapping.inode);
        self.unseen.add(file, why, &path, &refusal.to_string());
    }

    /// Looks for a file by its path, as it was told: nobody may have it mapped any more, but the next
    /// process will.
    fn look_for(&mut self, told: &Told) {
        let mapping = Mapping {
            range: 0..1,
            permissions: *b"r-xp",
            offset: 0,
            device: told.file.device,
            inode: told.file.inode,
            name: told.path.clone().into(),
            is_cut: false,
        };
        let own = self.proc_root.join("self");
        match self.hooked(&own, &mapping) {
            Ok(_) => {}
            // It may have been in another mount namespace, too.
            Err(Refusal::Absent(_)) => {
                let path = printable(&told.path, PATH_CHARACTERS);
                debug!(
                    told.pid,
                    path, "it was gone before anyone could look for hooks in it"
                );
            }
            Err(why) => self.miss(&mapping, &why),
        }
    }

    /// What a file is known by, if it has hooks. Then it is probed.
    fn hooked(
        &mut self,
        folder: &Path,
        mapping: &Mapping<'static>,
    ) -> Result<Option<FileKey>, Refusal> {
        let mapped = MappedFile::of(mapping);
        if let Some((_, hooked)) = self.fresh.get(&mapped) {
            return Ok(*hooked);
        }
        let hooked = match self.look_into(folder, mapping) {
            // What is no file has no hooks.
            Err(Refusal::NoFile) => None,
            looked => looked?,
        };
        self.fresh.insert(mapped, (Instant::now(), hooked));
        Ok(hooked)
    }

    fn look_into(
        &mut self,
        folder: &Path,
        mapping: &Mapping<'static>,
    ) -> Result<Option<FileKey>, Refusal> {
        let path = printable(&mapping.name, PATH_CHARACTERS);
        let (key, file) = self.files.add(folder, mapping, path.clone())?;
        if let Some(why) = self.files.unreadable(key) {
            return Err(Refusal::Failed(why.to_owned()));
        }
        let content = self.files.content(key);
        if content.is_some_and(|content| content.strange) {
            debug!(
                path,
                "some of its hooks are of another version of the library"
            );
        }
        if content.is_none_or(|content| content.places.is_empty()) {
            return Ok(None);
        }
        self.files.probe(key, &file)?;
        Ok(Some(key))
    }
}

/// A file to be probed.
pub(super) type Hooked = Found<Place>;

#[cfg(test)]
mod tests;
