//! Cgroups of a test's own, which leave the machine as it was.

use std::{
    fs::{self, File},
    io,
    os::{fd::AsRawFd as _, unix::process::CommandExt as _},
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

/// How long the kernel may need to notice that a cgroup's processes have ended.
const PATIENCE: Duration = Duration::from_secs(10);

/// A cgroup, which goes with the test and takes its processes with it.
pub(super) struct Cgroup {
    path: PathBuf,
    /// The one that was made for it to be in.
    around: Option<PathBuf>,
    /// The controllers' file above, if this test has put memory into it.
    lent: Option<PathBuf>,
}

impl Cgroup {
    /// A cgroup of the unified hierarchy, inside another one that is made as well.
    pub(super) fn inside(outer: &str, name: &str) -> Self {
        let outer = unified().join(outer);
        make(&outer);
        let mut cgroup = Self::at(outer.join(name));
        cgroup.around = Some(outer);
        cgroup
    }

    /// Has a command's process move into the cgroup before it executes its program, as what
    /// starts a container does.
    pub(super) fn hold(&self, command: &mut Command) {
        let processes = File::options()
            .write(true)
            .open(self.path.join("cgroup.procs"));
        let processes = processes.unwrap();
        // SAFETY: only a system call is made between fork and exec, which reads two bytes.
        unsafe {
            command.pre_exec(move || {
                match libc::write(processes.as_raw_fd(), c"0\n".as_ptr().cast(), 2) {
                    2 => Ok(()),
                    _ => Err(io::Error::last_os_error()),
                }
            });
        }
    }

    /// A cgroup with a limit on memory, in whichever hierarchy has that controller.
    pub(super) fn with_memory(limit_bytes: u64) -> Self {
        let name = format!("monitoring-suite-{}", std::process::id());
        let limit = limit_bytes.to_string();
        let old = Path::new("/sys/fs/cgroup/memory");
        if old.join("memory.limit_in_bytes").exists() {
            let cgroup = Self::at(old.join(name));
            write(&cgroup.path.join("memory.limit_in_bytes"), &limit);
            return cgroup;
        }
        let root = unified();
        let controllers = root.join("cgroup.subtree_control");
        let before = fs::read_to_string(&controllers).unwrap();
        let mut cgroup = Self::at(root.join(name));
        if !before.split_ascii_whitespace().any(|name| name == "memory") {
            write(&controllers, "+memory");
            cgroup.lent = Some(controllers);
        }
        write(&cgroup.path.join("memory.max"), &limit);
        // Without swap the limit is one of both.
        let swap = cgroup.path.join("memory.swap.max");
        if swap.exists() {
            write(&swap, "0");
        }
        cgroup
    }

    /// Moves a process into the cgroup.
    pub(super) fn take(&self, pid: u32) {
        write(&self.path.join("cgroup.procs"), &pid.to_string());
    }

    fn at(path: PathBuf) -> Self {
        make(&path);
        Self {
            path,
            around: None,
            lent: None,
        }
    }

    /// Ends the processes in the cgroup: a test that has failed does not wait for them.
    fn end_processes(&self) {
        let processes = fs::read_to_string(self.path.join("cgroup.procs"));
        for pid in processes.unwrap_or_default().lines() {
            if let Ok(pid) = pid.parse() {
                // SAFETY: signals a process in this test's own cgroup.
                unsafe { libc::kill(pid, libc::SIGKILL) };
            }
        }
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        // Nothing else can be done about one that stays, and the test may be failing already.
        while fs::remove_dir(&self.path).is_err() && Instant::now() < deadline {
            self.end_processes();
            thread::yield_now();
        }
        if let Some(outer) = &self.around {
            let _ = fs::remove_dir(outer);
        }
        if let Some(controllers) = &self.lent {
            let _ = fs::write(controllers, "-memory");
        }
    }
}

fn make(path: &Path) {
    match fs::create_dir(path) {
        // What an earlier run left behind when it was killed.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => made.unwrap_or_else(|error| panic!("{}: {error}", path.display())),
    }
}

/// Where the unified hierarchy is.
fn unified() -> PathBuf {
    let places = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].map(PathBuf::from);
    let is_unified = |place: &PathBuf| place.join("cgroup.controllers").exists();
    places
        .into_iter()
        .find(is_unified)
        .expect("the unified cgroup hierarchy is mounted at its usual place")
}

fn write(file: &Path, text: &str) {
    fs::write(file, text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
}
