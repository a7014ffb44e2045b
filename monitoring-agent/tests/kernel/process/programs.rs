//! Programs of any name that do what a test asks, from nothing but the shell.

use std::{
    ffi::OsStr,
    io,
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{Child, Command},
};

/// A copy of the shell under another name; gone with the test.
pub(super) struct Program {
    pub(super) path: PathBuf,
    _folder: tempfile::TempDir,
}

impl Program {
    pub(super) fn named(name: impl AsRef<OsStr>) -> Self {
        Self::copied("/bin/sh", name)
    }

    fn copied(from: &str, name: impl AsRef<OsStr>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name.as_ref());
        std::fs::copy(from, &path).unwrap();
        Self {
            path,
            _folder: folder,
        }
    }

    /// One process that does what the script says and makes no others.
    pub(super) fn command(&self, script: &str) -> Command {
        let mut command = Command::new(&self.path);
        // BusyBox goes by the name that it is called by.
        command.arg0("sh").args(["-c", script]);
        command
    }

    pub(super) fn run(&self, script: &str) {
        self.command(script).status().unwrap();
    }
}

/// A program that waits, under another name; gone with the test.
pub(super) struct Running {
    pub(super) child: Child,
    _program: Program,
}

impl Running {
    pub(super) fn sleeper(name: impl AsRef<OsStr>, environment: &[(&str, &str)]) -> Self {
        Self::sleeper_with(name, |command| {
            command.envs(environment.iter().copied());
        })
    }

    /// A sleeper whose command is changed before it starts.
    pub(super) fn sleeper_with(name: impl AsRef<OsStr>, change: impl FnOnce(&mut Command)) -> Self {
        let program = Program::copied("/bin/sleep", name);
        let mut command = Command::new(&program.path);
        command.arg0("sleep").arg("600");
        change(&mut command);
        Self::start(&mut command, program)
    }

    /// Starts a program; it ends with this thread, however that ends.
    fn start(command: &mut Command, program: Program) -> Self {
        let end_with_this_thread = || {
            // SAFETY: the call takes numbers only.
            match unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) } {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            }
        };
        // SAFETY: only a system call is made between fork and exec.
        unsafe { command.pre_exec(end_with_this_thread) };
        Self {
            child: command.spawn().unwrap(),
            _program: program,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Ends the process that `sleeper` made; it may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
