//! Resident memory by kind, from `/proc/PID/status`. The kernel's counters: no page is looked at,
//! and nothing is waited for.

use std::{
    fs::File,
    io::{self, Read},
};

use crate::identity;

/// Asked for at a time; a usual status file is a quarter of that.
const STATUS_BYTES: usize = 8 * 1024;

/// The most that is read of a file. What counts stands behind the line of supplementary groups,
/// of which there may be 65,536 with up to 10 digits each.
const MOST_BYTES: usize = 1024 * 1024;

/// Begins the last line that counts.
const LAST: &[u8] = b"RssShmem:";

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

/// A process's memory. Nothing for one that has none: a kernel thread, or one that has ended.
pub(super) fn read(pid: u32) -> io::Result<Memory> {
    let status = relevant(File::open(format!("/proc/{pid}/status"))?)?;
    match parse(&status) {
        Some(memory) => Ok(memory),
        None if identity::without_memory(pid) => Ok(Memory::default()),
        None => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "a status without resident memory",
        )),
    }
}

/// A status up to the last line that counts, or to its end.
fn relevant(mut status: impl Read) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    let mut chunk = [0; STATUS_BYTES];
    let mut line = 0;
    while text.len() < MOST_BYTES {
        let read = match status.read(&mut chunk) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        if read == 0 {
            break;
        }
        let new = text.len();
        text.extend_from_slice(&chunk[..read]);
        let Some(end) = chunk[..read].iter().rposition(|byte| *byte == b'\n') else {
            continue;
        };
        // The file comes in whole lines, most of the time all of it at once.
        if lines(&text[line..new + end]).any(|line| line.starts_with(LAST)) {
            break;
        }
        line = new + end + 1;
    }
    Ok(text)
}

/// The three kinds; `None` if one of them is not there.
fn parse(status: &[u8]) -> Option<Memory> {
    let (mut anon, mut file, mut shmem) = (None, None, None);
    for line in lines(status) {
        if let Some(rest) = line.strip_prefix(b"RssAnon:") {
            anon = kibibytes(rest);
        } else if let Some(rest) = line.strip_prefix(b"RssFile:") {
            file = kibibytes(rest);
        } else if let Some(rest) = line.strip_prefix(LAST) {
            shmem = kibibytes(rest);
        }
    }
    Some(Memory {
        anon: anon?,
        file: file?,
        shmem: shmem?,
    })
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'\n')
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
        let check = |status: &str, want: Option<(u64, u64, u64)>| {
            let want = want.map(|(anon, file, shmem)| Memory { anon, file, shmem });
            assert_eq!(parse(status.as_bytes()), want, "{status}");
        };
        check(STATUS, Some((88 << 10, 1716 << 10, 4 << 10)));
        // A kernel thread, or a zombie.
        check("Name:\tkthreadd\nThreads:\t1\n", None);
        check("", None);
        check("RssAnon:\t 1 kB\nRssFile:\t 1 kB\n", None);
        // Names have no newlines: the kernel escapes them.
        check(
            "Name:\tRssAnon:\t 7 kB\nRssAnon:\t 1 kB\nRssFile:\t 0 kB\nRssShmem:\t 2 kB",
            Some((1024, 0, 2048)),
        );
        for wrong in [
            "1 MB",
            "-1 kB",
            "99999999999999999999 kB",
            "18446744073709551615 kB",
        ] {
            check(&STATUS.replace("88 kB", wrong), None);
        }
    }

    /// Gives so many bytes at a time, as the kernel may, and says how often it was asked.
    struct Slowly<'a>(&'a [u8], usize, usize);

    impl Read for Slowly<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let length = self.1.min(buffer.len()).min(self.0.len());
            let (now, later) = self.0.split_at(length);
            buffer[..length].copy_from_slice(now);
            self.0 = later;
            self.2 += 1;
            Ok(length)
        }
    }

    #[test]
    fn a_process_of_65536_groups() {
        let groups = "4294967294 ".repeat(65_536);
        let rest = "Cpus_allowed:\tff\n".repeat(STATUS_BYTES);
        let status = format!("Name:\tmany\nGroups:\t{groups}\n{STATUS}{rest}");
        for each in [1, 7, 4096, usize::MAX] {
            let text = relevant(Slowly(status.as_bytes(), each, 0)).unwrap();
            assert_eq!(parse(&text), parse(STATUS.as_bytes()), "{each} at a time");
            assert!(text.len() < status.len(), "it stops when it has all");
        }
    }

    #[test]
    fn a_usual_status_takes_one_read() {
        let mut status = Slowly(STATUS.as_bytes(), usize::MAX, 0);
        assert_eq!(relevant(&mut status).unwrap(), STATUS.as_bytes());
        assert_eq!(status.2, 1);
    }

    #[test]
    fn what_never_ends_is_left() {
        for endless in [b'x', b'\n'] {
            let text = relevant(io::repeat(endless)).unwrap();
            assert_eq!(text.len(), MOST_BYTES);
            assert_eq!(parse(&text), None);
        }
    }

    #[test]
    fn this_process_agrees_with_itself() {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let want = kibibytes(line.unwrap().as_bytes()).unwrap();
        assert_eq!(parse(status.as_bytes()).unwrap().resident(), want);
    }

    #[test]
    fn a_process_without_memory_has_none_and_a_live_one_has() {
        assert!(read(std::process::id()).unwrap().resident() > 0);
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id();
        // SAFETY: zeros are a valid structure, which the call fills; the child stays a zombie.
        let waited = unsafe {
            let mut info = std::mem::zeroed();
            libc::waitid(
                libc::P_PID,
                pid,
                &raw mut info,
                libc::WEXITED | libc::WNOWAIT,
            )
        };
        assert_eq!(waited, 0);
        assert_eq!(read(pid).unwrap(), Memory::default());
        child.wait().unwrap();
        assert!(read(pid).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes(
            status in prop::collection::vec(any::<u8>(), 0..200),
            lines in "(Rss(Anon|File|Shmem):[ \t0-9a-z]{0,24}( kB)?\n){0,6}",
            each in 1..50_usize,
        ) {
            parse(&status);
            if let Some(memory) = parse(lines.as_bytes()) {
                memory.resident();
            }
            relevant(Slowly(&status, each, 0)).unwrap();
            relevant(Slowly(lines.as_bytes(), each, 0)).unwrap();
        }
    }
}
