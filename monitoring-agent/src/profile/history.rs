//! Profiles on disk: one file for each window, the oldest deleted first.
//!
//! A window is written under another name, brought to disk, and then named, so that a file that has
//! its name is whole: who is killed while it writes loses the window that it writes and no other.
//! What cannot be written is counted and said once, and the next window is tried again. Knows
//! neither how profiles are made nor who asks for them.

mod bounds;
mod directory;
mod merging;
#[cfg(test)]
mod tests;
mod window;

use std::{
    collections::HashSet,
    fmt, io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use prometheus::proto::MetricFamily;
use tracing::{info, warn};

pub use self::{
    bounds::Now,
    merging::{Found, Query, QueryError},
    window::{Span, Window},
};
use self::{bounds::Steadiness, directory::Kept};
use super::Type;
use crate::families::Family;

/// Torn files that are remembered, so that each is counted once.
const REMEMBERED_TORN: usize = 4096;

/// Where the history is, and how much of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryOptions {
    /// For its files alone. Made when it is needed.
    pub directory: PathBuf,
    /// Room that its files may take, each rounded up to 4 KiB. While a window is written there is
    /// one file more.
    pub max_bytes: u64,
    /// Windows that ended before so long are deleted.
    pub retention: Duration,
}

/// The history. Cheap to clone; all clones are the same one.
#[derive(Clone)]
pub struct History(Arc<Inner>);

struct Inner {
    options: HistoryOptions,
    writing: Mutex<Writing>,
    unwritten: AtomicU64,
    leftovers: AtomicU64,
    torn: AtomicU64,
    known_torn: Mutex<HashSet<Window>>,
    /// Files, and what they take on disk, as of the last look.
    files: AtomicU64,
    bytes: AtomicU64,
}

struct Writing {
    /// Whether the directory was looked through since the start.
    is_clean: bool,
    /// Whether the last window could not be written.
    has_failed: bool,
    clock: Steadiness,
}

impl History {
    /// The history of this directory. Removes what an agent that was killed left half written; if
    /// the directory cannot be used, says so and tries again with each window.
    pub fn open(options: HistoryOptions) -> Self {
        Self::open_at(options, Now::read())
    }

    fn open_at(options: HistoryOptions, now: Now) -> Self {
        let history = Self(Arc::new(Inner {
            options,
            writing: Mutex::new(Writing {
                is_clean: false,
                has_failed: false,
                clock: Steadiness::begin(now),
            }),
            unwritten: AtomicU64::new(0),
            leftovers: AtomicU64::new(0),
            torn: AtomicU64::new(0),
            known_torn: Mutex::default(),
            files: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        }));
        let mut writing = history.writing();
        if let Err(error) = history.clean(&mut writing) {
            history.say_failed(&mut writing, &error);
        }
        drop(writing);
        history
    }

    /// Keeps the profile of the window that ends now: a pprof file, compressed. Blocks until it is
    /// on disk.
    ///
    /// # Errors
    ///
    /// When it cannot be written. That is logged and counted already, and the next window is tried
    /// again: the caller need not do anything.
    pub fn keep(&self, kind: Type, length: Duration, pprof: &[u8]) -> io::Result<Window> {
        self.keep_at(kind, length, pprof, Now::read())
    }

    fn keep_at(&self, kind: Type, length: Duration, pprof: &[u8], now: Now) -> io::Result<Window> {
        let mut writing = self.writing();
        if writing.clock.look(now) {
            info!(
                "the clock was set: windows of profiles are named by it, and none is deleted for \
                 its age for some hours"
            );
        }
        let window = Window::ending(kind, now.wall, length);
        let kept = self.try_keep(&mut writing, window, pprof);
        match &kept {
            Ok(_) if writing.has_failed => {
                writing.has_failed = false;
                let directory = self.directory().display();
                info!("profiles are kept in {directory} again");
            }
            Ok(_) => {}
            Err(error) => {
                self.0.unwritten.fetch_add(1, Relaxed);
                self.say_failed(&mut writing, error);
            }
        }
        kept
    }

    fn try_keep(&self, writing: &mut Writing, window: Window, pprof: &[u8]) -> io::Result<Window> {
        self.clean(writing)?;
        let max_bytes = self.0.options.max_bytes;
        let new_bytes = directory::on_disk(pprof.len() as u64);
        if new_bytes > max_bytes {
            let why = format!("a window of {new_bytes} bytes is larger than history_max_bytes");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
        }
        // Nothing is deleted for a window that cannot be written.
        let file = directory::write(self.directory(), window, pprof)?;
        let plausible = writing.clock.plausible(self.0.options.retention);
        let kept = directory::list(self.directory())?;
        for window in bounds::surplus(kept, new_bytes, max_bytes, plausible) {
            directory::delete(self.directory(), window)?;
        }
        let window = file.name()?;
        // It is on disk; that the files cannot be counted now takes nothing away from that.
        let _ = self.look();
        Ok(window)
    }

    /// Makes the directory fit for use, once.
    fn clean(&self, writing: &mut Writing) -> io::Result<()> {
        directory::prepare(self.directory())?;
        if !writing.is_clean {
            let removed = directory::remove_half_written(self.directory())?;
            writing.is_clean = true;
            if removed > 0 {
                self.0.leftovers.fetch_add(removed, Relaxed);
                let directory = self.directory().display();
                warn!(
                    "{removed} windows of profiles were being written to {directory} when an agent \
                     was killed; they are lost, and were removed"
                );
            }
            self.look()?;
        }
        Ok(())
    }

    fn say_failed(&self, writing: &mut Writing, error: &io::Error) {
        if !std::mem::replace(&mut writing.has_failed, true) {
            let directory = self.directory().display();
            warn!(
                "profiles are taken but not kept, until this is mended: write to {directory}: \
                 {error}"
            );
        }
    }

    /// Counts what is there.
    fn look(&self) -> io::Result<Vec<Kept>> {
        let kept = directory::list(self.directory())?;
        self.0.files.store(kept.len() as u64, Relaxed);
        let bytes = kept.iter().map(|file| file.bytes).sum();
        self.0.bytes.store(bytes, Relaxed);
        Ok(kept)
    }

    /// The windows that are there, oldest first. Blocks.
    ///
    /// # Errors
    ///
    /// When the directory cannot be read. That it is not there is no error.
    pub fn windows(&self) -> io::Result<Vec<Window>> {
        let kept = self.look()?;
        let mut windows: Vec<_> = kept.into_iter().map(|file| file.window).collect();
        windows.sort_unstable_by_key(|window| (window.start_ms, *window));
        Ok(windows)
    }

    /// Where it is.
    pub fn directory(&self) -> &Path {
        &self.0.options.directory
    }

    /// What was lost, in windows, by reason.
    pub fn lost(&self) -> Vec<(&'static str, u64)> {
        let load = |counter: &AtomicU64| counter.load(Relaxed);
        vec![
            ("window_unwritten", load(&self.0.unwritten)),
            ("window_half_written", load(&self.0.leftovers)),
            ("window_torn", load(&self.0.torn)),
        ]
    }

    /// How much there is, as metrics.
    pub fn families(&self) -> Vec<MetricFamily> {
        let load = |number: &AtomicU64| number.load(Relaxed) as f64;
        let windows = Family::gauge(
            "monitoring_agent_profile_history_windows",
            "Windows of profiles on disk.",
        );
        let bytes = Family::gauge(
            "monitoring_agent_profile_history_bytes",
            "What they take on disk.",
        );
        vec![
            windows.with(&[], load(&self.0.files)).build(),
            bytes.with(&[], load(&self.0.bytes)).build(),
        ]
    }

    /// Counts a file that cannot be read, if it is not counted yet.
    fn count_torn(&self, window: Window) {
        let known = &self.0.known_torn;
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() < REMEMBERED_TORN && known.insert(window) {
            self.0.torn.fetch_add(1, Relaxed);
            let (name, directory) = (window.name(), self.directory().display());
            warn!("{name} in {directory} is torn: its window is lost");
        }
    }

    fn writing(&self) -> MutexGuard<'_, Writing> {
        // A panic leaves a state behind that is valid: at worst it says something twice.
        let writing = &self.0.writing;
        writing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("History").field(&self.0.options).finish()
    }
}
