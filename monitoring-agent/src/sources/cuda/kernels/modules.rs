//! Which file a process's address lies in, and how that is opened. Knows nothing of what is in it.
//!
//! Files are opened as the process has them mapped, by `/proc/PID/map_files`: also in a container,
//! and when they were deleted or replaced since.

use std::{
    collections::{BTreeSet, HashMap},
    fs::{self, File, OpenOptions},
    io::{self, BufRead as _, BufReader, Read as _},
    os::{
        fd::AsRawFd as _,
        unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    },
};

/// Most bytes of one line of `/proc/PID/maps`: a path has at most 4,096, each written as 4 at most.
const LINE_BYTES: u64 = 32 * 1024;

/// A part of a file that a process has mapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mapping {
    pub(super) start: u64,
    end: u64,
    /// Of its start, in the file.
    offset: u64,
    /// Of the file's device.
    major: u32,
    minor: u32,
    inode: u64,
    /// The file's name, without its folders.
    pub(super) file_name: Vec<u8>,
}

impl Mapping {
    /// An address's offset in the file.
    pub(super) fn offset_of(&self, address: u64) -> u64 {
        (address - self.start).saturating_add(self.offset)
    }

    /// Whether an address of another process's is the same place of the same file.
    pub(super) fn is_same(&self, other: &Self, address: u64) -> bool {
        let file = |mapping: &Self| (mapping.major, mapping.minor, mapping.inode);
        file(self) == file(other) && self.offset_of(address) == other.offset_of(address)
    }
}

/// The files that addresses of a process lie in; nothing for those that lie in none.
///
/// # Errors
///
/// The list cannot be read. One without an entry is that of a process that has ended.
pub(super) fn find(pid: u32, addresses: &BTreeSet<u64>) -> io::Result<HashMap<u64, Mapping>> {
    let mut maps = BufReader::new(File::open(format!("/proc/{pid}/maps"))?);
    let mut found = HashMap::new();
    let mut line = Vec::new();
    let mut any = false;
    while maps
        .by_ref()
        .take(LINE_BYTES)
        .read_until(b'\n', &mut line)?
        > 0
    {
        any = true;
        if let Some(mapping) = parse(line.trim_ascii_end()) {
            for address in addresses.range(mapping.start..mapping.end) {
                found.insert(*address, mapping.clone());
            }
            if addresses.last().is_none_or(|last| *last < mapping.end) {
                break;
            }
        }
        line.clear();
    }
    if any {
        Ok(found)
    } else {
        Err(io::ErrorKind::NotFound.into())
    }
}

/// A line of `/proc/PID/maps`, if it is of a file.
fn parse(line: &[u8]) -> Option<Mapping> {
    let mut fields = line.splitn(6, |byte| *byte == b' ');
    let mut field = || str::from_utf8(fields.next()?).ok();
    let hex = |text: &str| u64::from_str_radix(text, 16).ok();
    let (start, end) = field()?.split_once('-')?;
    field()?;
    let offset = hex(field()?)?;
    let (major, minor) = field()?.split_once(':')?;
    let inode = field()?.parse().ok()?;
    let path = fields.next()?.trim_ascii_start();
    let path = path.strip_suffix(b" (deleted)").unwrap_or(path);
    let file_name = path.rsplit(|byte| *byte == b'/').next()?;
    let mapping = Mapping {
        start: hex(start)?,
        end: hex(end)?,
        offset,
        major: u32::from_str_radix(major, 16).ok()?,
        minor: u32::from_str_radix(minor, 16).ok()?,
        inode,
        file_name: file_name.to_vec(),
    };
    (inode != 0 && mapping.start < mapping.end).then_some(mapping)
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
pub(super) fn open(pid: u32, mapping: &Mapping) -> io::Result<(File, FileId)> {
    if !is_answered_for(pid, mapping)? {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let Mapping { start, end, .. } = mapping;
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
fn is_answered_for(pid: u32, mapping: &Mapping) -> io::Result<bool> {
    let device = format!("{}:{}", mapping.major, mapping.minor);
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
    fn lines() {
        let check = |line: &str, want: Option<(u64, u64, &str)>| {
            let mapping = parse(line.as_bytes());
            let got = mapping
                .as_ref()
                .map(|mapping| (mapping.start, mapping.offset, &*mapping.file_name));
            let want = want.map(|(start, offset, name)| (start, offset, name.as_bytes()));
            assert_eq!(got, want, "{line}");
        };
        check(
            "5581a000-5581b000 r-xp 00001000 fd:01 1234                       /usr/bin/train",
            Some((0x5581_a000, 0x1000, "train")),
        );
        check(
            "5581a000-5581b000 r-xp 00001000 fd:01 1234     /opt/a b/lib x.so (deleted)",
            Some((0x5581_a000, 0x1000, "lib x.so")),
        );
        check(
            "5581a000-5581b000 rw-p 00000000 00:00 0          [heap]",
            None,
        );
        check("5581a000-5581b000 rw-p 00000000 00:00 0", None);
        check("5581b000-5581a000 rw-p 00000000 fd:01 1234 /x", None);
        check("", None);
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
        fn no_line_makes_it_panic(line: Vec<u8>, mounts: Vec<u8>) {
            parse(&line);
            file_system(&mounts, b"1:2");
        }
    }
}
