//! Every end is counted once, in its class.

use std::{fs, path::PathBuf};

use super::{Program, counted, watch_all};
use crate::{
    node::{ME, Node, losses},
    poll::poll_at_end,
    work,
};

/// Processes that run at the same time, and how many of each class there are in the end.
const AT_ONCE: usize = 100;
const EACH: usize = 500;

/// Ends the calling process by a signal, without a core dump. Makes system calls only.
fn end_by(signal: i32) {
    let none = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the limit lives across the call; the rest involves no memory.
    unsafe {
        libc::setrlimit(libc::RLIMIT_CORE, &raw const none);
        libc::signal(signal, libc::SIG_DFL);
        libc::kill(libc::getpid(), signal);
    }
}

#[test]
fn two_thousand_ends_in_four_classes() {
    let mut node = Node::start(&["process"]);
    let classes: [fn(); 4] = [
        || {},
        // SAFETY: ends the child without running the parent's exit handlers.
        || unsafe { libc::_exit(1) },
        || end_by(libc::SIGSEGV),
        || end_by(libc::SIGKILL),
    ];
    for _ in 0..(EACH * classes.len() / AT_ONCE) {
        let children = (0..AT_ONCE).map(|at| work::fork(classes[at % classes.len()]));
        for child in children.collect::<Vec<_>>() {
            work::wait_for(child);
        }
    }
    let batch = node.collect("process");
    assert_eq!(losses(&batch), []);
    let mine = counted(&batch, ME);
    let each = u64::try_from(EACH).unwrap();
    assert_eq!(mine.events("start"), 4 * each);
    assert_eq!(mine.events("exec"), 0);
    assert_eq!(mine.events("exit"), 4 * each);
    assert_eq!(mine.events("crash"), 2 * each);
    assert_eq!(mine.events("oom_kill"), 0);
    assert_eq!(mine.exits("success"), each);
    assert_eq!(mine.exits("failure"), each);
    assert_eq!(mine.exits("signal"), 2 * each);
    assert_eq!(mine.crashes("SIGSEGV"), each);
    assert_eq!(mine.crashes("SIGKILL"), each);
    assert_eq!(mine.crashes("SIGABRT"), 0);
}

#[test]
fn ends_of_programs_count_under_what_they_executed() {
    let mut node = Node::with(&["process"], watch_all);
    let program = Program::named("swarmlet-ends");
    let scripts = ["exit 0", "exit 1", "kill -SEGV $$", "kill -KILL $$"];
    for _ in 0..10 {
        let children = (0..20).map(|at| {
            let mut command = program.command(scripts[at % scripts.len()]);
            command.spawn().unwrap()
        });
        for mut child in children.collect::<Vec<_>>() {
            child.wait().unwrap();
        }
    }
    let batch = node.collect("process");
    assert_eq!(losses(&batch), []);
    let theirs = counted(&batch, "by-name");
    assert_eq!(theirs.events("start"), 200);
    assert_eq!(theirs.events("exec"), 200);
    assert_eq!(theirs.events("exit"), 200);
    assert_eq!(theirs.exits("success"), 50);
    assert_eq!(theirs.exits("failure"), 50);
    assert_eq!(theirs.crashes("SIGSEGV"), 50);
    assert_eq!(theirs.crashes("SIGKILL"), 50);
    let mine = counted(&batch, ME);
    assert_eq!(mine.events("start"), 200, "forked by this process");
    assert_eq!((mine.events("exec"), mine.events("exit")), (0, 0));
}

#[test]
fn signals_that_ask_are_no_crashes() {
    let mut node = Node::start(&["process"]);
    for signal in [
        libc::SIGHUP,
        libc::SIGINT,
        libc::SIGTERM,
        libc::SIGPIPE,
        libc::SIGRTMIN() + 2,
    ] {
        assert_eq!(work::in_fork(|| end_by(signal)) & 0x7f, signal);
    }
    let batch = node.collect("process");
    let mine = counted(&batch, ME);
    assert_eq!(mine.exits("signal"), 5);
    assert_eq!(mine.events("crash"), 2);
    assert_eq!(mine.crashes("SIGPIPE"), 1);
    // The C library keeps the first realtime signals to itself; the kernel counts from 32.
    let number = libc::SIGRTMIN() + 2 - 32;
    assert_eq!(mine.crashes(&format!("SIGRTMIN+{number}")), 1);
    assert_eq!(mine.crashes("SIGTERM"), 0);
    assert_eq!(losses(&batch), []);
}

/// A cgroup with a limit on memory, in whichever hierarchy has that controller.
struct MemoryCgroup(PathBuf);

impl MemoryCgroup {
    fn new(limit_bytes: u64) -> Self {
        let name = format!("monitoring-suite-{}", std::process::id());
        let own = |folder: &str| fs::create_dir_all(PathBuf::from(folder).join(&name));
        let write = |file: PathBuf, text: &str| {
            fs::write(&file, text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        };
        let limit = limit_bytes.to_string();
        if PathBuf::from("/sys/fs/cgroup/memory/memory.limit_in_bytes").exists() {
            own("/sys/fs/cgroup/memory").unwrap();
            let cgroup = Self(PathBuf::from("/sys/fs/cgroup/memory").join(&name));
            write(cgroup.0.join("memory.limit_in_bytes"), &limit);
            return cgroup;
        }
        // Without swap the limit is one of both.
        let root = PathBuf::from("/sys/fs/cgroup");
        write(root.join("cgroup.subtree_control"), "+memory");
        own("/sys/fs/cgroup").unwrap();
        let cgroup = Self(root.join(&name));
        write(cgroup.0.join("memory.max"), &limit);
        if cgroup.0.join("memory.swap.max").exists() {
            write(cgroup.0.join("memory.swap.max"), "0");
        }
        cgroup
    }
}

impl Drop for MemoryCgroup {
    fn drop(&mut self) {
        // Its process has ended; the kernel may still be about to notice.
        poll_at_end("the cgroup is removed", || fs::remove_dir(&self.0).ok());
    }
}

#[test]
fn a_process_that_the_kernel_kills_for_memory() {
    const LIMIT_BYTES: usize = 16 << 20;
    let cgroup = MemoryCgroup::new(LIMIT_BYTES as u64);
    let mut node = Node::start(&["process"]);
    let (wait, go) = work::pipe();
    let child = work::fork(|| {
        work::wait_for_end_of(wait, go);
        // SAFETY: a mapping of its own, written to within its bounds.
        unsafe {
            let pages = libc::mmap(
                std::ptr::null_mut(),
                8 * LIMIT_BYTES,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            );
            for at in (0..8 * LIMIT_BYTES).step_by(4096) {
                pages.cast::<u8>().add(at).write_volatile(1);
            }
        }
    });
    fs::write(cgroup.0.join("cgroup.procs"), child.to_string()).unwrap();
    work::close(go);
    let status = work::wait_for(child);
    work::close(wait);
    assert_eq!(status & 0x7f, libc::SIGKILL, "the kernel kills it");
    let batch = node.collect("process");
    assert_eq!(losses(&batch), []);
    let mine = counted(&batch, ME);
    assert_eq!(mine.events("oom_kill"), 1);
    assert_eq!(mine.events("crash"), 1);
    assert_eq!(mine.crashes("SIGKILL"), 1);
    assert_eq!(mine.events("exit"), 1);
}
