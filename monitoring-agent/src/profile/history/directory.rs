//! The directory of the history: which of its files are ours, how one is written whole or not at
//! all, and how one is deleted.
//!
//! Knows names and bytes, not what is in them. A file whose name is not exactly one of ours is
//! never touched.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use super::window::Window;

/// Only the agent's user may look.
const DIRECTORY_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// Permission to write for the group and for others.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// What a file takes on disk is a multiple of this, on nearly all file systems.
const BLOCK_BYTES: u64 = 4096;

/// A file of the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) window: Window,
    /// What it takes on disk.
    pub(super) bytes: u64,
}

/// What a file of this length takes on disk.
pub(super) fn on_disk(length: u64) -> u64 {
    length.div_ceil(BLOCK_BYTES).saturating_mul(BLOCK_BYTES)
}

/// Makes the directory if it is not there.
///
/// # Errors
///
/// When it cannot be made, or others may write to it: they could put files in the agent's way.
pub(super) fn prepare(directory: &Path) -> io::Result<()> {
    let metadata = match fs::metadata(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if let Some(parent) = directory.parent() {
                // Others may have things there, so it gets the usual permissions.
                fs::create_dir_all(parent)?;
            }
            let made = DirBuilder::new().mode(DIRECTORY_MODE).create(directory);
            made?;
            fs::metadata(directory)?
        }
        metadata => metadata?,
    };
    if !metadata.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    // SAFETY: it has no preconditions and cannot fail.
    let own = unsafe { libc::geteuid() };
    if metadata.uid() != own && metadata.uid() != 0 || metadata.mode() & WRITABLE_BY_OTHERS != 0 {
        let why = "others may write to it: make it the agent's own (chown, chmod 700), or name \
                   another directory";
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    }
    Ok(())
}

/// The files that are ours, in no order. None where there is no directory.
pub(super) fn list(directory: &Path) -> io::Result<Vec<Kept>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut kept = Vec::new();
    for entry in entries {
        let entry = entry?;
        let Some(window) = entry.file_name().to_str().and_then(Window::named) else {
            continue;
        };
        // One that has been deleted meanwhile is not there; what is no file is not ours.
        if let Ok(metadata) = entry.metadata()
            && metadata.is_file()
        {
            let bytes = on_disk(metadata.len());
            kept.push(Kept { window, bytes });
        }
    }
    Ok(kept)
}

/// Removes what was being written when an agent was killed, and says how much that was. A file that
/// another agent writes just now is locked, and stays.
pub(super) fn remove_half_written(directory: &Path) -> io::Result<u64> {
    let mut removed = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if name.to_str().is_some_and(Window::is_half_written)
            && entry.file_type()?.is_file()
            && remove_unlocked(&entry.path())?
        {
            removed += 1;
        }
    }
    Ok(removed)
}

fn remove_unlocked(path: &Path) -> io::Result<bool> {
    let file = OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)?;
    match file.try_lock() {
        Ok(()) => fs::remove_file(path).map(|()| true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// A file that is written whole, and has not got its name yet. Gone when it is dropped.
pub(super) struct Unnamed {
    directory: PathBuf,
    window: Window,
    path: PathBuf,
    named: bool,
    /// Locked as long as it is open.
    file: File,
}

/// Writes a file and waits until it is on disk.
pub(super) fn write(directory: &Path, window: Window, bytes: &[u8]) -> io::Result<Unnamed> {
    let path = directory.join(window.name_while_written());
    let create = || {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(FILE_MODE);
        options.custom_flags(libc::O_NOFOLLOW).open(&path)
    };
    let file = match create() {
        // A removal that failed has left it behind.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && remove_unlocked(&path)? => {
            create()
        }
        file => file,
    }?;
    file.try_lock()?;
    let mut unnamed = Unnamed {
        directory: directory.to_owned(),
        window,
        path,
        named: false,
        file,
    };
    unnamed.file.write_all(bytes)?;
    unnamed.file.sync_all()?;
    Ok(unnamed)
}

impl Unnamed {
    /// Gives it its name; from then on it survives whatever happens.
    pub(super) fn name(mut self) -> io::Result<Window> {
        while fs::symlink_metadata(self.directory.join(self.window.name())).is_ok() {
            let longer = self.window.longer();
            if longer == self.window {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            self.window = longer;
        }
        fs::rename(&self.path, self.directory.join(self.window.name()))?;
        self.named = true;
        // The directory is what has the name.
        File::open(&self.directory)?.sync_all()?;
        Ok(self.window)
    }
}

impl Drop for Unnamed {
    fn drop(&mut self) {
        if !self.named {
            // If it stays, the next start removes it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Deletes a window's file. One that is gone already is deleted.
pub(super) fn delete(directory: &Path, window: Window) -> io::Result<()> {
    match fs::remove_file(directory.join(window.name())) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Opens a window's file for reading.
pub(super) fn open(directory: &Path, window: Window) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(directory.join(window.name()))
}
