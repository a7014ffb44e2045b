//! Opens the very file that a process has mapped, or none: whatever has its path by now may be
//! another one. Runs where it may wait without end.

use std::{
    ffi::{CString, OsStr},
    fs::{File, OpenOptions},
    io, mem,
    os::{
        fd::{AsRawFd as _, FromRawFd as _},
        unix::{
            ffi::OsStrExt as _,
            fs::{MetadataExt as _, OpenOptionsExt as _},
        },
    },
    path::Path,
    time::{Duration, SystemTime},
};

use super::FileId;
use crate::clock::monotonic_ns;

/// File systems, as `statfs(2)` numbers them, whose files have another device and inode for programs
/// than the kernel tells of mappings.
const OVERLAY: i64 = 0x794c_7630;
const BTRFS: i64 = 0x9123_683e;

/// Who has mapped a file, and where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::profile) struct Mapper {
    pub(in crate::profile) pid: u32,
    /// The process that started it, which most often sees the same files; 0 if it is not known.
    pub(in crate::profile) parent: u32,
    pub(in crate::profile) start: u64,
    pub(in crate::profile) end: u64,
    /// When it was mapped at the latest (monotonic clock).
    pub(in crate::profile) at_ns: u64,
}

/// Whose view of the file system a file was found in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum View {
    /// That of the process that has mapped it.
    Own,
    /// Another one, in which another file may have the path: one of the image that the agent's own
    /// container was made from.
    Foreign,
}

/// Finds a file without opening it, which has no effect on anything, whatever it is.
pub(super) fn find(by: &Mapper, id: &FileId, path: &[u8]) -> io::Result<File> {
    find_on(by, id, path, system_of)
}

fn find_on(
    by: &Mapper,
    id: &FileId,
    path: &[u8],
    system_of: fn(&File) -> Option<i64>,
) -> io::Result<File> {
    let is_the_file = |file: &File, view| {
        let is_special = || matches!(system_of(file), Some(OVERLAY | BTRFS));
        has_id(file, id) || is_special() && is_unchanged(file, id, by, view)
    };
    let Mapper { pid, parent, .. } = *by;
    // The exact file, whatever has its path by now, in whatever mount namespace.
    let entry = format!("/proc/{pid}/map_files/{:x}-{:x}", by.start, by.end);
    if let Ok(file) = locate(Path::new(&entry))
        && is_regular(&file)
        && is_the_file(&file, View::Own)
    {
        return Ok(file);
    }
    // The mapping was cut or moved, or the process has ended.
    let exe = format!("/proc/{pid}/exe");
    if let Ok(file) = locate(Path::new(&exe))
        && is_regular(&file)
        && has_id(&file, id)
    {
        return Ok(file);
    }
    for (root, view) in [
        (format!("/proc/{pid}/root"), View::Own),
        (format!("/proc/{parent}/root"), View::Foreign),
        ("/".to_owned(), View::Foreign),
    ] {
        let found = locate(Path::new(&root)).and_then(|root| beneath(&root, path));
        if let Ok(file) = found
            && is_regular(&file)
            && is_the_file(&file, view)
        {
            return Ok(file);
        }
    }
    Err(io::ErrorKind::NotFound.into())
}

fn locate(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH)
        .open(path)
}

/// Locates a file by its path beneath a root, and never leaves that. Paths that the kernel tells have
/// no symbolic links in them.
fn beneath(root: &File, path: &[u8]) -> io::Result<File> {
    let path = CString::new(path)?;
    // SAFETY: a plain structure of integers, in which 0 means nothing special.
    let mut how: libc::open_how = unsafe { mem::zeroed() };
    how.flags = (libc::O_PATH | libc::O_CLOEXEC).cast_unsigned().into();
    how.resolve = libc::RESOLVE_IN_ROOT | libc::RESOLVE_NO_SYMLINKS;
    // SAFETY: path and structure live across the call.
    let descriptor = unsafe {
        libc::syscall(
            libc::SYS_openat2,
            root.as_raw_fd(),
            path.as_ptr(),
            &raw const how,
            size_of_val(&how),
        )
    };
    let descriptor = i32::try_from(descriptor).unwrap_or(-1);
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new, and nobody else's.
    Ok(unsafe { File::from_raw_fd(descriptor) })
}

/// What a device or a pipe does when it is opened, it does not do here.
fn is_regular(file: &File) -> bool {
    file.metadata().is_ok_and(|inode| inode.is_file())
}

fn has_id(file: &File, id: &FileId) -> bool {
    let inode = file.metadata();
    inode.is_ok_and(|inode| (inode.dev(), inode.ino()) == (id.device, id.inode))
}

/// Whether it is the file that was mapped, where file systems are laid over each other: there the
/// device is another one, and the inode may be. Then it is that file if it has the path in the view of
/// who mapped it, and nothing about it has changed since: one that replaces another has come to its
/// path later. In another view that says nothing.
fn is_unchanged(file: &File, id: &FileId, by: &Mapper, view: View) -> bool {
    let has_inode = file.metadata().is_ok_and(|inode| inode.ino() == id.inode);
    has_inode || view == View::Own && is_older(file, by)
}

fn is_older(file: &File, by: &Mapper) -> bool {
    let ago = Duration::from_nanos(monotonic_ns().saturating_sub(by.at_ns));
    let mapped = SystemTime::now() - ago;
    let mapped = mapped.duration_since(SystemTime::UNIX_EPOCH);
    let Ok((inode, mapped)) = file.metadata().and_then(|inode| {
        let mapped = mapped.map_err(io::Error::other)?;
        Ok((inode, mapped))
    }) else {
        return false;
    };
    u64::try_from(inode.ctime()).is_ok_and(|changed| changed < mapped.as_secs())
}

fn system_of(file: &File) -> Option<i64> {
    // SAFETY: a plain structure of integers.
    let mut answer: libc::statfs = unsafe { mem::zeroed() };
    // SAFETY: the descriptor is open, and the answer has room for what is written.
    let result = unsafe { libc::fstatfs(file.as_raw_fd(), &raw mut answer) };
    (result == 0).then_some(answer.f_type)
}

/// Opens what was found. It may be deleted by now.
pub(super) fn for_reading(found: &File) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(format!("/proc/self/fd/{}", found.as_raw_fd()))
}

/// Opens a regular file by its path beneath the root that a process sees. May wait without end.
pub(in crate::profile) fn in_view_of(pid: u32, path: &OsStr) -> io::Result<File> {
    let root = locate(Path::new(&format!("/proc/{pid}/root")))?;
    let found = beneath(&root, path.as_bytes())?;
    if !is_regular(&found) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for_reading(&found)
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Read as _, process};

    use super::*;

    #[test]
    fn only_the_very_file_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("library");
        fs::write(&path, "first").unwrap();
        let inode = fs::metadata(&path).unwrap();
        let id = FileId {
            device: inode.dev(),
            inode: inode.ino(),
            generation: 0,
        };
        let by = Mapper {
            pid: process::id(),
            at_ns: monotonic_ns(),
            ..Mapper::default()
        };
        let find = || find(&by, &id, path.as_os_str().as_bytes());
        let found = find().unwrap();
        let held = File::open(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert!(find().is_err());
        fs::write(&path, "second").unwrap();
        assert!(find().is_err());
        let mut text = String::new();
        for_reading(&found)
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(text, "first");
        drop(held);
    }

    #[test]
    fn another_view_has_other_files_at_the_same_path() {
        // Older than any mapping, and not the inode that the kernel told.
        let path = b"/etc/passwd";
        let id = FileId {
            device: 1,
            inode: u64::MAX,
            generation: 0,
        };
        let find = |pid, parent| {
            let by = Mapper {
                pid,
                parent,
                at_ns: monotonic_ns(),
                ..Mapper::default()
            };
            find_on(&by, &id, path, |_| Some(OVERLAY))
        };
        assert!(find(process::id(), 0).is_ok());
        // There is no process of this number.
        let nobody = u32::MAX;
        assert!(find(nobody, process::id()).is_err());
        assert!(find(nobody, nobody).is_err());
        let inode = fs::metadata("/etc/passwd").unwrap().ino();
        let id = FileId { inode, ..id };
        let by = Mapper {
            pid: nobody,
            ..Mapper::default()
        };
        assert!(find_on(&by, &id, path, |_| Some(OVERLAY)).is_ok());
    }

    #[test]
    fn pipes_devices_and_links_are_not_opened() {
        let folder = tempfile::tempdir().unwrap();
        let open = |path: &Path| in_view_of(process::id(), path.as_os_str());
        let pipe = folder.path().join("pipe");
        let name = CString::new(pipe.as_os_str().as_bytes()).unwrap();
        // SAFETY: the name lives across the call.
        assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
        assert!(open(&pipe).is_err());
        assert!(open(Path::new("/dev/zero")).is_err());
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("/etc/passwd", &link).unwrap();
        assert!(open(&link).is_err());
        assert!(open(Path::new("/etc/passwd")).is_ok());
    }
}
