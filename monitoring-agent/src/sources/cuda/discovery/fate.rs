//! What became of the calls of processes that mapped a file before it was probed.

use super::Discovery;
use crate::executed::MappedFile;

/// What became of a process's calls that has mapped a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// All are seen, or the process's [`Coverage`] says why not, or it was told already.
    Known,
    /// Those before the file was probed were not.
    Late,
    /// None was: the process has ended, or no longer has the file.
    Missed,
}

impl Discovery {
    /// Whether a file that was mapped at a time on the monotonic clock was probed by then, so that
    /// nobody needs to hurry.
    pub fn was_probed(&self, file: MappedFile, at_ns: u64) -> bool {
        let key = self.files.mapped(file);
        key.is_some_and(|key| self.files.seen_since(key, at_ns))
    }

    /// What became of a process's calls that has mapped something at a time on the monotonic clock:
    /// a file of a known name, or something else while it was followed. To be asked when it has been
    /// looked at, and what was found is probed.
    pub fn fate(&mut self, pid: u32, file: Option<MappedFile>, at_ns: u64) -> Fate {
        if let Some(process) = self.processes.get(&pid)
            && let Some(uses) = &process.uses
            && file.is_none_or(|file| uses.has(file))
        {
            let late = uses.probed().any(|key| !self.files.seen_since(key, at_ns));
            if process.incomplete || !late || self.coverage(uses).is_unreadable() {
                return Fate::Known;
            }
            if let Some(process) = self.processes.get_mut(&pid) {
                process.incomplete = true;
            }
            return Fate::Late;
        }
        match file {
            Some(file) if !self.was_probed(file, at_ns) => Fate::Missed,
            _ => Fate::Known,
        }
    }
}
