//! Which file a process's address lies in, and how that is opened. Knows nothing of what is in it.
//!
//! Files are opened as the process has them mapped, by `/proc/PID/map_files`: also in a container,
//! and when they were deleted or replaced since.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fs::{self, File, OpenOptions},
    io,
    ops::ControlFlow,
    os::{
        fd::AsRawFd as _,
        unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    },
    path::Path,
};

use crate::process_maps::{self, Mapping, Reader};

/// Most files of one process that are looked at; one with all of Python's libraries has some hundred.
const MAX_FILES: usize = 2_048;

/// The files that addresses of a process lie in; nothing for those that lie in none.
///
/// # Errors
///
/// The list cannot be read. One without an entry is that of a process that has ended.
pub(super) fn find(
    pid: u32,
    addresses: &BTreeSet<u64>,
) -> io::Result<HashMap<u64, Mapping<'static>>> {
    let process = format!("/proc/{pid}");
    let mut found = HashMap::new();
    let mut any = false;
    Reader::new(process_maps::open(Path::new(&process))?).for_each(|mapping| {
        any = true;
        if mapping.is_file() {
            for address in addresses.range(mapping.range.clone()) {
                found.insert(*address, mapping.clone().into_owned());
            }
        }
        let is_last = |last: &u64| *last < mapping.range.end;
        if addresses.last().is_none_or(is_last) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    })?;
    if any {
        Ok(found)
    } else {
        Err(io::ErrorKind::NotFound.into())
    }
}

/// The files that a process executes, each once, of the first [`MAX_FILES`]: where its code begins.
pub(super) fn executed(pid: u32) -> io::Result<Vec<Mapping<'static>>> {
    let process = format!("/proc/{pid}");
    let mut files = Vec::new();
    let mut known = HashSet::new();
    Reader::new(process_maps::open(Path::new(&process))?).for_each(|mapping| {
        if mapping.is_executed()
            && mapping.is_file()
            && known.insert((mapping.device, mapping.inode))
        {
            files.push(mapping.clone().into_owned());
        }
        if files.len() < MAX_FILES {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    })?;
    Ok(files)
}

/// Whether an address is the same place of the same file in mappings of two processes.
pub(super) fn is_same_place(one: &Mapping<'_>, other: &Mapping<'_>, address: u64) -> bool {
    one.is_same_file(other) && one.offset_of(address) == other.offset_of(address)
}

/// Tells files apart, also when a number is used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct FileId {
    device: u64,
    inode: u64,
    changed_ns: (i64, i64),
}

/// Opens the file of a mapping, if it is a regular one that a file system of the node's own holds:
/// opening a device can set something off, and a file of a tenant's server may never answer.
pub(super) fn open(pid: u32, mapping: &Mapping<'_>) -> io::Result<(File, FileId)> {
    if !is_answered_for(pid, mapping)? {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let (start, end) = (mapping.range.start, mapping.range.end);
    // A place only, which is not opened yet.
    let place = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH)
        .open(format!("/proc/{pid}/map_files/{start:x}-{end:x}"))?;
    if !place.metadata()?.is_file() {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(format!("/proc/self/fd/{}", place.as_raw_fd()))?;
    let metadata = file.metadata()?;
    let id = FileId {
        device: metadata.dev(),
        inode: metadata.ino(),
        changed_ns: (metadata.ctime(), metadata.ctime_nsec()),
    };
    Ok((file, id))
}

/// Whether the kernel itself, and no process, answers for the file's content. What no table of
/// mounts has is not known to be so.
fn is_answered_for(pid: u32, mapping: &Mapping<'_>) -> io::Result<bool> {
    let device = format!(
        "{}:{}",
        libc::major(mapping.device),
        libc::minor(mapping.device)
    );
    for whose in [pid.to_string(), "self".to_owned()] {
        let mounts = fs::read(format!("/proc/{whose}/mountinfo"))?;
        if let Some(kind) = file_system(&mounts, device.as_bytes()) {
            return Ok(!kind.starts_with(b"fuse"));
        }
    }
    Ok(false)
}

/// The kind of file system that a device has, by a table of mounts as in
/// <https://docs.kernel.org/filesystems/proc.html>.
fn file_system<'a>(mounts: &'a [u8], device: &[u8]) -> Option<&'a [u8]> {
    mounts.split(|byte| *byte == b'\n').find_map(|line| {
        let mut fields = line.split(|byte| *byte == b' ');
        if fields.nth(2)? != device {
            return None;
        }
        // Behind a number of optional fields stands a hyphen, then the kind.
        fields.find(|field| *field == b"-")?;
        fields.next()
    })
}

/// The process that made this one, or that it was left to; `None` for the first and for one that
/// has ended.
pub(super) fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The name before it may hold anything, brackets included.
    let name_end = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = str::from_utf8(stat.get(name_end + 1..)?).ok()?;
    let parent = rest.split_ascii_whitespace().nth(1)?.parse().ok()?;
    (parent != 0).then_some(parent)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn files_by_address() {
        let own = std::process::id();
        let address = files_by_address as *const () as u64;
        let stack = (&raw const own).expose_provenance() as u64;
        let asked = BTreeSet::from([0, address, stack, u64::MAX]);
        let found = find(own, &asked).unwrap();
        let program = std::env::current_exe().unwrap();
        let program = program.file_name().unwrap().as_encoded_bytes();
        assert_eq!(found[&address].file_name(), program);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(is_same_place(&found[&address], &found[&address], address));
        assert!(find(own, &BTreeSet::new()).unwrap().is_empty());
        assert!(find(u32::MAX, &asked).is_err());
    }

    #[test]
    fn file_systems() {
        let mounts = b"22 1 259:2 / / rw,relatime shared:1 - ext4 /dev/root rw\n\
            30 22 0:45 / /home/x/mnt rw master:1 shared:2 - fuse.sshfs x rw\n\
            31 22 0:46 / /mnt/a\\040b rw - nfs4 server:/ rw\n";
        let check = |device: &str, want: Option<&str>| {
            let kind = file_system(mounts, device.as_bytes());
            assert_eq!(kind, want.map(str::as_bytes), "{device}");
        };
        check("259:2", Some("ext4"));
        check("0:45", Some("fuse.sshfs"));
        check("0:46", Some("nfs4"));
        check("0:47", None);
    }

    #[test]
    fn parents() {
        let own = std::process::id();
        assert_eq!(parent(own), Some(std::os::unix::process::parent_id()));
        assert_eq!(parent(1), None);
        assert_eq!(parent(u32::MAX), None);
    }

    proptest! {
        #[test]
        fn no_table_makes_it_panic(mounts: Vec<u8>) {
            file_system(&mounts, b"1:2");
        }
    }
}
