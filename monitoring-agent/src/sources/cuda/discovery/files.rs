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
    mappings::Mapping,
    opening::{self, FileKey, Opened, Stamp},
    patience::Patience,
};
use crate::sources::cuda::attach_points::{Content, content};

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

/// What is known of a file.
#[derive(Debug)]
struct Known {
    stamp: Stamp,
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
    /// How probing it went.
    outcome: Option<Result<(), String>>,
    unused_since: Option<Instant>,
}

/// All files.
#[derive(Debug)]
pub(super) struct Files {
    patience: Patience,
    known: HashMap<FileKey, Known>,
    /// By what the same file has in common through several overlays.
    beneath: HashMap<Stamp, FileKey>,
    /// Devices that did not answer, and when.
    silent: HashMap<libc::dev_t, Instant>,
}

impl Files {
    pub(super) fn new() -> Self {
        Self {
            patience: Patience::new(PATIENCE),
            known: HashMap::new(),
            beneath: HashMap::new(),
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
            let known = Known {
                stamp,
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
    pub(super) fn probe(&mut self, key: FileKey, file: &Arc<File>) {
        if let Some(known) = self.known.get_mut(&key) {
            known.probed.get_or_insert_with(|| Arc::clone(file));
        }
    }

    /// What is in a file.
    pub(super) fn content(&self, key: FileKey) -> Option<&Content> {
        self.known.get(&key)?.content.as_ref().ok()
    }

    /// Notes how probing a file went.
    pub(super) fn probed(&mut self, key: FileKey, outcome: Result<(), String>) {
        if let Some(known) = self.known.get_mut(&key) {
            known.outcome = Some(outcome);
        }
    }

    /// Why calls into a file are not seen, unless they are.
    pub(super) fn trouble(&self, key: FileKey) -> Option<String> {
        let known = self.known.get(&key)?;
        let reason = match (&known.content, &known.outcome) {
            (Err(reason), _) | (_, Some(Err(reason))) => reason.as_str(),
            (Ok(content), _) if content.points.is_empty() => "none of CUDA's functions are in it",
            (Ok(_), None) => super::NOT_YET,
            (Ok(_), Some(Ok(()))) => return None,
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

    /// Gives out what is new, and forgets what nobody has used for some time.
    pub(super) fn settle(&mut self, now: Instant, used: &HashSet<FileKey>, look: &mut Look) {
        self.known.retain(|key, known| {
            if used.contains(key) {
                known.unused_since = None;
            } else if now.duration_since(*known.unused_since.get_or_insert(now)) >= GRACE {
                if known.delivered {
                    look.gone.push(*key);
                }
                return false;
            }
            known.deliver(*key, look);
            true
        });
        let known = &self.known;
        self.beneath.retain(|stamp, key| {
            known
                .get(key)
                .is_some_and(|known| known.stamp.beneath() == Some(*stamp))
        });
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
