//! What outlives the library in its process.
//!
//! A program may unload the library and load it again, as it does when the driver is replaced.
//! What it simulates has gone on meanwhile: counters have not begun anew, and what has happened
//! does not happen again. So the time when it all began is kept in memory that belongs to the
//! process: a file without a name, found again by what it is called among the process's open files.
//! Another file of the library is another driver, with counters of its own.

use std::{
    ffi::CString,
    fs,
    os::unix::fs::MetadataExt as _,
    path::PathBuf,
    sync::{LazyLock, Mutex, MutexGuard, PoisonError},
};

use serde::{Deserialize, Serialize};

use crate::{clock, library};

/// The process's open files.
const FILES: &str = "/proc/self/fd";

#[derive(Default, Deserialize, Serialize)]
struct Kept {
    /// When the script was first read.
    first_ns: Option<u64>,
}

struct Afterlife {
    kept: Kept,
    /// Nothing where it could not be made: then nothing outlives the library.
    file: Option<PathBuf>,
}

/// When the script was first read; now, if it was not before.
pub(crate) fn first_ns() -> u64 {
    let mut afterlife = open();
    if let Some(first) = afterlife.kept.first_ns {
        return first;
    }
    let now = clock::monotonic_ns();
    afterlife.kept.first_ns = Some(now);
    afterlife.write();
    now
}

impl Afterlife {
    fn write(&self) {
        // Serializing numbers cannot fail, and what cannot be kept is only missed at a reload.
        if let (Some(file), Ok(text)) = (&self.file, toml::to_string(&self.kept)) {
            let _ = fs::write(file, text);
        }
    }
}

fn open() -> MutexGuard<'static, Afterlife> {
    static AFTERLIFE: LazyLock<Mutex<Afterlife>> = LazyLock::new(|| Mutex::new(find()));
    AFTERLIFE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn find() -> Afterlife {
    let file = fs::metadata(library::own_file()).ok().and_then(|library| {
        // The time as well, because the number of a file that was removed is given to another.
        let time = (library.mtime(), library.mtime_nsec());
        let name = format!("{}-{}-{}-{}", library.dev(), library.ino(), time.0, time.1);
        let name = format!("nvml-sim-{name}");
        existing(&name).or_else(|| create(&name))
    });
    let text = file.as_ref().and_then(|file| fs::read_to_string(file).ok());
    let kept = text.and_then(|text| toml::from_str(&text).ok());
    Afterlife {
        kept: kept.unwrap_or_default(),
        file,
    }
}

/// The file, if the process has it already.
fn existing(name: &str) -> Option<PathBuf> {
    let wanted = PathBuf::from(format!("/memfd:{name} (deleted)"));
    let files = fs::read_dir(FILES).ok()?.flatten();
    let mut files = files.map(|file| file.path());
    files.find(|file| fs::read_link(file).is_ok_and(|target| target == wanted))
}

/// A new file, which the process keeps until it ends.
fn create(name: &str) -> Option<PathBuf> {
    let name = CString::new(name).ok()?;
    // SAFETY: the name is a text that ends with NUL.
    let file = unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC) };
    (file >= 0).then(|| PathBuf::from(format!("{FILES}/{file}")))
}
