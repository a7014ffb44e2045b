//! Opens the very file that a process has mapped, and tells whether two of them are the same.
//!
//! Runs where it may wait without end; see [`super::patience`].

use std::{
    ffi::OsStr,
    fs::{self, File, OpenOptions},
    io, mem,
    os::{
        fd::AsRawFd as _,
        unix::{ffi::OsStrExt as _, fs::OpenOptionsExt as _},
    },
    path::{Path, PathBuf},
};

use crate::process_maps::Mapping;

/// Numbers of file systems of `statfs(2)`.
const FUSE: i64 = 0x6573_5546;
const OVERLAY: i64 = 0x794c_7630;

/// A file, as device and inode; see [`Stamp::key`] for what they are in containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileKey {
    /// The device.
    pub device: u64,
    /// The inode's number on it.
    pub inode: u64,
}

/// What a file system says of a file, which changes whenever the file does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, u32),
    /// When anything about it changed: unlike the time before, programs cannot choose it.
    changed: (i64, u32),
}

/// Why a file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// It is not there, or not any more.
    #[error("{0}")]
    Absent(String),
    /// It is no regular file, and so has no code.
    #[error("not a regular file")]
    NoFile,
    /// There are too many.
    #[error("{0}")]
    Full(&'static str),
    /// It, or its file system, is not as it should be.
    #[error("{0}")]
    Failed(String),
}

impl From<String> for Refusal {
    fn from(why: String) -> Self {
        Self::Failed(why)
    }
}

/// A file that is open.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) file: File,
    pub(crate) stamp: Stamp,
    /// Whether it is seen through an overlay file system.
    pub(crate) overlaid: bool,
}

impl Stamp {
    /// The file's key.
    pub(crate) fn key(&self) -> FileKey {
        FileKey {
            device: self.device,
            inode: self.inode,
        }
    }

    /// What the same file has in common that is seen through several overlays.
    ///
    /// Containers of one image each have an overlay, and with it a device, of their own, but the
    /// file beneath is one, and so are all probes on it: on both, they would count twice. Number,
    /// size and times come from beneath. They tell files apart as long as the times are finer than
    /// seconds; where they are not, as in squashfs, two copies of one image could be two files.
    pub(crate) fn beneath(&self) -> Option<Self> {
        let fine = self.changed.1 != 0;
        fine.then_some(Self { device: 0, ..*self })
    }

    /// Whether it is the same file, unchanged. `overlaid`: one of them is seen through an overlay.
    pub(crate) fn same(&self, other: &Self, overlaid: bool) -> bool {
        self == other || overlaid && self.beneath().is_some() && self.beneath() == other.beneath()
    }

    /// The stamp of an open file, and its type and permissions.
    pub(crate) fn of(file: &File) -> io::Result<(Self, u32)> {
        // SAFETY: a plain structure of integers.
        let mut answer: libc::statx = unsafe { mem::zeroed() };
        // SAFETY: the path is empty and zero-ended, and the answer has room for what is written.
        let result = unsafe {
            libc::statx(
                file.as_raw_fd(),
                c"".as_ptr(),
                // No server is asked.
                libc::AT_EMPTY_PATH | libc::AT_STATX_DONT_SYNC,
                libc::STATX_BASIC_STATS,
                &raw mut answer,
            )
        };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
        let time = |time: libc::statx_timestamp| (time.tv_sec, time.tv_nsec);
        let stamp = Self {
            device: libc::makedev(answer.stx_dev_major, answer.stx_dev_minor),
            inode: answer.stx_ino,
            size: answer.stx_size,
            modified: time(answer.stx_mtime),
            changed: time(answer.stx_ctime),
        };
        Ok((stamp, answer.stx_mode.into()))
    }
}

/// Opens the file of a mapping.
pub(crate) fn open(process: &Path, mapping: &Mapping<'_>) -> Result<Opened, Refusal> {
    // The exact file, whatever has its path by now, in whatever mount namespace.
    let range = &mapping.range;
    let entry = format!("map_files/{:x}-{:x}", range.start, range.end);
    let mut error = match regular(&process.join(entry), 0) {
        Ok(opened) => return Ok(opened),
        Err(error) => error,
    };
    // Where the agent may not look into processes so, or the mapping was moved meanwhile.
    for path in paths(process, mapping) {
        let wanted = FileKey {
            device: mapping.device,
            inode: mapping.inode,
        };
        match regular(&path, libc::O_NOFOLLOW) {
            Ok(opened) if opened.stamp.key() == wanted => return Ok(opened),
            // Something is there, which may be it.
            Err(Refusal::Failed(why)) => error = Refusal::Failed(why),
            _ => {}
        }
    }
    Err(error)
}

/// The paths under which the file may be, in the process's own view of the file system.
fn paths(process: &Path, mapping: &Mapping<'_>) -> impl Iterator<Item = PathBuf> {
    let root = process.join("root").into_os_string();
    mapping.paths().into_iter().map(move |path| {
        let mut whole = root.clone();
        whole.push("/");
        whole.push(OsStr::from_bytes(&path));
        PathBuf::from(whole)
    })
}

/// Opens a regular file and nothing else: what a device or a pipe does when it is opened, it does
/// not do here.
fn regular(path: &Path, flags: i32) -> Result<Opened, Refusal> {
    let say = |attempt: &str, error: io::Error| {
        let why = format!("{attempt}: {error}");
        match error.raw_os_error() {
            Some(libc::ENOENT | libc::ENOTDIR | libc::ESRCH) => Refusal::Absent(why),
            _ => Refusal::Failed(why),
        }
    };
    let place = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH | flags)
        .open(path)
        .map_err(|error| say("find it", error))?;
    let (_, mode) = Stamp::of(&place).map_err(|error| say("look at it", error))?;
    if mode & libc::S_IFMT != libc::S_IFREG {
        return Err(Refusal::NoFile);
    }
    let system = file_system(&place).map_err(|error| say("look at its file system", error))?;
    if system == FUSE {
        let why = "on a FUSE file system, whose server could hold up the agent";
        return Err(Refusal::Failed(why.to_owned()));
    }
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(format!("/proc/self/fd/{}", place.as_raw_fd()))
        .map_err(|error| say("open it", error))?;
    let (stamp, _) = Stamp::of(&file).map_err(|error| say("look at it", error))?;
    Ok(Opened {
        file,
        stamp,
        overlaid: system == OVERLAY,
    })
}

fn file_system(file: &File) -> io::Result<i64> {
    // SAFETY: a plain structure of integers.
    let mut answer: libc::statfs = unsafe { mem::zeroed() };
    // SAFETY: the descriptor is open, and the answer has room for what is written.
    if unsafe { libc::fstatfs(file.as_raw_fd(), &raw mut answer) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(answer.f_type)
}

/// Opens the program that a process runs.
pub(crate) fn executable(process: &Path) -> Result<Opened, Refusal> {
    regular(&process.join("exe"), 0)
}

/// The program that a process runs, as the kernel writes its path.
pub(crate) fn program(process: &Path) -> Option<Vec<u8>> {
    let path = fs::read_link(process.join("exe")).ok()?;
    Some(path.into_os_string().into_encoded_bytes())
}
