//! The files that processes have been found to execute: what is in each, which are to be probed,
//! and which nobody uses any more. Knows no process.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Found, GRACE, Look,
    events::MappedFile,
    mappings::Mapping,
    opening::{self, FileKey, Opened, Stamp},
};
use crate::{
    clock,
    sources::cuda::{
        attach_points::{Content, content},
        patience::Patience,
    },
};

/// Longest wait for one file: more than a disk that is busy takes, and short enough that a server
/// that hangs is a nuisance only.
const PATIENCE: Duration = Duration::from_secs(5);

/// A file that changes all the time is read again no more often.
const READ_AGAIN: Duration = Duration::from_secs(10);

/// A file that could not be used is tried again after that time: it may have been written still.
const TRY_AGAIN: Duration = Duration::from_mins(5);

/// A device whose file system did not answer is asked nothing for that time, so that it holds up
/// few looks and few threads.
const SHUN: Duration = Duration::from_mins(1);

/// Most files that are kept open to be probed, so that tenants with a copy each do not use up the
/// agent's descriptors: a node has some ten.
pub(super) const MAX_PROBED: usize = 256;

/// Most files that are remembered: those of fifty processes, if they had none in common.
const MAX_KNOWN: usize = 16_384;

/// What is known of a file.
#[derive(Debug)]
struct Known {
    stamp: Stamp,
    /// How it was mapped when it was opened. As long as it is open, nothing else is mapped so.
    mapped: MappedFile,
    overlaid: bool,
    path: String,
    content: Result<Content, String>,
    read_at: Instant,
    /// Whether it has changed since it was read.
    stale: bool,
    /// Open as long as the file is to be probed, so that its number cannot become another's.
    probed: Option<Arc<File>>,
    /// Whether the caller has been given it.
    delivered: bool,
    /// How probing it went; since when it is probed, on the monotonic clock.
    outcome: Option<Result<u64, String>>,
    unused_since: Option<Instant>,
}

/// All files.
#[derive(Debug)]
pub(super) struct Files {
    patience: Patience,
    known: HashMap<FileKey, Known>,
    /// By what the same file has in common through several overlays.
    beneath: HashMap<Stamp, FileKey>,
    /// By how files are mapped: those that are open, and those that processes use now.
    mapped: HashMap<MappedFile, FileKey>,
    /// Devices that did not answer, and when.
    silent: HashMap<libc::dev_t, Instant>,
}

impl Files {
    pub(super) fn new() -> Self {
        Self {
            patience: Patience::new(PATIENCE),
            known: HashMap::new(),
            beneath: HashMap::new(),
            mapped: HashMap::new(),
            silent: HashMap::new(),
        }
    }

    /// Opens what is mapped and reads its tables, unless that file is known already.
    pub(super) fn add(
        &mut self,
        process: &Path,
        mapping: &Mapping,
        path: String,
    ) -> Result<(FileKey, Arc<File>), String> {
        let (folder, wanted) = (process.to_owned(), mapping.clone());
        let device = mapping.device;
        if self.silent.contains_key(&device) {
            return Err("its file system did not answer a moment ago".to_owned());
        }
        let opened = self.patience.run(move || opening::open(&folder, &wanted));
        let opened = opened.inspect_err(|_| {
            self.silent.insert(device, Instant::now());
        })??;
        let Opened {
            file,
            stamp,
            overlaid,
        } = opened;
        let file = Arc::new(file);
        let key = self.same(&stamp, overlaid).unwrap_or(stamp.key());
        let current = |known: &Known| {
            // One that is open has its changes looked for elsewhere.
            known.probed.is_some() || known.stamp.same(&stamp, known.overlaid || overlaid)
        };
        if !self.known.get(&key).is_some_and(current) {
            if self.known.len() >= MAX_KNOWN {
                return Err("more files than are remembered".to_owned());
            }
            let known = Known {
                stamp,
                mapped: mapping.file(),
                overlaid,
                path,
                content: self.read(&file),
                read_at: Instant::now(),
                stale: false,
                probed: None,
                delivered: false,
                outcome: None,
                unused_since: None,
            };
            if let Some(beneath) = stamp.beneath() {
                self.beneath.insert(beneath, key);
            }
            self.known.insert(key, known);
        }
        Ok((key, file))
    }

    /// A file that is the same beneath an overlay.
    fn same(&self, stamp: &Stamp, overlaid: bool) -> Option<FileKey> {
        let key = self.beneath.get(&stamp.beneath()?)?;
        let known = self.known.get(key)?;
        (overlaid || known.overlaid).then_some(*key)
    }

    fn read(&mut self, file: &Arc<File>) -> Result<Content, String> {
        let file = Arc::clone(file);
        let read = self.patience.run(move || content(&file))?;
        read.map_err(|fault| fault.to_string())
    }

    /// Has a file probed from now on.
    pub(super) fn probe(&mut self, key: FileKey, file: &Arc<File>) -> Result<(), String> {
        let open = self.known.values().filter(|known| known.probed.is_some());
        let is_full = open.count() >= MAX_PROBED;
        if let Some(known) = self.known.get_mut(&key)
            && known.probed.is_none()
        {
            if is_full {
                return Err("more files than are probed".to_owned());
            }
            known.probed = Some(Arc::clone(file));
        }
        Ok(())
    }

    /// Which file is mapped so, if it is known.
    pub(super) fn mapped(&self, file: MappedFile) -> Option<FileKey> {
        self.mapped.get(&file).copied()
    }

    /// Whether every call into a file was seen since that time on the monotonic clock.
    pub(super) fn seen_since(&self, key: FileKey, at_ns: u64) -> bool {
        self.known.get(&key).is_some_and(|known| {
            let nothing = |content: &Content| content.points.is_empty();
            let since = known
                .outcome
                .as_ref()
                .and_then(|outcome| outcome.as_ref().ok());
            known.content.as_ref().is_ok_and(nothing) || since.is_some_and(|since| *since <= at_ns)
        })
    }

    /// What is in a file.
    pub(super) fn content(&self, key: FileKey) -> Option<&Content> {
        self.known.get(&key)?.content.as_ref().ok()
    }

    /// Notes how probing a file went.
    pub(super) fn probed(&mut self, key: FileKey, outcome: Result<(), String>) {
        if let Some(known) = self.known.get_mut(&key) {
            known.outcome = Some(outcome.map(|()| clock::monotonic_ns()));
        }
    }

    /// Why calls into a file are not seen, unless they are.
    pub(super) fn trouble(&self, key: FileKey) -> Option<String> {
        let known = self.known.get(&key)?;
        let reason = match (&known.content, &known.outcome) {
            (Err(reason), _) | (_, Some(Err(reason))) => reason.as_str(),
            (Ok(content), _) if content.points.is_empty() => "none of CUDA's functions are in it",
            (Ok(_), None) => super::NOT_YET,
            (Ok(_), Some(Ok(_))) => return None,
        };
        Some(format!("{}: {reason}", known.path))
    }

    /// Looks which files have changed, and reads those again.
    pub(super) fn refresh(&mut self, now: Instant, look: &mut Look) {
        self.silent
            .retain(|_, since| now.duration_since(*since) < SHUN);
        let mut again = Vec::new();
        for (key, known) in &mut self.known {
            let Some(file) = &known.probed else { continue };
            if let Ok((stamp, _)) = Stamp::of(file)
                && stamp != known.stamp
            {
                known.stale = true;
                known.stamp = stamp;
                // At once, or the file would be taken for another one in the next container.
                self.beneath
                    .extend(stamp.beneath().map(|beneath| (beneath, *key)));
            }
            let age = now.duration_since(known.read_at);
            if known.stale && age >= READ_AGAIN || known.content.is_err() && age >= TRY_AGAIN {
                again.push((*key, Arc::clone(file)));
            }
        }
        for (key, file) in again {
            let content = self.read(&file);
            let Some(known) = self.known.get_mut(&key) else {
                continue;
            };
            known.stale = false;
            known.read_at = now;
            if content != known.content {
                known.content = content;
                known.outcome = None;
                if known.delivered {
                    known.delivered = false;
                    look.gone.push(key);
                }
            }
        }
    }

    /// Gives out what is new, and forgets what nobody has used for some time, if all processes have
    /// been looked at: a child has what its parent had, and nothing tells of it.
    pub(super) fn settle<'a>(
        &mut self,
        now: Instant,
        mapped: impl Iterator<Item = &'a (MappedFile, FileKey)>,
        all: bool,
        look: &mut Look,
    ) {
        let mapped: Vec<_> = mapped.copied().collect();
        let used: HashSet<FileKey> = mapped.iter().map(|(_, key)| *key).collect();
        self.mapped = mapped.into_iter().collect();
        for (key, known) in &mut self.known {
            if used.contains(key) {
                known.unused_since = None;
            } else {
                known.unused_since.get_or_insert(now);
            }
        }
        self.make_room(look);
        self.known.retain(|key, known| {
            let unused = known.unused_since.map(|since| now.duration_since(since));
            if all && unused.is_some_and(|time| time >= GRACE) {
                look.gone.extend(known.delivered.then_some(*key));
                return false;
            }
            known.deliver(*key, look);
            true
        });
        let known = &self.known;
        self.mapped.retain(|_, key| known.contains_key(key));
        let open = known.iter().filter(|(_, known)| known.probed.is_some());
        self.mapped
            .extend(open.map(|(key, known)| (known.mapped, *key)));
        self.beneath.retain(|stamp, key| {
            known
                .get(key)
                .is_some_and(|known| known.stamp.beneath() == Some(*stamp))
        });
    }

    /// Forgets files at once that nobody uses, the longest unused first, where there are so many that
    /// there is hardly room for others.
    fn make_room(&mut self, look: &mut Look) {
        let open = self.known.values().filter(|known| known.probed.is_some());
        let few = open.count() <= MAX_PROBED / 2 && self.known.len() <= MAX_KNOWN / 2;
        if few {
            return;
        }
        let unused = self.known.iter();
        let mut unused: Vec<(Instant, FileKey)> = unused
            .filter_map(|(key, known)| Some((known.unused_since?, *key)))
            .collect();
        unused.sort_unstable();
        for (_, key) in &unused[..unused.len().div_ceil(2)] {
            let known = self.known.remove(key);
            if known.is_some_and(|known| known.delivered) {
                look.gone.push(*key);
            }
        }
    }
}

impl Known {
    fn deliver(&mut self, key: FileKey, look: &mut Look) {
        let (Some(file), Ok(content)) = (&self.probed, &self.content) else {
            return;
        };
        if self.delivered || content.points.is_empty() {
            return;
        }
        match file.try_clone() {
            Ok(file) => {
                self.delivered = true;
                look.found.push(Found {
                    key,
                    file,
                    path: self.path.clone(),
                    points: content.points.clone(),
                });
            }
            // Tried again at the next look.
            Err(error) => self.outcome = Some(Err(format!("keep it open: {error}"))),
        }
    }
}
