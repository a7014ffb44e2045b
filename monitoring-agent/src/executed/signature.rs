//! What tells cheaply that a process may have other files mapped than before.

use std::{
    fs::{self, File},
    io::Read as _,
    path::Path,
};

/// `PF_KTHREAD` of the kernel's `include/linux/sched.h`: a thread of the kernel's.
const PF_KTHREAD: u32 = 0x0020_0000;

/// Most bytes of a `stat` or `status` that are read; they have a tenth of it.
const MOST_BYTES: u64 = 16 * 1024;

/// What changes when a process starts another program or maps more to execute.
///
/// Nothing of it changes when a library is replaced by one of exactly the same size between two
/// looks; that is why lists of mappings are also read again now and then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Signature {
    /// When the process started: another time, another process.
    started_ticks: u64,
    /// Where its program was put and its stack begins: a new program has other places.
    places: [u64; 2],
    /// Bytes of all mappings.
    mapped: u64,
    /// Bytes that are mapped to be executed, in kibibytes: the program's and others.
    executed: [u64; 2],
}

impl Signature {
    /// The signature now; the same as `before` if nothing speaks for a change. `None` for what has
    /// no mappings: it has ended, or is the kernel's.
    pub(crate) fn read(process: &Path, pid: u32, before: Option<&Self>) -> Option<Self> {
        let mut text = Vec::new();
        // The thread's own file: the process's would have the kernel add up times of threads.
        read(&process.join(format!("task/{pid}/stat")), &mut text)?;
        let mut now = Self::of_stat(&text)?;
        // `status` costs more than `stat`, and it can only have changed if the sum has.
        if let Some(before) = before
            && *before
                == (Self {
                    executed: before.executed,
                    ..now
                })
        {
            return Some(*before);
        }
        read(&process.join("status"), &mut text)?;
        now.executed = executed(&text);
        Some(now)
    }

    /// When the process started, in ticks since boot, and where its program's stack begins.
    pub(crate) fn start(&self) -> (u64, u64) {
        (self.started_ticks, self.places[1])
    }

    /// Whether the mappings that are executed are the same.
    pub(crate) fn same_code(&self, other: &Self) -> bool {
        *self
            == Self {
                mapped: self.mapped,
                ..*other
            }
    }

    /// Whether it is the same process, and executes the same program.
    pub(crate) fn same_program(&self, other: &Self) -> bool {
        (self.started_ticks, self.places) == (other.started_ticks, other.places)
    }

    fn of_stat(stat: &[u8]) -> Option<Self> {
        // The name before it may hold anything, brackets included.
        let name_end = stat.iter().rposition(|byte| *byte == b')')?;
        let rest = str::from_utf8(stat.get(name_end + 1..)?).ok()?;
        let mut fields = rest.split_ascii_whitespace();
        // Fields of proc(5): 3 is the state, 9 the flags, 22 the start, 23 the bytes mapped, 26
        // where the program is, 28 where the stack begins.
        let dead = matches!(fields.next()?, "Z" | "X");
        let flags: u32 = fields.nth(5)?.parse().ok()?;
        let mut number = |skip| fields.nth(skip)?.parse::<u64>().ok();
        let signature = Self {
            started_ticks: number(12)?,
            mapped: number(0)?,
            places: [number(2)?, number(1)?],
            executed: [0; 2],
        };
        (!dead && flags & PF_KTHREAD == 0).then_some(signature)
    }
}

fn executed(status: &[u8]) -> [u64; 2] {
    [&b"VmExe:"[..], b"VmLib:"].map(|key| {
        let mut lines = status.split(|byte| *byte == b'\n');
        let value = lines.find_map(|line| line.strip_prefix(key));
        let value = value.and_then(|value| str::from_utf8(value).ok());
        let number = value.and_then(|value| value.split_ascii_whitespace().next());
        number.and_then(|number| number.parse().ok()).unwrap_or(0)
    })
}

fn read(path: &Path, text: &mut Vec<u8>) -> Option<()> {
    text.clear();
    File::open(path)
        .ok()?
        .take(MOST_BYTES)
        .read_to_end(text)
        .ok()?;
    Some(())
}

/// All processes, in no order.
pub(crate) fn all(proc_root: &Path) -> Vec<u32> {
    let entries = fs::read_dir(proc_root).into_iter().flatten();
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter_map(|name| name.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fields_of_stat() {
        let check = |name: &str, state: &str, flags: u32, want: bool| {
            let zeros = "0 ".repeat(12);
            let stat =
                format!("12 ({name}) {state} 1 2 3 0 -1 {flags} {zeros}77 88 9 10 26 27 28\n");
            let want = want.then_some(Signature {
                started_ticks: 77,
                mapped: 88,
                places: [26, 28],
                executed: [0; 2],
            });
            assert_eq!(Signature::of_stat(stat.as_bytes()), want, "{stat}");
        };
        check("sleep", "S", 0x0040_0100, true);
        check(") Z 1 (", "R", 0, true);
        check("a\nb", "Z", 0, false);
        check("kthreadd", "S", 0x0020_8040, false);
        assert_eq!(Signature::of_stat(b"12 (sleep) S 1 2"), None);
    }

    #[test]
    fn fields_of_status() {
        let check = |status: &str, want| assert_eq!(executed(status.as_bytes()), want, "{status}");
        check(
            "Name:\tVmLib:\nVmExe:\t      16 kB\nVmLib:\t    1668 kB\n",
            [16, 1668],
        );
        check("Name:\tkthreadd\n", [0, 0]);
        check("VmExe:\nVmLib: many kB\n", [0, 0]);
    }

    #[test]
    fn loading_a_library_is_seen() {
        let own = std::process::id();
        let folder = Path::new("/proc/self");
        let before = Signature::read(folder, own, None).unwrap();
        assert!(before.executed[1] > 0);
        // SAFETY: a fresh mapping that nothing else knows of.
        let page = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                4096,
                libc::PROT_READ | libc::PROT_EXEC,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        assert_ne!(page, libc::MAP_FAILED);
        let after = Signature::read(folder, own, Some(&before)).unwrap();
        assert!(!before.same_code(&after), "{before:?} {after:?}");
        // SAFETY: the mapping made above.
        unsafe { libc::munmap(page, 4096) };
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_signature_or_none(bytes: Vec<u8>) {
            Signature::of_stat(&bytes);
            executed(&bytes);
        }
    }
}
