//! The number of a process's open file descriptors.
//!
//! Since 6.2 the kernel says it as the size of `/proc/PID/fd`. Before, the entries have to be
//! counted, which for a process with a million takes a second: a count can be stopped and resumed.

use std::{
    fs::{self, File},
    io,
    os::{fd::AsRawFd as _, unix::fs::MetadataExt as _},
    time::Instant,
};

/// Bytes of directory entries read at a time: about 1,300 descriptors, a few milliseconds.
const ENTRY_BYTES: usize = 32 * 1024;

/// How descriptors are counted on this kernel.
pub(super) struct Descriptors {
    /// Whether the folder's size is their number.
    sized: bool,
    entries: Vec<u8>,
}

/// A count under way.
#[derive(Debug)]
pub(super) struct Count {
    folder: File,
    counted: u64,
}

impl Descriptors {
    pub(super) fn new() -> Self {
        // This process has some, so that 0 says that the kernel does not tell.
        let own = fs::metadata("/proc/self/fd");
        Self {
            sized: own.is_ok_and(|own| own.size() > 0),
            entries: Vec::new(),
        }
    }

    /// Begins to count.
    pub(super) fn begin(pid: u32) -> io::Result<Count> {
        Ok(Count {
            folder: File::open(format!("/proc/{pid}/fd"))?,
            counted: 0,
        })
    }

    /// Counts on until `deadline`, but at least a step; the number once it is known.
    pub(super) fn advance(
        &mut self,
        count: &mut Count,
        deadline: Instant,
    ) -> io::Result<Option<u64>> {
        if self.sized {
            return Ok(Some(count.folder.metadata()?.size()));
        }
        self.entries.resize(ENTRY_BYTES, 0);
        loop {
            // SAFETY: the buffer is as long as the call is told.
            let length = unsafe {
                libc::syscall(
                    libc::SYS_getdents64,
                    count.folder.as_raw_fd(),
                    self.entries.as_mut_ptr(),
                    self.entries.len(),
                )
            };
            let length = usize::try_from(length).map_err(|_| io::Error::last_os_error())?;
            if length == 0 {
                return Ok(Some(count.counted));
            }
            count.counted += numbered(&self.entries[..length]);
            if Instant::now() >= deadline {
                return Ok(None);
            }
        }
    }
}

/// How many of the entries are numbers: not `.` and `..`.
fn numbered(mut entries: &[u8]) -> u64 {
    // struct linux_dirent64 of the kernel's include/linux/dirent.h: inode and position of 8 bytes,
    // the record's length of 2, its type of 1, and the name with a zero at its end.
    let mut count = 0;
    while let [
        _,
        _,
        _,
        _,
        _,
        _,
        _,
        _,
        _,
        _,
        _,
        _,
        _,
        _,
        _,
        _,
        low,
        high,
        _,
        first,
        ..,
    ] = entries
    {
        count += u64::from(first.is_ascii_digit());
        let length = usize::from(u16::from_ne_bytes([*low, *high]));
        let rest = entries.get(length..).filter(|_| length > 0);
        let Some(rest) = rest else { break };
        entries = rest;
    }
    count
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Counts in steps, as small as can be.
    fn count(descriptors: &mut Descriptors, pid: u32) -> u64 {
        let mut count = Descriptors::begin(pid).unwrap();
        loop {
            let step = descriptors.advance(&mut count, Instant::now()).unwrap();
            if let Some(number) = step {
                return number;
            }
        }
    }

    #[test]
    fn both_ways_agree() {
        // More than one buffer of entries has.
        let held: Vec<_> = (0..1_500).map(|_| File::open("/dev/null")).collect();
        if held.iter().any(Result::is_err) {
            // SAFETY: no memory is involved.
            let limit = unsafe { libc::sysconf(libc::_SC_OPEN_MAX) };
            panic!("the test needs 2,000 descriptors, the limit is {limit}");
        }
        let pid = std::process::id();
        let mut by_entries = Descriptors {
            sized: false,
            entries: Vec::new(),
        };
        let listed = fs::read_dir("/proc/self/fd").unwrap().count() as u64;
        assert_eq!(count(&mut by_entries, pid), listed);
        let mut by_size = Descriptors::new();
        if by_size.sized {
            assert_eq!(count(&mut by_size, pid), listed);
        }
        assert!(listed > 1_500);
    }

    #[test]
    fn processes_that_are_gone() {
        // Beyond the largest process id.
        let error = Descriptors::begin(1 << 23).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    proptest! {
        #[test]
        fn any_bytes(entries in prop::collection::vec(any::<u8>(), 0..200)) {
            numbered(&entries);
        }
    }
}
