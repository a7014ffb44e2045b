//! Resident memory by kind, from `/proc/PID/status`. The kernel's counters: no page is looked at,
//! and nothing is waited for.

use std::{
    fs::File,
    io::{self, Read as _},
};

/// Room for a status file, whose parts of no interest grow with the number of CPUs and groups.
/// What counts stands within the first 2 KiB.
const STATUS_BYTES: usize = 8 * 1024;

/// Resident memory, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Memory {
    /// Not backed by a file: heap, stacks, allocators' mappings.
    pub(super) anon: u64,
    /// Pages of files, programs and libraries among them.
    pub(super) file: u64,
    /// Memory shared on purpose: POSIX and System V shared memory, tmpfs, shared anonymous mappings.
    pub(super) shmem: u64,
}

impl Memory {
    /// All of it: the kernel's `VmRSS`, which is this sum.
    pub(super) fn resident(&self) -> u64 {
        self.anon
            .saturating_add(self.file)
            .saturating_add(self.shmem)
    }
}

/// A process's memory. Nothing for one that has given it back already.
pub(super) fn read(pid: u32) -> io::Result<Memory> {
    let mut text = [0; STATUS_BYTES];
    let mut file = File::open(format!("/proc/{pid}/status"))?;
    // One read is enough for a file of procfs that fits.
    let length = file.read(&mut text)?;
    Ok(parse(&text[..length]))
}

fn parse(status: &[u8]) -> Memory {
    let mut memory = Memory::default();
    for line in status.split(|byte| *byte == b'\n') {
        let value = if let Some(rest) = line.strip_prefix(b"RssAnon:") {
            (&mut memory.anon, rest)
        } else if let Some(rest) = line.strip_prefix(b"RssFile:") {
            (&mut memory.file, rest)
        } else if let Some(rest) = line.strip_prefix(b"RssShmem:") {
            (&mut memory.shmem, rest)
        } else {
            continue;
        };
        *value.0 = kibibytes(value.1).unwrap_or(0);
    }
    memory
}

/// The bytes of `    1234 kB`.
fn kibibytes(value: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(value).ok()?;
    let number: u64 = text.strip_suffix(" kB")?.trim_start().parse().ok()?;
    number.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STATUS: &str = "Name:\tsleep\nVmHWM:\t    1804 kB\nVmRSS:\t    1804 kB\n\
                          RssAnon:\t      88 kB\nRssFile:\t    1716 kB\nRssShmem:\t       4 kB\n\
                          VmData:\t     224 kB\n";

    #[test]
    fn statuses() {
        let check = |status: &str, (anon, file, shmem): (u64, u64, u64)| {
            let want = Memory { anon, file, shmem };
            assert_eq!(parse(status.as_bytes()), want, "{status}");
        };
        check(STATUS, (88 << 10, 1716 << 10, 4 << 10));
        // A kernel thread, or a zombie.
        check("Name:\tkthreadd\nThreads:\t1\n", (0, 0, 0));
        check("", (0, 0, 0));
        // Names have no newlines: the kernel escapes them.
        check("Name:\tRssAnon:\t 7 kB\nRssAnon:\t 1 kB\n", (1024, 0, 0));
        check(
            "RssAnon:\t 1 MB\nRssFile:\t -1 kB\nRssShmem:\t 2 kB",
            (0, 0, 2048),
        );
        check("RssAnon:\t 99999999999999999999 kB\n", (0, 0, 0));
        check("RssAnon:\t 18446744073709551615 kB\n", (0, 0, 0));
    }

    #[test]
    fn this_process_agrees_with_itself() {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let want = kibibytes(line.unwrap().as_bytes()).unwrap();
        assert_eq!(parse(status.as_bytes()).resident(), want);
    }

    proptest! {
        #[test]
        fn any_bytes(
            status in prop::collection::vec(any::<u8>(), 0..200),
            lines in "(Rss(Anon|File|Shmem):[ \t0-9a-z]{0,24}( kB)?\n){0,6}",
        ) {
            parse(&status);
            parse(lines.as_bytes()).resident();
        }
    }
}
