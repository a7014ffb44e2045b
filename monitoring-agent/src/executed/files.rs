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
    elf::Fault,
    events::MappedFile,
    opening::{self, FileKey, Opened, Refusal, Stamp},
    patience::Patience,
};
use crate::{clock, process_maps::Mapping};

/// A file that no process has mapped for that long is gone. Probing is costly, so that a library
/// is not let go between one short process and the next.
pub(crate) const GRACE: Duration = Duration::from_secs(30);

/// Why a file's places are not seen that was found a moment ago.
pub(crate) const NOT_YET: &str = "not probed yet";

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
pub(crate) const MAX_PROBED: usize = 256;

/// Most files that are remembered: those of fifty processes, if they had none in common.
const MAX_KNOWN: usize = 16_384;

/// What is read of a file: the places to be probed, and whatever else its reader wants to know.
pub(crate) trait Content: PartialEq + Send + Sized + 'static {
    /// A place, and what stands there.
    type Point: Clone;

    /// Why a file is of no use that has no places.
    const NOTHING: &'static str;

    /// Reads it. May wait for a file system.
    fn read(file: &File) -> Result<Self, Fault>;

    /// The places, each once.
    fn points(&self) -> &[Self::Point];
}

/// A file to be probed.
#[derive(Debug)]
pub struct Found<P> {
    /// What it is known by.
    pub key: FileKey,
    /// The file, open to be read.
    pub file: File,
    /// For messages: harmless text, and maybe only true within a container.
    pub path: String,
    /// Where the probes go; never empty.
    pub points: Vec<P>,
}

/// What is to be done.
#[derive(Debug)]
pub(crate) struct Changes<P> {
    /// Files whose probes are to be removed: no process uses them any more.
    pub(crate) gone: Vec<FileKey>,
    /// Files to be probed; tell [`Files::probed`] how it went.
    pub(crate) found: Vec<Found<P>>,
}

/// What is known of a file.
#[derive(Debug)]
struct Known<C> {
    stamp: Stamp,
    /// How it was mapped when it was opened. As long as it is open, nothing else is mapped so.
    mapped: MappedFile,
    overlaid: bool,
    path: String,
    content: Result<C, String>,
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
pub(crate) struct Files<C> {
    patience: Patience,
    known: HashMap<FileKey, Known<C>>,
    /// By what the same file has in common through several overlays.
    beneath: HashMap<Stamp, FileKey>,
    /// By how files are mapped: those that are open, and those that processes use now.
    mapped: HashMap<MappedFile, FileKey>,
    /// Devices that did not answer, and when.
    silent: HashMap<libc::dev_t, Instant>,
}

impl<C: Content> Files<C> {
    pub(crate) fn new() -> Self {
        Self {
            patience: Patience::new(PATIENCE),
            known: HashMap::new(),
            beneath: HashMap::new(),
            mapped: HashMap::new(),
            silent: HashMap::new(),
        }
    }

    /// Opens what is mapped and reads its tables, unless that file is known already.
    pub(crate) fn add(
        &mut self,
        process: &Path,
        mapping: &Mapping<'static>,
        path: String,
    ) -> Result<(FileKey, Arc<File>), Refusal> {
        let (folder, wanted) = (process.to_owned(), mapping.clone());
        let device = mapping.device;
        if self.silent.contains_key(&device) {
            let why = "its file system did not answer a moment ago";
            return Err(Refusal::Failed(why.to_owned()));
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
        let current = |known: &Known<C>| {
            // One that is open has its changes looked for elsewhere.
            let try_again = known.content.is_err() && known.read_at.elapsed() >= TRY_AGAIN;
            known.probed.is_some()
                || !try_again && known.stamp.same(&stamp, known.overlaid || overlaid)
        };
        if !self.known.get(&key).is_some_and(current) {
            if self.known.len() >= MAX_KNOWN {
                return Err(Refusal::Full("more files than are remembered"));
            }
            let known = Known {
                stamp,
                mapped: MappedFile::of(mapping),
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

    fn read(&mut self, file: &Arc<File>) -> Result<C, String> {
        let file = Arc::clone(file);
        let read = self.patience.run(move || C::read(&file))?;
        read.map_err(|fault| fault.to_string())
    }

    /// Has a file probed from now on.
    pub(crate) fn probe(&mut self, key: FileKey, file: &Arc<File>) -> Result<(), Refusal> {
        let open = self.known.values().filter(|known| known.probed.is_some());
        let is_full = open.count() >= MAX_PROBED;
        if let Some(known) = self.known.get_mut(&key)
            && known.probed.is_none()
        {
            if is_full {
                return Err(Refusal::Full("more files than are probed"));
            }
            known.probed = Some(Arc::clone(file));
        }
        Ok(())
    }

    /// Which file is mapped so, if it is known.
    pub(crate) fn mapped(&self, file: MappedFile) -> Option<FileKey> {
        self.mapped.get(&file).copied()
    }

    /// Whether every call into a file was seen since that time on the monotonic clock.
    pub(crate) fn seen_since(&self, key: FileKey, at_ns: u64) -> bool {
        self.known.get(&key).is_some_and(|known| {
            let nothing = |content: &C| content.points().is_empty();
            let since = known
                .outcome
                .as_ref()
                .and_then(|outcome| outcome.as_ref().ok());
            known.content.as_ref().is_ok_and(nothing) || since.is_some_and(|since| *since <= at_ns)
        })
    }

    /// Why it is not known what is in a file, unless it is.
    pub(crate) fn unreadable(&self, key: FileKey) -> Option<&str> {
        let known = self.known.get(&key)?;
        known.content.as_ref().err().map(String::as_str)
    }

    /// What is in a file.
    pub(crate) fn content(&self, key: FileKey) -> Option<&C> {
        self.known.get(&key)?.content.as_ref().ok()
    }

    /// Notes how probing a file went.
    pub(crate) fn probed(&mut self, key: FileKey, outcome: Result<(), String>) {
        if let Some(known) = self.known.get_mut(&key) {
            known.outcome = Some(outcome.map(|()| clock::monotonic_ns()));
        }
    }

    /// Why calls into a file are not seen, unless they are.
    pub(crate) fn trouble(&self, key: FileKey) -> Option<String> {
        let known = self.known.get(&key)?;
        let reason = match (&known.content, &known.outcome) {
            (Err(reason), _) | (_, Some(Err(reason))) => reason.as_str(),
            (Ok(content), _) if content.points().is_empty() => C::NOTHING,
            (Ok(_), None) => NOT_YET,
            (Ok(_), Some(Ok(_))) => return None,
        };
        Some(format!("{}: {reason}", known.path))
    }

    /// Looks which files have changed, and reads those again. Those that have other places now: their
    /// probes are to be removed, before they are [found](Self::settle) again.
    pub(crate) fn refresh(&mut self, now: Instant) -> Vec<FileKey> {
        self.silent
            .retain(|_, since| now.duration_since(*since) < SHUN);
        let (mut again, mut gone) = (Vec::new(), Vec::new());
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
                    gone.push(key);
                }
            }
        }
        gone
    }

    /// Gives out what is new, and forgets what nobody has used for some time, if all processes have
    /// been looked at: a child has what its parent had, and nothing tells of it.
    pub(crate) fn settle<'a>(
        &mut self,
        now: Instant,
        mapped: impl Iterator<Item = &'a (MappedFile, FileKey)>,
        all: bool,
    ) -> Changes<C::Point> {
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
        let mut gone = self.make_room();
        let mut found = Vec::new();
        self.known.retain(|key, known| {
            let unused = known.unused_since.map(|since| now.duration_since(since));
            if all && unused.is_some_and(|time| time >= GRACE) {
                gone.extend(known.delivered.then_some(*key));
                return false;
            }
            found.extend(known.deliver(*key));
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
        Changes { gone, found }
    }

    /// Forgets files at once that nobody uses, the longest unused first, where there are so many that
    /// there is hardly room for others.
    fn make_room(&mut self) -> Vec<FileKey> {
        let open = self.known.values().filter(|known| known.probed.is_some());
        let few = open.count() <= MAX_PROBED / 2 && self.known.len() <= MAX_KNOWN / 2;
        if few {
            return Vec::new();
        }
        let unused = self.known.iter();
        let mut unused: Vec<(Instant, FileKey)> = unused
            .filter_map(|(key, known)| Some((known.unused_since?, *key)))
            .collect();
        unused.sort_unstable();
        unused.truncate(unused.len().div_ceil(2));
        let keys = unused.into_iter().map(|(_, key)| key);
        keys.filter(|key| self.known.remove(key).is_some_and(|known| known.delivered))
            .collect()
    }
}

impl<C: Content> Known<C> {
    /// The file, if it is to be probed and nobody was told yet.
    fn deliver(&mut self, key: FileKey) -> Option<Found<C::Point>> {
        let (Some(file), Ok(content)) = (&self.probed, &self.content) else {
            return None;
        };
        if self.delivered || content.points().is_empty() {
            return None;
        }
        match file.try_clone() {
            Ok(file) => {
                self.delivered = true;
                Some(Found {
                    key,
                    file,
                    path: self.path.clone(),
                    points: content.points().to_vec(),
                })
            }
            // Tried again at the next look.
            Err(error) => {
                self.outcome = Some(Err(format!("keep it open: {error}")));
                None
            }
        }
    }
}
