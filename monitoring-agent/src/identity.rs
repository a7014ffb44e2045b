//! Reads from /proc what rules match on: a process's name, executable, cgroup and environment.

mod containers;

use std::{ffi::CString, fs, io, io::Read as _, mem, path::PathBuf};

use crate::config::{AgentRule, Identity};

/// Most of an environment that is looked at. Beyond it a rule on the environment finds nothing.
const ENVIRONMENT_BYTES: u64 = 128 * 1024;

/// `PF_EXITING` of the kernel's `include/linux/sched.h`: a process on its way out has lost its
/// executable before it is a zombie.
const PF_EXITING: u32 = 4;

/// `PF_KTHREAD` of the same: a thread of the kernel's.
const PF_KTHREAD: u32 = 0x0020_0000;

/// Reads identities into buffers that it keeps.
#[derive(Debug)]
pub struct Identities {
    comm: String,
    exe: String,
    cgroup: Cgroup,
    environment: Vec<u8>,
    needs_environment: bool,
    needs_containers: bool,
}

/// What a process's cgroup says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cgroup {
    /// Its path.
    pub path: String,
    /// The container's id, if it is a container's.
    pub container: String,
    /// The Kubernetes pod's uid, if it is a pod's.
    pub pod: String,
}

/// A process as it was at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Look<'a> {
    /// What rules ask about.
    pub identity: Identity<'a>,
    /// When it started; see [`monitoring_common::agents::Label`].
    pub started_ticks: u32,
    /// Whether it has ended, or is about to: what was read may be gone in part.
    pub ended: bool,
}

impl Identities {
    /// A reader for these rules; it reads environments only if one of them asks.
    pub fn new<'a>(mut rules: impl Iterator<Item = &'a AgentRule> + Clone) -> Self {
        Self {
            comm: String::new(),
            exe: String::new(),
            cgroup: Cgroup::default(),
            environment: Vec::new(),
            needs_environment: rules.clone().any(AgentRule::needs_environment),
            needs_containers: rules.any(AgentRule::needs_containers),
        }
    }

    /// A reader that finds containers and pods, and reads no environments.
    pub fn with_containers() -> Self {
        Self {
            needs_containers: true,
            ..Self::new(std::iter::empty())
        }
    }

    /// The process, or `None` when it is gone.
    pub fn read(&mut self, pid: u32) -> Option<Look<'_>> {
        let folder = PathBuf::from(format!("/proc/{pid}"));
        // Kernel threads have no executable; some processes may not be looked into.
        let exe = fs::read_link(folder.join("exe")).unwrap_or_default();
        self.exe = exe.to_string_lossy().into_owned();
        let cgroup = fs::read(folder.join("cgroup")).unwrap_or_default();
        self.cgroup = Cgroup::of(&cgroup, self.needs_containers);
        self.environment.clear();
        if self.needs_environment
            && let Ok(file) = fs::File::open(folder.join("environ"))
        {
            // What could be read is matched; the process may end in between.
            let _ = file
                .take(ENVIRONMENT_BYTES)
                .read_to_end(&mut self.environment);
        }
        // After the rest: a name that still is a program's belongs to all of the above.
        let comm = fs::read(folder.join("comm")).ok()?;
        self.comm = lossy(comm.strip_suffix(b"\n").unwrap_or(&comm));
        // Last: a number that still is this process's was its own all the time.
        let state = state(pid)?;
        Some(Look {
            identity: Identity {
                comm: &self.comm,
                exe: &self.exe,
                environment: &self.environment,
                ..self.cgroup.identity()
            },
            started_ticks: state.started_ticks,
            ended: state.ended,
        })
    }
}

impl Cgroup {
    fn of(file: &[u8], containers: bool) -> Self {
        let file = lossy(file);
        let mut cgroup = Self {
            path: cgroup_path(&file),
            ..Self::default()
        };
        if containers {
            containers::container(&file).clone_into(&mut cgroup.container);
            cgroup.pod = containers::pod(&file);
        }
        cgroup
    }

    /// What of an identity the cgroup knows.
    pub fn identity(&self) -> Identity<'_> {
        Identity {
            cgroup: &self.path,
            container: &self.container,
            pod: &self.pod,
            ..Identity::default()
        }
    }
}

/// When a process started, in ticks since boot, cut to 32 bits; `None` when it is gone.
pub fn started_ticks(pid: u32) -> Option<u32> {
    state(pid).map(|state| state.started_ticks)
}

/// Whether a process has no memory of its own: it is the kernel's, has ended, or is about to.
pub fn without_memory(pid: u32) -> bool {
    state(pid).is_none_or(|state| state.ended || state.of_kernel)
}

/// What a process's `stat` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    /// Whether it has ended, or is about to.
    ended: bool,
    /// Whether it is a thread of the kernel's.
    of_kernel: bool,
    started_ticks: u32,
}

fn state(pid: u32) -> Option<State> {
    // The thread's own file: the process's would have the kernel add up the times of its threads.
    parse_state(&fs::read(format!("/proc/{pid}/task/{pid}/stat")).ok()?)
}

fn parse_state(stat: &[u8]) -> Option<State> {
    // The name before it may hold anything, brackets included.
    let name_end = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = str::from_utf8(stat.get(name_end + 1..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    // Fields of proc(5): the state is number 3, the flags are 9, the start is 22.
    let dead = matches!(fields.next()?, "Z" | "X");
    let flags: u32 = fields.nth(5)?.parse().ok()?;
    let ticks: u64 = fields.nth(12)?.parse().ok()?;
    let low = ticks & u64::from(u32::MAX);
    Some(State {
        ended: dead || flags & PF_EXITING != 0,
        of_kernel: flags & PF_KTHREAD != 0,
        started_ticks: u32::try_from(low).ok()?,
    })
}

/// Number of the inode of a process's executable; `None` when it is gone or may not be looked at.
///
/// What the kernel has of the file is enough: a server that does not answer holds up nothing.
pub fn executable_inode(pid: u32) -> Option<u64> {
    let path = CString::new(format!("/proc/{pid}/exe")).ok()?;
    // SAFETY: a plain structure of integers.
    let mut answer: libc::statx = unsafe { mem::zeroed() };
    // SAFETY: the path is zero-ended, and the answer has room for what the kernel writes.
    let result = unsafe {
        libc::statx(
            libc::AT_FDCWD,
            path.as_ptr(),
            libc::AT_STATX_DONT_SYNC,
            libc::STATX_INO,
            &raw mut answer,
        )
    };
    (result == 0).then_some(answer.stx_ino)
}

/// A process's command line, its arguments divided by spaces; at most `most` bytes of it.
pub fn command_line(pid: u32, most: u64) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    fs::File::open(format!("/proc/{pid}/cmdline"))?
        .take(most)
        .read_to_end(&mut line)?;
    if line.last() == Some(&0) {
        line.pop();
    }
    for byte in &mut line {
        if *byte == 0 {
            *byte = b' ';
        }
    }
    Ok(line)
}

/// The path in the unified hierarchy, or, where that says nothing, the longest in any other.
fn cgroup_path(file: &str) -> String {
    let paths = || file.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    let unified = file.lines().find_map(|line| line.strip_prefix("0::"));
    let path = unified
        .filter(|path| *path != "/")
        .or_else(|| paths().max_by_key(|path| path.len()));
    path.unwrap_or("/").to_owned()
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{State, cgroup_path, parse_state};

    #[test]
    fn cgroup_paths() {
        let check = |file: &str, want: &str| assert_eq!(cgroup_path(file), want);
        check(
            "0::/system.slice/stratoswarm.service\n",
            "/system.slice/stratoswarm.service",
        );
        check("0::/\n", "/");
        check("", "/");
        check("12:cpu:/a\n1:name=systemd:/a/b\n0::/\n", "/a/b");
        check(
            "12:cpu,cpuacct:/docker/0123\n0::/with:colon\n",
            "/with:colon",
        );
        check("garbage", "/");
    }

    #[test]
    fn states_and_starts() {
        let check = |name: &str, state: &str, flags: u32, start: u64, want: (bool, bool, u32)| {
            let zeros = "0 ".repeat(12);
            let stat = format!("12 ({name}) {state} 1 2 3 0 -1 {flags} {zeros}{start} 0 0\n");
            let (ended, of_kernel, started_ticks) = want;
            let want = State {
                ended,
                of_kernel,
                started_ticks,
            };
            assert_eq!(parse_state(stat.as_bytes()), Some(want), "{stat}");
        };
        check("sleep", "S", 0x0040_0100, 4_711, (false, false, 4_711));
        check(") Z 1 (", "R", 0, 7, (false, false, 7));
        check("a\nb", "Z", 0, 1 << 32, (true, false, 0));
        check("ends", "R", 0x0040_0104, 7, (true, false, 7));
        check("kthreadd", "S", 0x0020_8040, 2, (false, true, 2));
        assert_eq!(parse_state(b"12 (sleep) S 1 2"), None);
        assert_eq!(parse_state(b""), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_state_or_none(bytes: Vec<u8>) {
            parse_state(&bytes);
        }
    }
}
