//! Programs that do known work, built with frame pointers, and told by a test when to begin.
//!
//! Each says `ready`, begins when it reads a line, says what it did, and stays until its input ends.

use std::{
    io::{self, BufRead as _, BufReader, Write as _},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::Duration,
};

use crate::poll::PATIENCE;

/// What the programs are built with. Without `-falign-loops` two equal loops are not equally fast.
const FLAGS: [&str; 7] = [
    "-O1",
    "-Wall",
    "-Werror",
    "-fno-omit-frame-pointer",
    "-fno-optimize-sibling-calls",
    "-falign-loops=64",
    "-pthread",
];

/// A program's source, by the name of the program.
fn source(name: &str) -> &'static str {
    match name {
        "calls" => include_str!("programs/calls.c"),
        "jit" => include_str!("programs/jit.c"),
        "memory" => include_str!("programs/memory.c"),
        "short" => include_str!("programs/short.c"),
        "split" => include_str!("programs/split.c"),
        "waits" => include_str!("programs/waits.c"),
        other => panic!("there is no program {other}"),
    }
}

/// Builds a program in this folder.
pub(super) fn build(folder: &Path, name: &str) -> PathBuf {
    build_with(folder, name, &[])
}

/// As [`build`], with more of the compiler's flags.
pub(super) fn build_with(folder: &Path, name: &str, flags: &[&str]) -> PathBuf {
    let (source_file, program) = (folder.join(format!("{name}.c")), folder.join(name));
    std::fs::write(&source_file, source(name)).unwrap();
    let mut compiler = Command::new("cc");
    let compiler = compiler.args(FLAGS).args(flags).arg("-o").arg(&program);
    let status = compiler.arg(&source_file).status();
    let status = status.unwrap_or_else(|error| {
        panic!("cc: {error}; `cargo xtask setup` installs what the tests need")
    });
    assert!(status.success(), "{name} does not compile");
    program
}

/// A running program. It is killed when it is dropped.
pub(super) struct Workload {
    child: Child,
    lines: Receiver<String>,
}

impl Workload {
    /// Builds a program and starts it. It waits to be told to begin.
    pub(super) fn start(folder: &Path, name: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new(build(folder, name));
        Self::of(command.args(arguments))
    }

    /// Starts a program that speaks as these do.
    pub(super) fn of(command: &mut Command) -> Self {
        let end_with_this_thread = || {
            // SAFETY: the call takes numbers only.
            match unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) } {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            }
        };
        // SAFETY: only a system call is made between fork and exec.
        unsafe { command.pre_exec(end_with_this_thread) };
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let lines = lines_of(child.stdout.take().unwrap());
        let workload = Self { child, lines };
        assert_eq!(workload.says(Duration::ZERO), "ready");
        workload
    }

    /// Its process id.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Lets it begin.
    pub(super) fn begin(&mut self) {
        let input = self.child.stdin.as_mut().unwrap();
        input.write_all(b"\n").unwrap();
    }

    /// The numbers that it says when its work is done, which takes at least so long.
    pub(super) fn done<const NUMBERS: usize>(&self, longer: Duration) -> [u64; NUMBERS] {
        let line = self.says(longer);
        let numbers: Vec<u64> = line.split(' ').map(|word| word.parse().unwrap()).collect();
        numbers.try_into().expect("as many numbers as are wanted")
    }

    /// Lets it end, and waits until it is gone.
    pub(super) fn end(mut self) {
        drop(self.child.stdin.take());
        assert!(self.child.wait().unwrap().success());
    }

    fn says(&self, longer: Duration) -> String {
        let line = self.lines.recv_timeout(PATIENCE + longer);
        line.expect("the program says something before the deadline")
    }
}

impl Drop for Workload {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lines_of(stdout: ChildStdout) -> Receiver<String> {
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    lines
}
